"""The paper's figures of a burst: the panel, the teaser, quality against the number of frames.

A figure draws, beside the results, the pictures that `looks` has made together with the one
that is scored. All pictures are [rows, columns, 3].
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np

from dbp_tf import files, pictures, progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import metrics, plots, results, sheets
from dbp_tf.raw import cameras
from dbp_tf.restore import checkpoints

if TYPE_CHECKING:  # TensorFlow takes seconds to import.
    from dbp_tf.restore.enhancer import Enhancer

Path = str | os.PathLike[str]

FRAMES_CSV = "frames.csv"
FRAMES_PLOT = "frames.png"


def check_baseline(model: "Enhancer", camera: cameras.Camera) -> None:
    """Raises InputError unless the model is the SID baseline for the camera."""
    if model.sid is None:
        raise InputError(
            "--sid_checkpoint holds a network of this method, not the SID baseline: give the "
            "folder of the baseline's weights"
        )
    checkpoints.check_fits(model.spec, camera, "--sid_checkpoint holds a baseline")


def _views(looks, truth, result):
    """[`sheets.View`] of {name: float picture} and the ground truth, all cut to the common size.

    The last picture is the burst's, whose scores are in its `Result`.
    """
    shapes = [p.shape[:2] for p in (*looks.values(), truth) if p is not None]
    rows, columns = np.min(shapes, axis=0)
    views = []
    for number, (name, picture) in enumerate(looks.items(), 1):
        text = ""
        if result.scored:
            psnr, ssim = result.psnr, result.ssim_range2
            if number < len(looks):
                progress.status(
                    f"figure of scene {result.scene}: scoring {number} of {len(looks) - 1} ({name})"
                )
                scores = metrics.score(picture[:rows, :columns], truth[:rows, :columns])
                psnr, ssim = scores["psnr"], scores["ssim_range2"]
            text = f"{psnr:.2f} dB,  SSIM {ssim:.3f}"
        views.append(sheets.View(name, pictures.quantised(picture[:rows, :columns]), text))
    if truth is not None:
        views.append(sheets.View("Ground truth", pictures.quantised(truth[:rows, :columns])))
    return views


class _PictureFigure:
    """A figure that is one picture beside each burst's own, `IIIII_00_RRR_<name>.png`."""

    name: str

    def __init__(self, box: sheets.Box | None = None):
        """`box`: the detail; None for the place with most of it."""
        self.box = box

    def path(self, folder: Path, burst: sid.Burst) -> pathlib.Path:
        """Where the figure of a burst goes."""
        return results.picture_path(folder, burst, self.name)

    def unfinished(self, folder: Path, bursts: Sequence[sid.Burst]) -> set[tuple[str, float]]:
        """{(scene, exposure)} of the bursts whose figure is still to be drawn."""
        return {burst.key for burst in bursts if not self.path(folder, burst).is_file()}

    def draw(
        self,
        folder: Path,
        burst: sid.Burst,
        looks: dict[str, np.ndarray],
        truth: np.ndarray | None,
        result: results.Result,
    ) -> None:
        """Writes the figure.

        Args:
          folder: of the results.
          burst: the burst.
          looks: of `looks.make`.
          truth: [rows, columns, 3] float in 0..1, or None without.
          result: the burst's row of metrics.csv.
        """
        pixels = self._drawn(looks, truth, result)
        path = self.path(folder, burst)
        files.write_whole(path, iio.imwrite("<bytes>", pixels, extension=".png"))

    def _drawn(self, looks, truth, result):
        """The figure [rows, columns, 3] uint8; see `draw`."""
        raise NotImplementedError

    def finish(self, folder: Path) -> str:
        """After the last burst there is nothing left to do; returns a line for the log."""
        return f"The figures are {pathlib.Path(folder) / f'*_{self.name}.png'}"


class Panel(_PictureFigure):
    """Traditional, coarse, fine (one frame), burst and, if there is one, the ground truth."""

    name = "panel"

    def _drawn(self, looks, truth, result):
        views = _views(looks, truth, result)
        box = self.box or sheets.default_box(views[-1].picture, sheets.COLUMN)
        return sheets.draw_panel(views, box)


class Teaser(_PictureFigure):
    """The dark input whole, and details of single frames and the burst, restored."""

    name = "teaser"

    def __init__(self, box: sheets.Box | None = None, sid: "Enhancer | None" = None):
        """`sid`: the baseline; None to go without its two pictures."""
        super().__init__(box)
        self.sid = sid

    def _drawn(self, looks, truth, result):
        restored = {name: picture for name, picture in looks.items() if name != "Input"}
        views = _views(restored, truth, result)
        box = self.box or sheets.default_box(views[-1].picture, sheets.CROP)
        rows, columns = views[-1].picture.shape[:2]
        dark = sheets.View("Input", pictures.quantised(looks["Input"][:rows, :columns]))
        return sheets.draw_teaser(dark, views, box)


class Frames:
    """Scores of each burst restored from more and more of its frames, and their plot.

    frames.csv has the columns of metrics.csv, with a row for each burst and number of frames.
    """

    name = "frames"
    box = None

    def __init__(self, counts: Sequence[int], lpips: Callable | None = None):
        """
        Args:
          counts: numbers of frames. A burst with fewer is restored from all it has as well.
          lpips: function of two pictures or None.
        """
        self.counts = counts
        self.lpips = lpips

    def counts_of(self, frames: int) -> set[int]:
        """The numbers of frames at which a burst of so many is restored."""
        return {count for count in self.counts if count < frames} | {frames}

    def unfinished(self, folder: Path, bursts: Sequence[sid.Burst]) -> set[tuple[str, float]]:
        """See `_PictureFigure.unfinished`."""
        done = {(*row.key, row.frames) for row in results.read(pathlib.Path(folder) / FRAMES_CSV)}
        return {
            burst.key
            for burst in bursts
            for count in self.counts_of(len(burst.frames))
            if burst.scored and (*burst.key, count) not in done
        }

    def draw(
        self,
        folder: Path,
        burst: sid.Burst,
        looks: list[tuple[int, np.ndarray, float]],
        truth: Any,
        result: results.Result,
    ) -> None:
        """Notes the burst's scores down in frames.csv; bursts that are not scored are left out."""
        if not result.scored:
            return
        rows = []
        for count, picture, seconds in looks[:-1]:
            progress.status(f"{burst.name}: scoring the picture of {count} frame(s)")
            cut = metrics.crop_to_common(picture, truth)
            scores: Any = metrics.score(*cut, self.lpips)
            rows.append(dataclasses.replace(result, frames=count, seconds=seconds, **scores))
        path = pathlib.Path(folder) / FRAMES_CSV
        results.write(path, [*results.read(path), *rows, result])

    def finish(self, folder: Path) -> str:
        """Draws the plot from frames.csv; returns a line for the log."""
        folder = pathlib.Path(folder)
        growth = plots.growth_of(results.read(folder / FRAMES_CSV))
        if not growth:
            return "No burst is scored: there is nothing to plot against the number of frames."
        files.write_whole(folder / FRAMES_PLOT, plots.plot_growth(growth))
        return f"The plot is {folder / FRAMES_PLOT}, drawn from {FRAMES_CSV} beside it"


def check_frames(bursts: Sequence[sid.Burst]) -> None:
    """Raises InputError if --figure frames could draw nothing of these bursts."""
    plots.axes_for(["PSNR"])
    if not any(burst.scored for burst in bursts):
        raise InputError(
            "--figure frames plots scores, but no burst has a ground truth to be scored by: give "
            "--long_dir, or leave the figure out"
        )
