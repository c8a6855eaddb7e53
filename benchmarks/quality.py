"""What a set of weights restores of scenes it was never trained on, and what classical means do.

    python benchmarks/quality.py --camera sony --checkpoint checkpoints/sony_small
        --out results/quality_sony

The scenes are photographs that come inside the packages scikit-image and scikit-learn, simulated
at exposure ratios 100 and 300. Every burst is restored by the networks and developed by LibRaw;
every picture is compared with the ground truth, PSNR in dB and SSIM of range 1. The rivals are the
mean of the frames, developed, and the same denoised by non-local means (Buades et al., CVPR 2005;
of scikit-image) and by block matching, BM3D (Dabov et al., IEEE Transactions on Image Processing
2007; the package bm3d of its authors, Maekinen et al. 2020, for non-commercial use). How strongly
these two denoise is tuned in their favour: for each camera and ratio the strength with the best
mean PSNR on three of the test scenes, which the networks never see the ground truth of.

Four more columns tell what to work on. Noise-free: the networks get the long exposure itself, so
that noise costs nothing and what is left is tone and detail. Means: PSNR of that picture's means
over 8 x 8 pixels, which is tone alone. Mesh: how much stronger than in the ground truth the pixels
of one packed pixel differ in flat areas of that picture. Other light: what bursts lose that were
taken under other white-balance multipliers, 2.2, 1, 1.75, against the same photographs in the light
that the camera's table has.

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
import itertools
import math
import pathlib
import statistics
import sys
import time
import zlib
from concurrent import futures

import imageio.v3 as iio
import numpy as np
from absl import flags
from common import write_table
from quality_table import (
    CLASSICAL,
    DENOISERS,
    NOISE_FREE,
    NOISY,
    OTHER,
    RATIOS,
    ROWS,
    best_denoiser,
    means_of,
    report,
)

from dbp_tf import cli, environment, files, pictures, progress, simulate
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import developed, metrics, results, sheets
from dbp_tf.evaluation.dark_frames import DarkFrames
from dbp_tf.raw import cameras, reading
from dbp_tf.restore import checkpoints, modes

FLAGS = flags.FlagValues()
_define = functools.partial(cli.define, FLAGS)
_define(
    cli.DEFINE_path,
    "checkpoint",
    None,
    "Weights of a fine or burst stage; without them only the classical rows.",
)
_define(
    flags.DEFINE_enum, "camera", "sony", "Camera of the weights.", enum_values=[*cameras.CAMERAS]
)
_define(cli.DEFINE_path, "out", "results/quality", "Folder for the raw files and results.")
_define(flags.DEFINE_integer, "limit", None, "Only the first so many photographs.", lower_bound=1)

# The simulator's noise when the first of these tables was made. Later defaults differ by 4 %; with
# this one, all tables compare.
NOISE = cameras.Noise(
    iso=800,
    gain_dn_per_electron=0.8,
    read_noise_dn=3.5,
    read_noise_shape=0,
    row_noise_dn=0.5,
    black_error_dn=(0.6, 0.6, 0.6),
    uncertainty=cameras.Uncertainty(),
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

# Photographs that are taken in the other light as well: six in colour, for the time it takes.
OTHER_LIGHT = ("astronaut", "coffee", "motorcycle, left tile", "chelsea", "china", "flower")
OTHER_MULTIPLIERS = (2.2, 1.0, 1.75)

FRAMES = 8
COUNTS = (1, 2, 4, 8)
FIRST_SCENE = 10000
SEED = 0

# Side of the means by which tone is judged.
BLOCK = 8

# A block is flat where the ground truth's standard deviation is below and its mean between these; a
# scene with fewer of them tells nothing of the mesh.
FLAT, FLAT_MEAN, LEAST_FLAT = 0.01, (0.02, 0.98), 5

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
    photo = simulate.load_photo(pathlib.Path(found.origin).parent / path)
    columns = photo.shape[1] // count
    return photo[:, place * columns : (place + 1) * columns]


def extended(tile, camera):
    """A tile, continued by its mirror image at the bottom and right to what a raw file needs.

    Nothing is enlarged. Sizes come to a multiple of 4 (Bayer) or 12 (X-Trans), and of X-Trans,
    of which LibRaw develops nothing below 512 pixels a side, to 516 at least. What is added is in
    the burst, but counts in no figure and is in no picture, so that both cameras are measured on
    the same pixels.
    """
    step = 2 * camera.layout.period
    least = 516 if camera.mosaic == "xtrans" else step
    sides = (max(least, math.ceil(length / step) * step) for length in tile.shape[:2])
    margins = [(0, side - length) for side, length in zip(sides, tile.shape[:2], strict=True)]
    return np.pad(tile, [*margins, (0, 0)], mode="reflect")


def scenes_of(camera, limit):
    """List of `Scene`s, every photograph at every ratio."""
    numbers = iter(simulate.scene_numbers(FIRST_SCENE, len(PHOTOS) * len(RATIOS)))
    scenes = []
    for name in list(PHOTOS)[:limit]:
        tile = photograph(name)
        for ratio in RATIOS:
            number = next(numbers)
            settings = (
                (camera.mosaic, camera.black, camera.white),
                (camera.xyz_to_camera, camera.white_balance),
                (ratio, number, FRAMES, SEED, NOISE, tile.shape),
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
        burst = simulate.simulate_scene(photo, camera, rng, FRAMES, scene.ratio, noise=NOISE)
        simulate.write_scene(tree, scene.number, burst, camera, scene.ratio, overwrite=True)
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
    """The file of a burst's picture; `row` is "gt" for the ground truth's."""
    return results.picture_path(folder / "pictures", burst, row)


def blocks(picture, side):
    """A picture in squares, [rows, columns, side, side, 3]; an incomplete last one is left out."""
    rows, columns = (length // side for length in picture.shape[:2])
    cut = picture[: rows * side, : columns * side]
    return cut.reshape(rows, side, columns, side, 3).swapaxes(1, 2)


def mesh(picture, truth, scale):
    """How strong the pattern that repeats with the packed pixels is where the ground truth is flat.

    Rows of one place within the packed pixels are averaged over a block of four of these, and the
    differences of neighbouring places are taken; so are columns.

    Args:
      picture: [rows, columns, 3] sRGB in 0..1.
      truth: the ground truth.
      scale: S, output pixels per packed pixel: the pattern's period.

    Returns:
      (mean absolute difference in the picture, that in the ground truth); None without flat areas.
    """
    squares = blocks(truth, 4 * scale)
    mean = squares.mean((2, 3, 4))
    flat = (squares.std((2, 3)).max(-1) < FLAT) & (mean > FLAT_MEAN[0]) & (mean < FLAT_MEAN[1])
    if flat.sum() < LEAST_FLAT:
        return None

    def amplitude(values):
        differences = []
        for turned in (values, values.swapaxes(1, 2)):
            places = turned.reshape(len(turned), 4, scale, 4 * scale, 3).mean((1, 3))
            differences.append(np.abs(places - np.roll(places, 1, axis=1)).mean())
        return statistics.fmean(differences)

    return tuple(amplitude(blocks(one, 4 * scale)[flat]) for one in (picture, truth))


def measured(scene, burst, row, picture, truth, folder, *, strength="", given=NOISY, scale=None):
    """Writes a picture and returns its line of the table.

    Args:
      scene: `Scene`.
      burst: `sid.Burst`.
      row: a key of `ROWS`.
      picture: [rows, columns, 3] sRGB, what is beyond the scene's own pixels is cut off.
      truth: the scene's own pixels of the ground truth.
      folder: of the results.
      strength: of a denoiser.
      given: what the networks got, see `NOISY`.
      scale: S; with it the columns of means and mesh are filled.
    """
    picture = scene.own(picture)
    name = row if given == NOISY else f"{row}_{given}"
    pictures.write_png(picture_path(folder, burst, name), picture)
    scores = metrics.score(picture, truth)
    line = {
        "burst": burst.name,
        "photo": scene.photo,
        "ratio": str(scene.ratio),
        "row": row,
        "strength": strength,
        "psnr": f"{scores['psnr']:.4f}",
        "ssim": f"{scores['ssim_range1']:.5f}",
        "fingerprint": scene.fingerprint,
    }
    if scale is None:
        return line
    clipped = np.clip(picture, 0, 1)
    means = (blocks(one, BLOCK).mean((2, 3)) for one in (clipped, truth))
    found = mesh(clipped, truth, scale)
    ours, theirs = ("", "") if found is None else (f"{value:.6f}" for value in found)
    return line | {
        "input": given,
        "means_psnr": f"{psnr(*means):.4f}",
        "mesh": ours,
        "mesh_of_truth": theirs,
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
            line = measured(scene, burst, row, picture, truth, folder, strength=strength)
            table[burst.name, row] = line
        write_table(path, list(table.values()))
        _say(burst, [table[burst.name, row] for row, _ in rows], number, len(todo), started)
    return [table[burst.name, row] for _, burst in pairs for row in CLASSICAL]


def restorations(model, camera, burst, rotate=True):
    """Yields (row, picture) of `NETWORKS`, the last of them if wanted."""
    with futures.ThreadPoolExecutor(1) as background:
        dark = DarkFrames(burst, camera, background, trained=model.white_balance)
        frames = list(dark)
    yield "coarse", developed.coarse(model, dark.first, frames[0])
    how = model.reference_frame_for(camera), camera.padded_columns
    for count, picture, _ in modes.grow(model, frames, COUNTS, *how):
        yield "fine" if count == 1 else f"burst{count}", picture
    if rotate and model.spec.refers:
        yield "rotate", modes.restore(model, frames, "rotate", *how)


def restored(model, pairs, camera, folder, given=NOISY):
    """The lines of `NETWORKS` for every burst.

    Args:
      model: what `load_pretrained` returns.
      pairs: see `simulated`.
      camera: `cameras.Camera`.
      folder: of the results.
      given: what the networks get, see `NOISY`.
    """
    lines, started = [], time.monotonic()
    for number, (scene, burst) in enumerate(pairs, 1):
        truth = scene.own(reading.read_truth(burst.truth))
        shown = burst
        if given == NOISE_FREE:
            burst = dataclasses.replace(burst, frames=(burst.truth,), ratio=1.0)
        rows = [
            measured(scene, shown, row, picture, truth, folder, given=given, scale=camera.scale)
            for row, picture in restorations(model, camera, burst, rotate=given == NOISY)
        ]
        lines += rows
        _say(shown, rows, number, len(pairs), started)
    return lines


def _say(burst, lines, number, total, started):
    scores = ", ".join(f"{line['row']} {float(line['psnr']):.2f}" for line in lines)
    left = f"; {progress.time_left(started, number, total)}" if number < total else ""
    progress.say(f"[{number}/{total}] {burst.name}, {lines[0]['photo']}: {scores}{left}")


def draw_panels(lines, pairs, folder):
    """Writes a panel of every burst: ground truth, input, classical and restored pictures."""
    means = means_of(lines)
    scores = {
        (line["burst"], line["row"]): line for line in lines if line.get("input", NOISY) == NOISY
    }
    for scene, burst in pairs:
        progress.status(f"{burst.name}: drawing the panel")
        truth = iio.imread(picture_path(folder, burst, "gt"))
        views = [sheets.View("ground truth", truth)]
        best = best_denoiser(means, scene.ratio)
        for row in ("single", "mean", best, "coarse", "fine", "burst8"):
            if line := scores.get((burst.name, row)):
                picture = iio.imread(picture_path(folder, burst, row))
                text = f"PSNR {float(line['psnr']):.2f} dB   SSIM {float(line['ssim']):.3f}"
                views.append(sheets.View(ROWS[row], picture, text))
        panel = sheets.draw_panel(views, sheets.default_box(truth, width=480))
        path = picture_path(folder, burst, "panel")
        files.write_whole(path, iio.imwrite("<bytes>", panel, extension=".png"))


def main():
    camera, model = cameras.camera_named(FLAGS.camera), None
    folder = FLAGS.out
    if FLAGS.checkpoint:
        environment.import_tensorflow()
        from dbp_tf.restore import pretrained

        model = pretrained.load_pretrained(FLAGS.checkpoint)
        checkpoints.check_model(model, camera, "rotate" if model.spec.refers else "burst")
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    pairs = simulated(scenes_of(camera, FLAGS.limit), camera, folder)
    lines = classical(pairs, camera, folder)
    if model:
        lines += restored(model, pairs, camera, folder)
        # The long exposures of both ratios are alike.
        clean = [pair for pair in pairs if pair[0].ratio == RATIOS[0]]
        lines += restored(model, clean, camera, folder, NOISE_FREE)
        light = dataclasses.replace(camera, white_balance=OTHER_MULTIPLIERS)
        scenes = [s for s in scenes_of(light, FLAGS.limit) if s.photo in OTHER_LIGHT]
        other = simulated(scenes, light, folder / OTHER)
        lines += restored(model, other, camera, folder, OTHER)
    columns = dict.fromkeys(name for line in lines for name in line)
    write_table(folder / "quality.csv", [dict.fromkeys(columns, "") | line for line in lines])
    draw_panels(lines, pairs, folder)
    text = report(lines, camera, FLAGS.checkpoint)
    files.write_whole(folder / "quality.md", text.encode())
    progress.say(f"\n{text}\nTables are in {folder}/, pictures in {folder}/pictures/")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
