"""What a set of weights restores of scenes it was never trained on, and what classical means do.

    python benchmarks/quality.py --camera sony --checkpoint checkpoints/sony_small
        --out results/quality_sony

The scenes are photographs that come inside the packages scikit-image and scikit-learn, simulated
at exposure ratios 100 and 300. Every burst is restored by the networks and developed by LibRaw;
every picture is compared with the truth, PSNR in dB and SSIM of range 1. The rivals are the mean
of the frames, developed, and the same denoised by non-local means (Buades et al., CVPR 2005; of
scikit-image) and by block matching, BM3D (Dabov et al., IEEE Transactions on Image Processing
2007; the package bm3d of its authors, Maekinen et al. 2020, for non-commercial use). How strongly
these two denoise is tuned in their favour: for each camera and ratio the strength with the best
mean PSNR on three of the test scenes, which the networks never see the truth of.

Prints the table of means and whether the project's gates are met, and writes to --out:
quality.md, the same; quality.csv, a line for every burst and row; tuning.csv, the strengths tried;
the pictures of every burst, and a panel of them with a detail each. The raw files and what does
not depend on the weights (classical.csv) are kept there for the next weights. They are made anew
for a photograph, camera or noise that has changed; after a change of the program, remove --out.
Without --checkpoint only the classical rows are made.
"""

import csv
import dataclasses
import functools
import importlib.util
import io
import itertools
import math
import operator
import pathlib
import statistics
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import imageio.v3 as iio  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from dbp_tf import cli, files, pictures, progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError  # noqa: E402
from dbp_tf.evaluation import developed, figures, metrics, protocol
from dbp_tf.raw import cameras, packing, reading
from dbp_tf.restore import checkpoints, modes
from dbp_tf.simulate import simulator

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "checkpoint",
    None,
    "Weights of a fine or burst stage; without them only the classical rows.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "camera", "sony", list(cameras.CAMERAS), "Camera of the weights.", flag_values=FLAGS
)
flags.DEFINE_string(
    "out", "results/quality", "Folder for the raw files, tables and pictures.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "limit", None, "Only the first so many photographs.", lower_bound=1, flag_values=FLAGS
)

INSTALL = 'pip install "dbp_tf[benchmarks]"'

# Name: (package, file, (which tile, of how many side by side)). The first ones are tuned on. The
# packages' other photographs are left out: the right-hand motorcycle is the left-hand one once
# more, and nobody restores microscopy, an eye's retina or a star field with this. Those from
# "camera" on are black and white.
PHOTOS = {
    "astronaut": ("skimage", "data/astronaut.png", (0, 1)),
    "coffee": ("skimage", "data/coffee.png", (0, 1)),
    "motorcycle, left tile": ("skimage", "data/motorcycle_left.png", (0, 2)),
    "motorcycle, right tile": ("skimage", "data/motorcycle_left.png", (1, 2)),
    "chelsea": ("skimage", "data/chelsea.png", (0, 1)),
    "rocket": ("skimage", "data/rocket.jpg", (0, 1)),
    "china": ("sklearn", "datasets/images/china.jpg", (0, 1)),
    "flower": ("sklearn", "datasets/images/flower.jpg", (0, 1)),
    "camera": ("skimage", "data/camera.png", (0, 1)),
    "page": ("skimage", "data/page.png", (0, 1)),
    "text": ("skimage", "data/text.png", (0, 1)),
    "coins": ("skimage", "data/coins.png", (0, 1)),
    "brick": ("skimage", "data/brick.png", (0, 1)),
}
TUNED_ON = 3

# Pixels a side of the middle of those scenes: BM3D takes seconds for each of them.
TUNED_SIDE = 192

RATIOS = (100, 300)
FRAMES = 8
COUNTS = (1, 2, 4, 8)
FIRST_SCENE = 10000
SEED = 0

# Rows of the table, by the name they have in the CSV files and in the pictures' names.
ROWS = {
    "single": "single frame scaled and developed",
    "mean": "mean of 8 frames developed",
    "nlm": "mean of 8 + tuned non-local means",
    "bm3d": "mean of 8 + tuned BM3D",
    "coarse": "coarse",
    "fine": "fine, one frame",
    "burst2": "burst of 2",
    "burst4": "burst of 4",
    "burst8": "burst of 8",
    "rotate": "burst of 8, mean over every frame as reference",
}
DENOISERS = ("nlm", "bm3d")
CLASSICAL = ("single", "mean", *DENOISERS)
NETWORKS = tuple(row for row in ROWS if row not in CLASSICAL)

# The noise that is expected in a developed picture in 0..1: h of non-local means, standard
# deviation of BM3D. What is tried, rising.
STRENGTHS = {
    "nlm": (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.15, 0.2),
    "bm3d": (0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.28),
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """One photograph at one ratio.

    Attributes:
      number: of the scene in the raw files' names.
      photo: a key of `PHOTOS`.
      ratio: exposure ratio.
      tile: [rows, columns, 3] sRGB in 0..1, the pixels that count.
      fingerprint: of all that its raw files follow from, save the program.
    """

    number: int
    photo: str
    ratio: int
    tile: np.ndarray
    fingerprint: str

    def own(self, picture):
        """The part of a picture that the photograph fills."""
        return picture[: self.tile.shape[0], : self.tile.shape[1]]


def photograph(name):
    """The tile [rows, columns, 3] sRGB in 0..1 of a key of `PHOTOS`."""
    package, path, (place, count) = PHOTOS[name]
    # scikit-learn takes seconds to import, and only its folder is needed.
    found = importlib.util.find_spec(package)
    if found is None:
        raise InputError(f"the photograph {path} comes with {package}: {INSTALL}")
    photo = simulator.load_photo(pathlib.Path(found.origin).parent / path)
    columns = photo.shape[1] // count
    return photo[:, place * columns : (place + 1) * columns]


def extended(tile, camera):
    """A tile, continued by its mirror image at the bottom and right to what a raw file needs.

    Nothing is enlarged. Sizes come to a multiple of 4 (Bayer) or 12 (X-Trans), and of X-Trans,
    of which LibRaw develops nothing below 512 pixels a side, to 516 at least. What is added is in
    the burst, but counts in no figure and is in no picture, so that both cameras are measured on
    the same pixels.
    """
    step = 2 * packing.LAYOUTS[camera.mosaic].period
    least = 516 if camera.mosaic == "xtrans" else step
    sides = (max(least, math.ceil(length / step) * step) for length in tile.shape[:2])
    margins = [(0, side - length) for side, length in zip(sides, tile.shape[:2], strict=True)]
    return np.pad(tile, [*margins, (0, 0)], mode="reflect")


def scenes_of(camera, limit):
    """List of `Scene`s, every photograph at every ratio."""
    numbers = iter(simulator.scene_numbers(FIRST_SCENE, len(PHOTOS) * len(RATIOS)))
    scenes = []
    for name in list(PHOTOS)[:limit]:
        tile = photograph(name)
        for ratio in RATIOS:
            number = next(numbers)
            settings = (
                (camera.mosaic, camera.black, camera.white),
                (camera.xyz_to_camera, camera.white_balance),
                (ratio, number, FRAMES, SEED, simulator.Noise(), tile.shape),
            )
            checksum = zlib.crc32(repr(settings).encode(), zlib.crc32(tile.tobytes()))
            scenes.append(Scene(number, name, ratio, tile, f"{checksum:08x}"))
    return scenes


def read_table(path):
    """List of the rows of a CSV file as dicts of texts; empty if there is none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path, rows):
    """Writes dicts with the same keys as a CSV file."""
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_whole(path, table.getvalue().encode())


def simulated(scenes, camera, folder):
    """Writes the raw files that are missing; returns [(`Scene`, its `sid.Burst`)]."""
    tree, notes = folder / "raw", folder / "scenes.csv"
    known = {row["scene"]: row for row in read_table(notes)}
    for scene in scenes:
        name = f"{scene.number:05d}"
        note = {
            "scene": name,
            "photo": scene.photo,
            "ratio": str(scene.ratio),
            "rows": str(scene.tile.shape[0]),
            "columns": str(scene.tile.shape[1]),
            "fingerprint": scene.fingerprint,
        }
        if (
            known.get(name) == note
            and len([*tree.glob(f"*/{name}_*{camera.suffix}")]) == FRAMES + 1
        ):
            continue
        rng = np.random.default_rng([SEED, scene.number])
        photo = extended(scene.tile, camera)
        burst = simulator.simulate_scene(photo, camera, rng, FRAMES, scene.ratio)
        simulator.write_scene(tree, scene.number, burst, camera, scene.ratio, overwrite=True)
        known[name] = note
        write_table(notes, list(known.values()))
        progress.say(f"Simulated {name}: {scene.photo}, ratio {scene.ratio}.")
    found = sid.find_bursts(tree / "short", tree / "long", camera, "test", FRAMES)
    bursts = {burst.scene: burst for burst in found}
    return [(scene, bursts[f"{scene.number:05d}"]) for scene in scenes]


def developed_frames(burst, camera):
    """The first frame and the mean of all, brightened and developed: [rows, columns, 3] each.

    The mean is that of the signals before anything is cut off at black, where averages of cut
    ones would be too bright. It is brightened as fractions of a DN and only then rounded to the
    whole DN of the raw file's buffer, which are 1 / 15871 of the range (Sony; Fuji 1 / 15359).
    """
    frames = [reading.read_raw(path, camera) for path in burst.frames]
    mean = np.mean([frame.signal() for frame in frames], axis=0)
    single = developed.develop_packed(frames[0], frames[0].packed(burst.ratio))
    return single, developed.develop_packed(frames[0], mean * np.float32(burst.ratio))


@functools.cache
def denoisers():
    """{row: function of (picture, strength)} of `DENOISERS`."""
    try:
        import bm3d
        from skimage import restoration
    except ImportError as error:
        raise InputError(f"the classical rows need {error.name}: {INSTALL}") from None

    def nlm(picture, strength):
        return restoration.denoise_nl_means(
            picture, patch_size=5, patch_distance=6, h=strength, channel_axis=-1
        )

    return {"nlm": nlm, "bm3d": bm3d.bm3d_rgb}


def climb(score, strengths):
    """[(strength, score)] of rising strengths, up to the first that scores less than the last."""
    trials = []
    for strength in strengths:
        trials.append((strength, score(strength)))
        if len(trials) > 1 and trials[-1][1] < trials[-2][1]:
            break
    return trials


def middle(picture):
    """The middle of a picture, at most `TUNED_SIDE` rows and columns."""
    top, left = (max(0, (length - TUNED_SIDE) // 2) for length in picture.shape[:2])
    return picture[top : top + TUNED_SIDE, left : left + TUNED_SIDE]


def tuned(pairs, camera, folder):
    """{(row, ratio): strength} of `DENOISERS`, tried on the first scenes unless known already."""
    path = folder / "tuning.csv"
    table, strengths = read_table(path), {}
    for ratio, row in itertools.product(RATIOS, DENOISERS):
        examples = [pair for pair in pairs if pair[0].ratio == ratio][:TUNED_ON]
        key = {
            "row": row,
            "ratio": str(ratio),
            "scenes": " ".join(scene.fingerprint for scene, _ in examples),
        }
        trials = [trial for trial in table if key.items() <= trial.items()]
        if not trials:
            progress.status(f"tuning {row} at ratio {ratio}")
            trials = [
                {**key, "strength": f"{strength:g}", "psnr": f"{value:.4f}"}
                for strength, value in climb(scorer(row, examples, camera), STRENGTHS[row])
            ]
            table += trials
            write_table(path, table)
            tried = ", ".join(f"{trial['strength']}: {trial['psnr']}" for trial in trials)
            progress.say(f"Tuned {row} at ratio {ratio}: {tried}.")
        strengths[row, ratio] = max(trials, key=lambda trial: float(trial["psnr"]))["strength"]
    return strengths


def scorer(row, examples, camera):
    """The function of a strength that gives a denoiser's mean PSNR over the examples' middles."""
    denoise = denoisers()[row]
    cut = []
    for scene, burst in examples:
        _, mean = developed_frames(burst, camera)
        truth = reading.read_truth(burst.truth)
        cut.append((middle(scene.own(mean)), middle(scene.own(truth))))
    return lambda strength: statistics.fmean(
        psnr(denoise(mean, strength), truth) for mean, truth in cut
    )


def psnr(picture, truth):
    """PSNR of a picture in dB, range 1."""
    return metrics.psnr(np.clip(picture, 0, 1), truth, data_range=1)


def picture_path(folder, burst, row):
    """The file of a burst's picture; `row` is "gt" for the truth's."""
    return protocol.picture_path(folder / "pictures", burst, row)


def measured(scene, burst, row, picture, truth, folder, strength=""):
    """Writes a picture and returns its line of the table."""
    picture = scene.own(picture)
    pictures.write_png(picture_path(folder, burst, row), picture)
    scores = protocol.score(picture, truth)
    return {
        "burst": burst.name,
        "photo": scene.photo,
        "ratio": str(scene.ratio),
        "row": row,
        "strength": strength,
        "psnr": f"{scores['psnr']:.4f}",
        "ssim": f"{scores['ssim_range1']:.5f}",
        "fingerprint": scene.fingerprint,
    }


def classical(pairs, camera, folder):
    """The lines of `CLASSICAL` for every burst, from the last time as far as they are there."""
    path = folder / "classical.csv"
    table = {(line["burst"], line["row"]): line for line in read_table(path)}
    strengths = tuned(pairs, camera, folder)

    def unfinished(scene, burst):
        for row in CLASSICAL:
            strength = strengths.get((row, scene.ratio), "")
            line = table.get((burst.name, row), {})
            known = line.get("fingerprint"), line.get("strength")
            if (
                known != (scene.fingerprint, strength)
                or not picture_path(folder, burst, row).is_file()
            ):
                yield row, strength

    todo = [(scene, burst, [*unfinished(scene, burst)]) for scene, burst in pairs]
    todo = [(scene, burst, rows) for scene, burst, rows in todo if rows]
    started = time.monotonic()
    for number, (scene, burst, rows) in enumerate(todo, 1):
        progress.status(f"{burst.name}: developing and denoising")
        single, mean = map(scene.own, developed_frames(burst, camera))
        truth = scene.own(reading.read_truth(burst.truth))
        pictures.write_png(picture_path(folder, burst, "gt"), truth)
        for row, strength in rows:
            picture = single if row == "single" else mean
            if row in DENOISERS:
                picture = denoisers()[row](mean, float(strength))
            line = measured(scene, burst, row, picture, truth, folder, strength)
            table[burst.name, row] = line
        write_table(path, list(table.values()))
        _say(burst, [table[burst.name, row] for row, _ in rows], number, len(todo), started)
    return [table[burst.name, row] for _, burst in pairs for row in CLASSICAL]


def restorations(model, camera, burst):
    """Yields (row, picture) of `NETWORKS`."""
    raws = [reading.read_raw(path, camera) for path in burst.frames]
    frames = [frame.packed(burst.ratio) for frame in raws]
    yield "coarse", developed.coarse(model, raws[0], frames[0])
    how = camera.reference_frame, camera.padded_columns
    for count, picture, _ in modes.grow(model, frames, COUNTS, *how):
        yield "fine" if count == 1 else f"burst{count}", picture
    if model.spec.refers:
        yield "rotate", modes.restore(model, frames, "rotate", *how)


def restored(model, pairs, camera, folder):
    """The lines of `NETWORKS` for every burst."""
    lines, started = [], time.monotonic()
    for number, (scene, burst) in enumerate(pairs, 1):
        truth = scene.own(reading.read_truth(burst.truth))
        rows = [
            measured(scene, burst, row, picture, truth, folder)
            for row, picture in restorations(model, camera, burst)
        ]
        lines += rows
        _say(burst, rows, number, len(pairs), started)
    return lines


def _say(burst, lines, number, total, started):
    scores = ", ".join(f"{line['row']} {float(line['psnr']):.2f}" for line in lines)
    left = f"; {progress.time_left(started, number, total)}" if number < total else ""
    progress.say(f"[{number}/{total}] {burst.name}, {lines[0]['photo']}: {scores}{left}")


def means_of(lines):
    """{(row, ratio): (mean PSNR in dB, mean SSIM)} of the lines of a table."""
    groups = {}
    for line in lines:
        pair = float(line["psnr"]), float(line["ssim"])
        groups.setdefault((line["row"], int(line["ratio"])), []).append(pair)
    return {
        key: tuple(map(statistics.fmean, zip(*group, strict=True))) for key, group in groups.items()
    }


def best_denoiser(means, ratio):
    """The row of `DENOISERS` with the better mean PSNR at that ratio."""
    return max(DENOISERS, key=lambda row: means[row, ratio][0])


def gates(means):
    """What is asked of the weights.

    Args:
      means: see `means_of`, with all rows and ratios; "rotate" may be missing.

    Yields:
      (what is asked, list of (ratio, figures of the rows that are compared), whether it is met).
    """

    # Two digits are what is shown.
    shown = {key: round(mean, 2) for key, (mean, _) in means.items()}

    def against(other, row, margins):
        compared = [(ratio, [shown[other, ratio], shown[row, ratio]]) for ratio in margins]
        gains = [round(ours - theirs, 2) for _, (theirs, ours) in compared]
        return compared, all(map(operator.ge, gains, margins.values()))

    def against_best(row):
        parts = [
            against(best_denoiser(means, ratio), row, {ratio: margin})
            # A gain of nothing is not above.
            for ratio, margin in {100: 0.01, 300: 1}.items()
        ]
        return [one for compared, _ in parts for one in compared], all(met for _, met in parts)

    yield "fine at least 1.5 dB above coarse", *against("coarse", "fine", {100: 1.5, 300: 1.5})
    yield (
        "burst of 8 at least 0.5 dB above fine at ratio 300, and never below it",
        *against("fine", "burst8", {100: 0, 300: 0.5}),
    )
    rising = ("fine", "burst2", "burst4", "burst8")
    grown = [(ratio, [shown[row, ratio] for row in rising]) for ratio in RATIOS]
    yield (
        "1, 2, 4, 8 frames: more are never worse",
        grown,
        all(values == sorted(values) for _, values in grown),
    )
    yield (
        "burst of 8 at least 2 dB above the mean of 8 at ratio 300",
        *against("mean", "burst8", {300: 2}),
    )
    aim = "above the mean of 8 with the best denoiser, by 1 dB at ratio 300"
    yield f"aim: burst of 8 {aim}", *against_best("burst8")
    if ("rotate", 100) in means:
        yield f"aim: burst of 8, every reference, {aim}", *against_best("rotate")


def verdicts(means):
    """Yields a line of text for each of the `gates`."""
    for asked, compared, met in gates(means):
        texts = (
            f"{' -> '.join(f'{value:.2f}' for value in values)} at {ratio}"
            for ratio, values in compared
        )
        yield f"{'met' if met else 'missed'}: {asked} ({'; '.join(texts)} dB)"


def report(lines, camera, checkpoint):
    """The table of means and the gates' verdicts in Markdown, as text."""
    means, photos = means_of(lines), dict.fromkeys(line["photo"] for line in lines)
    strengths = {
        (line["row"], line["ratio"]): line["strength"] for line in lines if line["strength"]
    }
    tuned_to = ", ".join(f"{row} {value} at {ratio}" for (row, ratio), value in strengths.items())
    text = [
        f"{camera.model}, simulated scenes: mean PSNR in dB / SSIM (range 1); photographs: "
        f"{'; '.join(photos)}.",
        f"Weights: {checkpoint or 'none'}. Denoisers tuned on truths of this very set: {tuned_to}.",
        "",
        "| | " + " | ".join(f"ratio {ratio}" for ratio in RATIOS) + " |",
        "|---|" + "---|" * len(RATIOS),
    ]
    for row, title in ROWS.items():
        if (row, RATIOS[0]) in means:
            cells = ("{:.2f} / {:.3f}".format(*means[row, ratio]) for ratio in RATIOS)
            text.append(f"| {title} | {' | '.join(cells)} |")
    if checkpoint:
        text += ["", *(f"- {line}" for line in verdicts(means))]
    return "\n".join(text) + "\n"


def draw_panels(lines, pairs, folder):
    """Writes a panel of every burst: truth, input, classical and restored pictures."""
    means = means_of(lines)
    scores = {(line["burst"], line["row"]): line for line in lines}
    for scene, burst in pairs:
        progress.status(f"{burst.name}: drawing the panel")
        truth = iio.imread(picture_path(folder, burst, "gt"))
        views = [figures.View("ground truth", truth)]
        best = best_denoiser(means, scene.ratio)
        for row in ("single", "mean", best, "coarse", "fine", "burst8"):
            if line := scores.get((burst.name, row)):
                picture = iio.imread(picture_path(folder, burst, row))
                text = f"PSNR {float(line['psnr']):.2f} dB   SSIM {float(line['ssim']):.3f}"
                views.append(figures.View(ROWS[row], picture, text))
        panel = figures.draw_panel(views, figures.default_box(truth, width=480))
        path = picture_path(folder, burst, "panel")
        files.write_whole(path, iio.imwrite("<bytes>", panel, extension=".png"))


def main():
    camera, model = cameras.camera_named(FLAGS.camera), None
    folder = pathlib.Path(FLAGS.out)
    if FLAGS.checkpoint:
        cli.import_tensorflow()
        from dbp_tf.restore import pretrained

        model = pretrained.load_pretrained(FLAGS.checkpoint)
        checkpoints.check_model(model, camera, "rotate" if model.spec.refers else "burst")
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    pairs = simulated(scenes_of(camera, FLAGS.limit), camera, folder)
    lines = classical(pairs, camera, folder)
    if model:
        lines += restored(model, pairs, camera, folder)
    write_table(folder / "quality.csv", lines)
    draw_panels(lines, pairs, folder)
    text = report(lines, camera, FLAGS.checkpoint)
    files.write_whole(folder / "quality.md", text.encode())
    progress.say(f"\n{text}\nTables are in {folder}/, pictures in {folder}/pictures/")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
