"""Shows how much --white_balance gains on sensors and in lights that the weights do not know.

    python benchmarks/white_balance.py --checkpoint checkpoints/sony_small photo.jpg ...

Photographs (the bundled sample without any) are simulated as bursts of several sensors: their own
colour matrices, their own multipliers in daylight and in tungsten light. Each burst is restored
with --white_balance none, camera and auto and compared with its own ground truth, developed by
LibRaw. "ideal" is the picture of a network that knows the training camera perfectly and removes all
noise, compared in blocks of 8 x 8 pixels: the error that is left is colour alone. Without
--checkpoint only that is shown.
"""

import dataclasses
import functools
import pathlib
import sys
import tempfile

import common  # noqa: F401 (finds dbp_tf beside this folder)
import numpy as np
from absl import flags

from dbp_tf import cli, simulate
from dbp_tf.photos import brightness
from dbp_tf.raw import cameras, packing, reading, white_balance

FLAGS = flags.FlagValues()
_define = functools.partial(cli.define, FLAGS)
_define(cli.DEFINE_path, "checkpoint", None, "Folder of weights for the Sony camera.")
_define(flags.DEFINE_float, "ratio", 100, "Exposure ratio of the simulated bursts.", lower_bound=1)
_define(flags.DEFINE_integer, "frames", 2, "Frames of a burst.", lower_bound=1)
_define(flags.DEFINE_integer, "size", 256, "Side of the tiles cut from photographs, in pixels.")
_define(flags.DEFINE_integer, "tiles", 1, "Tiles of a photograph.", lower_bound=1)

TRAINING = cameras.SONY

# XYZ (D65) to camera colours, Adobe's as LibRaw lists them.
MATRICES = {
    "Sony ILCE-7SM2": TRAINING.xyz_to_camera,
    "Canon EOS 5D Mark III": (
        (0.6722, -0.0635, -0.0963),
        (-0.4287, 1.2460, 0.2028),
        (-0.0908, 0.2162, 0.5668),
    ),
    "Nikon D800": (
        (0.7866, -0.2108, -0.0555),
        (-0.4869, 1.2483, 0.2681),
        (-0.1176, 0.2069, 0.7501),
    ),
    "Panasonic DMC-GH4": (
        (0.7122, -0.2108, -0.0512),
        (-0.3155, 1.1201, 0.2231),
        (-0.0541, 0.1423, 0.5045),
    ),
}

# CIE XYZ of white: standard illuminants D65 and A.
LIGHTS = {"daylight": (0.9505, 1.0, 1.0891), "tungsten": (1.0985, 1.0, 0.3558)}


def sensors():
    """Yields (name of sensor and light, `cameras.Camera`)."""
    yield "as trained", TRAINING
    for model, matrix in MATRICES.items():
        for light, white in LIGHTS.items():
            grey = np.array(matrix) @ white
            multipliers = tuple(float(value) for value in grey[1] / grey)
            yield (
                f"{model}, {light}",
                dataclasses.replace(
                    TRAINING, model=model, xyz_to_camera=matrix, white_balance=multipliers
                ),
            )


def bt709(linear):
    """LibRaw's default tone curve: linear light in 0..1 to code values in 0..1."""
    return np.where(linear < 0.018, 4.5 * linear, 1.099 * np.maximum(linear, 0) ** 0.45 - 0.099)


def ideal(packed):
    """[H, W, 3] picture of half the size that the training camera's processing makes."""
    red, green, blue, other_green = np.moveaxis(packed, -1, 0)
    colours = np.stack([red, (green + other_green) / 2, blue], axis=-1)
    # LibRaw scales its multipliers so that the smallest is one.
    gains = np.array(TRAINING.white_balance) / min(TRAINING.white_balance)
    balanced = np.minimum(colours * gains, 1)
    linear = balanced @ np.linalg.inv(simulate.camera_matrix(TRAINING)).T
    return bt709(np.clip(linear, 0, 1))


def blocks(picture, side):
    """Means over side x side pixels."""
    rows, columns = (size // side for size in picture.shape[:2])
    cut = picture[: rows * side, : columns * side]
    return cut.reshape(rows, side, columns, side, 3).mean((1, 3))


def psnr(picture, truth):
    """In dB, data range 1."""
    return -10 * np.log10(np.mean((np.clip(picture, 0, 1) - truth) ** 2))


def measure(tile, camera, model, folder):
    """{(quantity, choice): PSNR} of one scene, and the error of the ratio found, in stops."""
    trained = (model and model.white_balance) or TRAINING.white_balance
    scene = simulate.simulate_scene(
        tile, camera, np.random.default_rng(0), FLAGS.frames, FLAGS.ratio
    )
    path = folder / "truth.dng"
    simulate.write_dng(path, scene.truth, camera)
    truth = reading.read_truth(path)
    frame = reading.read_raw(path, camera)
    signal = brightness.block_means([frame.signal()])
    estimated = white_balance.estimate(signal, packing.BAYER, path)
    figures = {}
    for choice in white_balance.CHOICES:
        colours, _ = white_balance.scales(choice, frame.white_balance, trained, estimated)
        scales = np.array(white_balance.channel_scales(colours, packing.BAYER), np.float32)

        def packed(mosaic, ratio, scales=scales):
            samples = packing.pack(mosaic, packing.BAYER)
            return packing.normalise(samples, camera.black, camera.white, ratio * scales)

        clean = ideal(packed(scene.truth, 1.0))
        figures["ideal", choice] = psnr(blocks(clean, 4), blocks(truth, 8))
        if model:
            picture = model.enhance([packed(frame, FLAGS.ratio) for frame in scene.frames])
            figures["network", choice] = psnr(picture, truth)
            figures["network, colours", choice] = psnr(
                blocks(np.clip(picture, 0, 1), 8), blocks(truth, 8)
            )
        baked_in = white_balance.channel_scales(trained, packing.BAYER)
        signals = (
            (packing.pack(frame.astype(np.float32), packing.BAYER) - camera.black)
            / (camera.white - camera.black)
            for frame in scene.frames
        )
        found = brightness.auto_ratio(brightness.block_means(signals), scales * baked_in)
        figures["stops off, ratio auto", choice] = np.log2(found / FLAGS.ratio)
    return figures


def main(photos):
    model = None
    if FLAGS.checkpoint:
        from dbp_tf.restore import pretrained

        model = pretrained.load_pretrained(FLAGS.checkpoint)
    tiles = [
        tile
        for path in photos or [simulate.SAMPLE]
        for tile in simulate.tiles(
            simulate.load_photo(path), TRAINING, FLAGS.size, FLAGS.tiles, name=path
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, camera in sensors():
            scenes = [measure(tile, camera, model, pathlib.Path(folder)) for tile in tiles]
            means = {key: np.mean([scene[key] for scene in scenes]) for key in scenes[0]}
            multipliers = "/".join(f"{value:.2f}" for value in camera.white_balance)
            for quantity in dict.fromkeys(quantity for quantity, _ in means):
                values = (
                    f"{choice} {means[quantity, choice]:6.2f}" for choice in white_balance.CHOICES
                )
                print(f"{name:<34} {multipliers:<14} {quantity:<22}", *values, flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, words=True))
