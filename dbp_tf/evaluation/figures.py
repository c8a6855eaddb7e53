"""The paper's figures of a burst: the panel, the teaser, quality against the number of frames.

A figure takes part in the evaluation of a burst. It restores, so that no frame is encoded twice
for the picture that is scored and those that are drawn, and then draws beside the results. All
pictures are [rows, columns, 3].
"""

import dataclasses
import io
import math
import pathlib
import statistics

import imageio.v3 as iio
import numpy as np

from dbp_tf import files, pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.evaluation import developed, metrics, protocol, results
from dbp_tf.raw import reading
from dbp_tf.restore import modes

FIGURES = {
    "panel": "traditional, coarse, fine, burst and truth, with a detail of each",
    "teaser": "the dark input and details of what one frame and the burst are restored to",
    "frames": "one plot for all bursts, quality against the number of frames",
}

FRAMES_CSV = "frames.csv"
FRAMES_PLOT = "frames.png"
DEFAULT_COUNTS = (1, 2, 4, 8)

# Sizes in pixels of the finished figure.
_COLUMN = 480
_CROP = 300
_MARGIN = 16
# Text is to be read where a page shows the figure at a third of its size.
_NAME_SIZE = 44
_TEXT_SIZE = 34
_LINE = 58  # a name and the space to the picture below it
_GAP = 14  # between a detail and the text below it

_PAPER = (255, 255, 255)
_INK = (20, 20, 20)
_GREY = (90, 90, 90)
_BOX = (255, 210, 0)


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of a picture: its top row, its left column, its rows and columns."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def slices(self):
        """Index of the box in a picture."""
        return (
            slice(self.row, self.row + self.rows),
            slice(self.column, self.column + self.columns),
        )


def parse_box(text):
    """The `Box` of "row,column,rows,columns"; raises InputError on anything else."""
    try:
        row, column, rows, columns = (int(number) for number in text.split(","))
    except ValueError:
        row = -1
    if row < 0 or column < 0 or rows < 1 or columns < 1:
        raise InputError(
            f"--box={text} is no part of a picture: give row,column,rows,columns in whole pixels"
        )
    return Box(row, column, rows, columns)


def parse_counts(texts):
    """The rising tuple of --n_burst's whole numbers; raises InputError if one is below 1."""
    try:
        counts = tuple(sorted({int(text) for text in texts}))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1:
        raise InputError(
            f"--n_burst={','.join(texts)} is no number of frames: give whole numbers from 1"
        )
    return counts


def most_detail(picture, rows, columns):
    """The `Box` of that size that holds most detail: the largest sum of brightness steps.

    Args:
      picture: [rows, columns, 3], any type; a noisy picture has its detail where it is noisy.
      rows, columns: of the box, at most those of the picture.
    """
    grey = picture.astype(np.float32).mean(axis=-1)
    steps = np.zeros(grey.shape, np.float64)
    steps[:-1] += np.abs(np.diff(grey, axis=0))
    steps[:, :-1] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(steps.cumsum(0).cumsum(1), [(1, 0), (1, 0)])
    inside = sums[rows:, columns:] - sums[rows:, :-columns]
    inside -= sums[:-rows, columns:] - sums[:-rows, :-columns]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    return Box(int(row), int(column), rows, columns)


def default_box(picture, width):
    """The box that a figure shows if none is given.

    Its shape is that of the picture, its place where there is most detail, its size such that
    twofold enlargement of a large picture, fourfold of a small one, makes it `width` pixels wide.
    """
    rows, columns = picture.shape[:2]
    factor = 2 if columns > 4 * width else 4
    across = max(1, min(width // factor, columns // 3))
    return most_detail(picture, max(1, round(across * rows / columns)), across)


def check_box(box, shape):
    """Raises InputError if the box, or None, does not lie in a picture of that shape."""
    if box and (box.row + box.rows > shape[0] or box.column + box.columns > shape[1]):
        raise InputError(
            f"--box {box.row},{box.column},{box.rows},{box.columns} reaches beyond the picture of "
            f"{shape[0]} rows and {shape[1]} columns: give row,column,rows,columns inside it"
        )


def check_baseline(model, camera):
    """Raises InputError unless the model is the SID baseline for the camera."""
    if model.sid is None:
        raise InputError(
            "--sid_checkpoint holds a network of this method, not the SID baseline: give the "
            "folder of the baseline's weights"
        )
    if (model.spec.channels, model.spec.scale) != (camera.channels, camera.scale):
        raise InputError(
            f"--sid_checkpoint holds a baseline for {model.spec.channels} packed channels, but "
            f"--camera {camera.name} has {camera.channels}: give the weights of this camera"
        )


def enlarged(picture, factor):
    """Every pixel `factor` times along rows and along columns."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


@dataclasses.dataclass(frozen=True)
class View:
    """One picture of a figure: its name, its 8-bit pixels and its line of text, perhaps empty."""

    name: str
    picture: np.ndarray
    text: str = ""


def _size_of(text, size):
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    return font, font.getbbox(text)[2]


class _Sheet:
    """White paper to put pictures and text on."""

    def __init__(self, rows, columns):
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (columns, rows), _PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self, row, column, picture):
        from PIL import Image

        self._image.paste(Image.fromarray(picture), (column, row))

    def text(self, row, column, width, text, size=_TEXT_SIZE, colour=_INK):
        """A line of text in the middle of `width` pixels, smaller if it is too long for them."""
        while (measured := _size_of(text, size))[1] > width and size > 8:
            size -= 1
        font, used = measured
        self._draw.text((column + (width - used) // 2, row), text, fill=colour, font=font)

    def frame(self, row, column, rows, columns, width=4):
        """A coloured line around a place, with a dark one around it to show on any ground."""
        for margin, colour in ((width + 1, _INK), (width, _BOX)):
            corner = column + columns + margin - 1, row + rows + margin - 1
            self._draw.rectangle(
                (column - margin, row - margin, *corner), outline=colour, width=margin
            )

    def pixels(self):
        return np.asarray(self._image)


def _height(picture, columns):
    """Rows of the whole picture if it is so many columns wide."""
    return max(1, round(picture.shape[0] * columns / picture.shape[1]))


def _put_whole(sheet, row, column, picture, columns, box):
    """Puts the whole picture, so many columns wide, and its box on the sheet."""
    from PIL import Image

    size = columns, _height(picture, columns)
    image = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
    sheet.picture(row, column, np.asarray(image))
    scale = columns / picture.shape[1]
    sheet.frame(
        row + int(box.row * scale),
        column + int(box.column * scale),
        max(3, round(box.rows * scale)),
        max(3, round(box.columns * scale)),
    )


def _put_detail(sheet, row, column, picture, box, factor):
    sheet.picture(row, column, enlarged(picture[box.slices], factor))
    sheet.frame(row, column, box.rows * factor, box.columns * factor, width=1)


def draw_panel(views, box):
    """The paper's panel: every view whole with its box, its enlarged detail below.

    Args:
      views: `View`s of one size.
      box: `Box` of the detail. It is enlarged by the largest whole factor that keeps it as
        narrow as the whole picture, and not twice as tall as that, each pixel a square.

    Returns:
      [rows, columns, 3] uint8.
    """
    # A tall box is not to make a giant of the sheet.
    factor = max(1, min(_COLUMN // box.columns, 2 * _COLUMN // box.rows))
    detail = box.columns * factor
    width = max(_COLUMN, detail)
    top = _MARGIN + _LINE
    middle = top + _height(views[0].picture, _COLUMN) + _MARGIN
    bottom = middle + box.rows * factor + _GAP
    lines = any(view.text for view in views)
    sheet = _Sheet(
        bottom + (_TEXT_SIZE + _GAP if lines else 0) + _GAP,
        _MARGIN + len(views) * (width + _MARGIN),
    )
    for place, view in enumerate(views):
        left = _MARGIN + place * (width + _MARGIN)
        sheet.text(_MARGIN, left, width, view.name, _NAME_SIZE)
        _put_whole(sheet, top, left + (width - _COLUMN) // 2, view.picture, _COLUMN, box)
        _put_detail(sheet, middle, left + (width - detail) // 2, view.picture, box, factor)
        sheet.text(bottom, left, width, view.text, colour=_GREY)
    return sheet.pixels()


def draw_teaser(first, views, box):
    """The paper's teaser: one picture whole with its box, the detail of the others beside it.

    Args:
      first: `View` shown whole.
      views: `View`s of the same size, of which the detail is shown, in columns of two.
      box: `Box`.

    Returns:
      [rows, columns, 3] uint8.
    """
    factor = max(1, min(_CROP // box.columns, 2 * _CROP // box.rows))
    rows, columns = box.rows * factor, box.columns * factor
    down, across = _LINE + rows + _GAP + _TEXT_SIZE + _GAP, columns + _MARGIN
    top = _MARGIN + _LINE
    # From the top of the upper details to the bottom of the lower ones.
    shape = first.picture.shape
    wide = max(1, round((down + rows) * shape[1] / shape[0]))
    left = _MARGIN + wide + _MARGIN
    sheet = _Sheet(_MARGIN + 2 * down + _GAP, left + (len(views) + 1) // 2 * across)
    sheet.text(_MARGIN, _MARGIN, wide, first.name, _NAME_SIZE)
    _put_whole(sheet, top, _MARGIN, first.picture, wide, box)
    for place, view in enumerate(views):
        row, column = top + place % 2 * down, left + place // 2 * across
        sheet.text(row - _LINE, column, columns, view.name, _NAME_SIZE)
        _put_detail(sheet, row, column, view.picture, box, factor)
        sheet.text(row + rows + _GAP, column, columns, view.text, colour=_GREY)
    return sheet.pixels()


def _text_of(psnr, ssim):
    return f"{psnr:.2f} dB,  SSIM {ssim:.3f}"


def _views(looks, truth, result):
    """[`View`] of {name: float picture}, all cut to their common size, and of the truth.

    The last picture is the burst's, whose figures are in its `Result`.
    """
    shapes = [p.shape[:2] for p in (*looks.values(), *([] if truth is None else [truth]))]
    rows, columns = np.min(shapes, axis=0)
    views = []
    for number, (name, picture) in enumerate(looks.items(), 1):
        text = ""
        if result.scored and number == len(looks):
            text = _text_of(result.psnr, result.ssim_range2)
        elif result.scored:
            progress.status(
                f"figure of scene {result.scene}: scoring {number} of {len(looks) - 1} ({name})"
            )
            cut = np.clip(picture[:rows, :columns], 0, 1), truth[:rows, :columns]
            ssim = metrics.ssim(*cut, data_range=metrics.PUBLISHED_SSIM_RANGE)
            text = _text_of(metrics.psnr(*cut, data_range=1), ssim)
        views.append(View(name, pictures.quantised(picture[:rows, :columns]), text))
    if truth is not None:
        views.append(View("Ground truth", pictures.quantised(truth[:rows, :columns])))
    return views


def _write(path, pixels):
    files.write_whole(path, iio.imwrite("<bytes>", pixels, extension=".png"))


class _PictureFigure:
    """A figure that is one picture beside each burst's own, `IIIII_00_RRR_<name>.png`."""

    def __init__(self, box=None):
        self.box = box

    def path(self, folder, burst):
        return protocol.picture_path(folder, burst, self.name)

    def unfinished(self, folder, bursts):
        """{(scene, exposure)} of the bursts whose figure is still to be drawn."""
        return {
            (burst.scene, burst.exposure)
            for burst in bursts
            if not self.path(folder, burst).is_file()
        }

    def finish(self, folder):
        """What is left to do after the last burst: nothing; returns a line for the log."""
        return f"The figures are {pathlib.Path(folder) / f'*_{self.name}.png'}"

    def _chosen(self, picture, width):
        return self.box or default_box(picture, width)


class Panel(_PictureFigure):
    """Traditional, coarse, fine (one frame), burst and, if there is one, the truth."""

    name = "panel"

    def restore(self, model, camera, first, frames, reference_frame, **compute):
        """Restores and develops what the figure shows.

        Args:
          model: what `load_pretrained` returns; it fuses frames.
          camera: `cameras.Camera`.
          first: `reading.RawFrame` of the first frame.
          frames: packed frames [H, W, C], brightened; an iterable that knows its length.
          reference_frame: "first" or "center".
          **compute: see `modes.restore`.

        Returns:
          (the burst's picture, the seconds it took, what `draw` needs).
        """
        check_box(self.box, first.mosaic.shape)
        frames = list(frames)
        grown = {
            count: (picture, seconds)
            for count, picture, seconds in modes.grow(
                model,
                frames,
                {1, len(frames)},
                reference_frame,
                camera.padded_columns,
                **compute,
            )
        }
        picture, seconds = grown[len(frames)]
        progress.status("figure: developing the traditional and the coarse picture")
        looks = {
            "Traditional": developed.develop_packed(first, frames[0]),
            "Coarse": developed.coarse(model, first, frames[0]),
            "Fine (1 frame)": grown[1][0],
            f"Burst of {len(frames)}" if len(frames) > 1 else "Burst": picture,
        }
        return picture, seconds, looks

    def draw(self, folder, burst, looks, truth, result):
        """Writes the figure; `truth` is a picture or None, `result` the burst's `Result`."""
        views = _views(looks, truth, result)
        box = self._chosen(views[-1].picture, _COLUMN)
        _write(self.path(folder, burst), draw_panel(views, box))


class Teaser(_PictureFigure):
    """The dark input whole, and details of what single frames and the burst are restored to."""

    name = "teaser"

    def __init__(self, box=None, sid=None):
        """`sid`: the baseline's `Enhancer`; None to go without its two pictures."""
        super().__init__(box)
        self.sid = sid

    def restore(self, model, camera, first, frames, reference_frame, **compute):
        """See `Panel.restore`."""
        check_box(self.box, first.mosaic.shape)
        frames = list(frames)
        *_, (_, picture, seconds) = modes.grow(
            model, frames, {len(frames)}, reference_frame, camera.padded_columns, **compute
        )
        looks = {}
        for label, network in (("SID", self.sid), ("Fine", model)):
            for mode, letter in (("single", "S"), ("ensemble", "E")):
                if network:
                    progress.status(f"figure: restoring {label} ({letter})")
                    looks[f"{label} ({letter})"] = modes.restore(
                        network, frames, mode, reference_frame, camera.padded_columns, **compute
                    )
        looks["Burst (B)"] = picture
        return picture, seconds, (reading.read_truth(first.path, first.offset), looks)

    def draw(self, folder, burst, looks, truth, result):
        """See `Panel.draw`."""
        dark, looks = looks
        views = _views(looks, truth, result)
        box = self._chosen(views[-1].picture, _CROP)
        rows, columns = views[-1].picture.shape[:2]
        first = View("Input", pictures.quantised(dark[:rows, :columns]))
        _write(self.path(folder, burst), draw_teaser(first, views, box))


class Frames:
    """Scores of each burst restored from more and more of its frames, and their plot.

    frames.csv has the columns of metrics.csv, with a row for each burst and number of frames.
    """

    name = "frames"

    def __init__(self, counts, lpips=None):
        """
        Args:
          counts: numbers of frames. A burst with fewer is restored from all it has as well.
          lpips: function of two pictures or None.

        """
        self.counts = counts
        self.lpips = lpips

    def _counts_of(self, frames):
        return {count for count in self.counts if count < frames} | {frames}

    def unfinished(self, folder, bursts):
        """See `_PictureFigure.unfinished`."""
        done = {(*row.key, row.frames) for row in results.read(pathlib.Path(folder) / FRAMES_CSV)}
        return {
            (burst.scene, burst.exposure)
            for burst in bursts
            for count in self._counts_of(len(burst.frames))
            if burst.scored and (burst.scene, burst.exposure, count) not in done
        }

    def restore(self, model, camera, first, frames, reference_frame, **compute):
        """See `Panel.restore`."""
        grown = [
            *modes.grow(
                model,
                frames,
                self._counts_of(len(frames)),
                reference_frame,
                camera.padded_columns,
                **compute,
            )
        ]
        _, picture, seconds = grown[-1]
        return picture, seconds, grown

    def draw(self, folder, burst, looks, truth, result):
        """Notes the burst's scores down in frames.csv; bursts that are not scored are left out."""
        if not result.scored:
            return
        rows = []
        for count, picture, seconds in looks[:-1]:
            progress.status(f"{burst.name}: scoring the picture of {count} frame(s)")
            cut = protocol.crop_to_common(picture, truth)
            figures = protocol.score(*cut, self.lpips)
            rows.append(dataclasses.replace(result, frames=count, seconds=seconds, **figures))
        path = pathlib.Path(folder) / FRAMES_CSV
        results.write(path, [*results.read(path), *rows, result])

    def finish(self, folder):
        """Draws the plot from frames.csv; returns a line for the log."""
        folder = pathlib.Path(folder)
        growth = growth_of(results.read(folder / FRAMES_CSV))
        if not growth:
            return "No burst is scored: there is nothing to plot against the number of frames."
        files.write_whole(folder / FRAMES_PLOT, plot_growth(growth))
        return f"The plot is {folder / FRAMES_PLOT}, drawn from {FRAMES_CSV} beside it"


@dataclasses.dataclass(frozen=True)
class Growth:
    """How one figure of merit grows with the number of frames.

    Attributes:
      title: with its unit and direction, for an axis.
      counts: numbers of frames, rising.
      means: one for each count, over `bursts`.
      spreads: standard deviations over the bursts; zero if there is but one.
      bursts: how many were averaged, the same ones at every count.
    """

    title: str
    counts: tuple[int, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    bursts: int


def growth_of(rows):
    """[`Growth`] of PSNR, SSIM and, where known, LPIPS.

    Only bursts with as many frames as the longest count, for else the means of many frames would
    be of other scenes than those of few.

    Args:
      rows: list of `results.Result`, several of a burst with different `frames`.
    """
    bursts = {}
    for row in rows:
        bursts.setdefault(row.key, {})[row.frames] = row
    most = max((max(burst) for burst in bursts.values()), default=0)
    whole = [burst for burst in bursts.values() if most in burst]
    counts = tuple(sorted(set.intersection(*map(set, whole)))) if whole else ()
    growth = []
    for name, title in (
        ("psnr", "PSNR in dB (higher is better)"),
        ("ssim_range2", "SSIM (higher is better)"),
        ("lpips", "LPIPS (lower is better)"),
    ):
        values = [[getattr(burst[count], name) for burst in whole] for count in counts]
        if values and all(v is not None and math.isfinite(v) for v in sum(values, [])):
            growth.append(
                Growth(
                    title=title,
                    counts=counts,
                    means=tuple(map(statistics.fmean, values)),
                    spreads=tuple(statistics.stdev(v) if len(v) > 1 else 0.0 for v in values),
                    bursts=len(whole),
                )
            )
    return growth


def caption_of(growth):
    """What a plot of a `Growth` shows, as a sentence."""
    frames = "1 frame" if growth.counts[-1] == 1 else f"{growth.counts[-1]} frames"
    if growth.bursts == 1:
        return f"One burst of {frames}."
    return f"Mean of {growth.bursts} bursts of {frames}; the band is one standard deviation."


def check_frames(bursts):
    """Raises InputError if --figure frames could draw nothing of these bursts."""
    _matplotlib()
    if not any(burst.scored for burst in bursts):
        raise InputError(
            "--figure frames plots scores, but no burst has a truth to be scored by: give "
            "--long_dir, or leave the figure out"
        )


def _matplotlib():
    try:
        import matplotlib.figure
    except ImportError:
        raise InputError(
            "--figure frames draws with matplotlib, which is not installed: pip install "
            '"dbp_tf[figures]"'
        ) from None
    return matplotlib


def plot_growth(growth):
    """The plot of several `Growth`s side by side, as a PNG file.

    Raises:
      InputError: matplotlib is not installed.
    """
    figure = _matplotlib().figure.Figure(figsize=(4 * len(growth), 3.4), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(growth), squeeze=False)[0], growth, strict=True):
        means, spreads = np.array(one.means), np.array(one.spreads)
        axes.fill_between(one.counts, means - spreads, means + spreads, alpha=0.2, linewidth=0)
        axes.plot(one.counts, means, marker="o")
        axes.set_xscale("log", base=2)
        axes.set_xticks(one.counts, [str(count) for count in one.counts])
        axes.minorticks_off()
        axes.set_xlabel("frames")
        axes.set_ylabel(one.title)
        axes.grid(alpha=0.3)
    figure.suptitle(caption_of(growth[0]), fontsize="medium")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()
