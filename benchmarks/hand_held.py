"""Shows how much aligning and masking gain on hand-held bursts, and that they do no harm.

    python benchmarks/hand_held.py --checkpoint checkpoints/sony_small --out results/hand_held
        photo.jpg ...

Photographs (the bundled sample without any) are simulated as bursts held still, shaken by up to
--shake raw pixels, with an object that moves through the picture, and with both. Each burst is
restored with and without each step and compared with the ground truth of its first frame, and so is
that frame alone. Prints PSNR in dB and its gain over the single frame, over the whole picture and
over the object's path, writes hand_held.csv and a picture of every restoration, and says at the end
by how much the worst burst falls below its single frame.
"""

import dataclasses
import functools
import math
import pathlib
import sys
import tempfile

import numpy as np
from absl import flags
from common import write_table
from quality import NOISE

from dbp_tf import cli, pictures, simulate
from dbp_tf.evaluation import metrics
from dbp_tf.photos import alignment
from dbp_tf.raw import packing, reading
from dbp_tf.restore import checkpoints

FLAGS = flags.FlagValues()
_define = functools.partial(cli.define, FLAGS)
_define(cli.DEFINE_path, "checkpoint", None, "Weights of a fine or burst stage.", required=True)
_define(cli.DEFINE_camera, "camera", "sony", "Camera of the weights.")
_define(cli.DEFINE_path, "out", "results/hand_held", "Folder for the table and the pictures.")
_define(flags.DEFINE_list, "ratio", ["100", "300"], "Exposure ratios, with commas.")
_define(flags.DEFINE_integer, "frames", 8, "Frames of a burst.", lower_bound=2)
_define(flags.DEFINE_integer, "shake", 16, "Raw pixels of hand shake.", lower_bound=1)
_define(flags.DEFINE_integer, "size", None, "Side of a square tile cut from each photograph.")
_define(flags.DEFINE_integer, "seed", 0, "Seed of the random numbers.", lower_bound=0)

# Arguments of `alignment.align_burst` for each way of restoring.
STEPS = {
    "as it is": dict(align=False, motion_mask=False),
    "--align": dict(align=True, motion_mask=False),
    "--motion_mask": dict(align=False, motion_mask=True),
    "both": dict(align=True, motion_mask=True),
}

SCENES = {  # name: (shaken, something moves)
    "still": (False, False),
    "shaken": (True, False),
    "moving": (False, True),
    "shaken, moving": (True, True),
}

SINGLE = "single frame"

# Largest loss against the single frame that is accepted, in dB.
TOLERANCE = 0.1


def with_object(photo, progress):
    """The photograph with a disc of its own upside-down copy, on its way from left to right.

    Args:
      photo: [rows, columns, 3].
      progress: 0 to 1, how far the disc has come: from a third of the columns to two thirds.

    Returns:
      the photograph, and where the disc is: [rows, columns] bool.
    """
    rows, columns = photo.shape[:2]
    down, right = np.ogrid[:rows, :columns]
    radius = min(rows, columns) / 8
    centre = rows / 2, columns * (1 + progress) / 3
    inside = (down - centre[0]) ** 2 + (right - centre[1]) ** 2 <= radius**2
    # The copy moves with the disc, as an object's surface does.
    moved = np.roll(photo[::-1], round(columns * progress / 3), axis=1)
    return np.where(inside[..., np.newaxis], moved, photo), inside


def simulated_burst(photo, camera, ratio, shaken, moves, rng):
    """(packed frames, ground truth of the first, the object's path).

    The ground truth is [rows, columns, 3] in 0..1, the path [rows, columns] bool.
    """
    count, layout = FLAGS.frames, camera.layout
    # Frames are simulated one by one, and a burst's frames have one black level.
    noise = dataclasses.replace(NOISE, black_error_spread_dn=0)
    frames, truth, path = [], None, np.zeros(photo.shape[:2], bool)
    for number in range(count):
        picture = photo
        if moves:
            picture, inside = with_object(photo, number / (count - 1))
            path |= inside
        if shaken and number:
            shift = rng.integers(-FLAGS.shake, FLAGS.shake, 2, endpoint=True)
            picture = simulate.shifted(picture, shift)
        scene = simulate.simulate_scene(picture, camera, rng, frames=1, ratio=ratio, noise=noise)
        samples = packing.pack(scene.frames[0], layout)
        frames.append(packing.normalise(samples, camera.black, camera.white, ratio))
        if truth is None:
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / f"truth{camera.suffix}"
                simulate.write_dng(file, scene.truth, camera)
                truth = reading.read_truth(file)
    return frames, truth, path


def restorations(model, frames, layout):
    """Yields (step, picture, frames used, greatest moving share) of one burst."""
    yield SINGLE, model.enhance(frames[:1]), 1, 0.0
    for step, switches in STEPS.items():
        fitting = alignment.align_burst(frames, model.coarse, layout, **switches)
        moving = max(note.moving or 0 for note in fitting.notes)
        yield step, model.enhance(fitting, reference_frame="first"), len(fitting), moving


def scores(picture, truth, path):
    """PSNR of a picture, and of the object's path alone (None without one)."""
    picture, truth = metrics.crop_to_common(np.clip(picture, 0, 1), truth)
    path = path[: picture.shape[0], : picture.shape[1]]
    yield metrics.psnr(picture, truth, data_range=1)
    yield metrics.psnr(picture[None, path], truth[None, path], data_range=1) if path.any() else None


def measure(model, photo, name, camera, folder):
    """Yields a row of the table for every restoration of one photograph."""
    layout = camera.layout
    for ratio in map(float, FLAGS.ratio):
        for scene, (shaken, moves) in SCENES.items():
            rng = np.random.default_rng(FLAGS.seed)
            frames, truth, path = simulated_burst(photo, camera, ratio, shaken, moves, rng)
            stem = f"{name}_{ratio:g}_{scene.replace(', ', '_')}"
            pictures.write_png(folder / f"{stem}_gt.png", truth)
            single = None
            for step, picture, used, moving in restorations(model, frames, layout):
                whole, there = scores(picture, truth, path)
                single = single or (whole, there)
                label = step.replace("--", "").replace(",", "").replace(" ", "_")
                pictures.write_png(folder / f"{stem}_{label}.png", picture)
                yield {
                    "photo": name,
                    "ratio": f"{ratio:g}",
                    "scene": scene,
                    "step": step,
                    "frames": used,
                    "moving": f"{moving:.3f}",
                    "psnr": f"{whole:.2f}",
                    "gain": f"{whole - single[0]:+.2f}",
                    "path_psnr": "" if there is None else f"{there:.2f}",
                    "path_gain": "" if there is None else f"{there - single[1]:+.2f}",
                }


def averages(rows):
    """Lines of a table: mean PSNR and gain, least gain, mean gain on the object's path."""
    groups = {}
    for row in rows:
        groups.setdefault((row["scene"], row["ratio"], row["step"]), []).append(row)
    figures = "".join(f" {title:>6}" for title in ("PSNR", "gain", "least", "path"))
    yield f"{'scene':<15} {'ratio':>5}  {'step':<16}{figures}"
    for (scene, ratio, step), group in groups.items():
        psnr = np.mean([float(row["psnr"]) for row in group])
        gains = [float(row["gain"]) for row in group]
        there = [float(row["path_gain"]) for row in group if row["path_gain"]]
        yield (
            f"{scene:<15} {ratio:>5}  {step:<16} {psnr:6.2f} {np.mean(gains):+6.2f} "
            f"{min(gains):+6.2f} " + (f"{np.mean(there):+6.2f}" if there else "")
        )


def verdict(rows):
    """The line about the worst burst with both steps."""
    gains = [(float(row["gain"]), row) for row in rows if row["step"] == "both"]
    gain, row = min(gains, key=lambda pair: pair[0], default=(math.nan, None))
    passed = "within" if gain >= -TOLERANCE else "NOT within"
    return (
        f"worst burst with both steps: {gain:+.2f} dB against its single frame ({row['photo']}, "
        f"ratio {row['ratio']}, {row['scene']}), {passed} {TOLERANCE} dB"
    )


def main(photos):
    camera = FLAGS.camera
    model, _ = checkpoints.load(FLAGS.checkpoint, camera, "burst")
    folder = FLAGS.out
    folder.mkdir(parents=True, exist_ok=True)
    # A photograph that is too small is refused before hours are spent on the others.
    photos = photos or [simulate.SAMPLE]
    for path in photos:
        simulate.count_tiles(simulate.photo_shape(path), camera, FLAGS.size, name=path)
    rows = []
    for path in photos:
        photo = simulate.load_photo(path)
        (tile,) = simulate.tiles(photo, camera, FLAGS.size, name=path)
        for row in measure(model, tile, pathlib.Path(path).stem, camera, folder):
            rows.append(row)
            print(
                f"{row['photo']:<14} {row['ratio']:>4} {row['scene']:<15} {row['step']:<16} "
                f"{row['frames']} frames, {row['psnr']} dB, {row['gain']}",
                flush=True,
            )
    write_table(folder / "hand_held.csv", rows)
    print(*averages(rows), verdict(rows), f"table and pictures are in {folder}/", sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, words=True))
