"""The simulator: a photograph becomes a dark burst and its bright ground truth, as raw files.

    python -m dbp_tf.simulate photo.jpg --out DIR --camera sony --frames 8 --ratio 100

writes `DIR/short/IIIII_NN_0.1s.ARW` and `DIR/long/IIIII_00_Ts.ARW`, DNG files under the names
of the See-in-the-Dark dataset (LibRaw goes by content, not by suffix). Without a photograph it
takes the sample.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
from absl import flags

from dbp_tf import config, files
from dbp_tf.errors import InputError
from dbp_tf.parameters import parameter
from dbp_tf.raw import cameras
from dbp_tf.raw.cameras import Noise
from dbp_tf.raw.noise import draw_noise, noise_at
from dbp_tf.simulate.photographs import SAMPLE
from dbp_tf.simulate.scenes import simulate_tree

_scenes_flag = functools.partial(parameter, topic="scenes")
_photographs_flag = functools.partial(parameter, topic="photographs")
_noise_flag = functools.partial(parameter, topic="noise")


@dataclasses.dataclass(frozen=True)
class Simulation:
    """The parameters of the simulator."""

    out: pathlib.Path = _scenes_flag(
        None,
        "Folder for short/ and long/ of the simulated raw files; made if it is missing.",
        required=True,
    )
    camera: cameras.Camera = _scenes_flag(cameras.SONY, "Camera to imitate.")
    frames: int = _scenes_flag(8, "Dark frames of a burst.", low=1, high=100)
    ratio: str = _scenes_flag(
        "100", "Exposure ratio; several with commas, each makes a scene of its own."
    )
    scene: int = _scenes_flag(
        10000,
        "Number of the first scene: 0xxxx train, 1xxxx test, 2xxxx validation. The following "
        "scenes count up, past the three numbers that are misaligned in the dataset.",
        low=0,
        high=99999,
    )
    shake: int = _scenes_flag(
        0,
        "Hand shake: raw pixels by which a frame may be off the first one, along rows and along "
        "columns.",
        low=0,
        high=63,
    )
    white_balance: str | None = _scenes_flag(
        None,
        "Light of the scenes: multipliers R,G,B that make it white; varied draws others for every "
        "scene, from daylight to tungsten. By default those of the camera.",
    )
    seed: int = _scenes_flag(
        0, "Seed of the random numbers; a scene depends on it and on its own number only.", low=0
    )
    overwrite: bool = _scenes_flag(False, "Replace scenes that are there already.")
    reduce: int = _photographs_flag(
        1,
        "Whole factor by which photographs are made smaller; from 2 on their own noise mostly "
        "vanishes from the ground truth.",
        low=1,
    )
    size: int | None = _photographs_flag(
        None,
        "Cut square tiles with so many pixels a side, rounded up to what packs evenly; without "
        "it, the whole photograph.",
        low=1,
    )
    tiles: int | None = _photographs_flag(
        None,
        "With --size: tiles of a photograph, those nearest its centre first; 0 for all. By "
        "default 1.",
        low=0,
    )
    iso: float | None = _noise_flag(
        None,
        "ISO setting whose noise the frames have. By default that of the camera or, if it was "
        "calibrated at several, one that is drawn for every scene, from the lowest to the highest.",
        low=1,
    )
    gain: float | None = _noise_flag(
        None, "Shot noise instead of the camera's: DN per electron.", low=1e-6
    )
    read_noise: float | None = _noise_flag(
        None, "Read noise instead of the camera's: standard deviation in DN.", low=0
    )
    read_noise_shape: float | None = _noise_flag(
        None,
        "Shape of the read noise's Tukey lambda distribution instead of the camera's: 0 logistic, "
        "0.14 nearly normal; less has heavier tails.",
        low=-0.49,
        high=1,
    )
    row_noise: float | None = _noise_flag(None, "Row noise instead of the camera's, in DN.", low=0)
    black_offset: str | None = _noise_flag(
        None, "Mean error of the black level instead of the camera's, in DN: R,G,B."
    )
    offset_spread: float | None = _noise_flag(
        None,
        "How far each colour's black level lies off that mean, drawn once a burst, instead of the "
        "camera's: standard deviation in DN.",
        low=0,
    )


FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Simulation)


def main(photos: list[str]) -> None:
    """Simulates scenes from photographs as the flags say; without one, from the sample."""
    wanted = config.from_flags(FLAGS, Simulation)
    if wanted.tiles is not None and wanted.size is None:
        raise InputError("--tiles belongs to --size: give that too")
    white_balance = wanted.white_balance
    if white_balance not in (None, "varied"):
        white_balance = _colours("white_balance", white_balance, least=0.1, most=100)
    lines = simulate_tree(
        [*map(files.expand, photos)] or [SAMPLE],
        wanted.out,
        wanted.camera,
        ratios=_numbers("ratio", wanted.ratio, least=1, most=10000),
        first_scene=wanted.scene,
        seed=wanted.seed,
        reduce=wanted.reduce,
        size=wanted.size,
        count=1 if wanted.tiles is None else wanted.tiles,
        overwrite=wanted.overwrite,
        white_balance=white_balance,
        frames=wanted.frames,
        shake=wanted.shake,
        noise_of=_noise_of(wanted),
    )
    for line in lines:
        print(line, flush=True)


def _noise_of(wanted: Simulation) -> Callable[[np.random.Generator], Noise]:
    """Draws a scene's noise: the camera's, with the values that flags replace."""
    at_iso = None if wanted.iso is None else noise_at(wanted.camera, wanted.iso)
    offset = wanted.black_offset
    given = {
        "gain_dn_per_electron": wanted.gain,
        "read_noise_dn": wanted.read_noise,
        "read_noise_shape": wanted.read_noise_shape,
        "row_noise_dn": wanted.row_noise,
        "black_error_dn": offset and _colours("black_offset", offset, least=-1000, most=1000),
        "black_error_spread_dn": wanted.offset_spread,
    }
    given = {name: value for name, value in given.items() if value is not None}

    def noise(rng):
        return dataclasses.replace(at_iso or draw_noise(wanted.camera, rng), **given)

    return noise


def _numbers(flag, text, least, most):
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(least <= number <= most for number in numbers):
        raise InputError(
            f"--{flag}={text}: give numbers from {least:g} to {most:g}, with commas between them"
        )
    return numbers


def _colours(flag, text, least, most):
    numbers = _numbers(flag, text, least, most)
    if len(numbers) != 3:
        raise InputError(f"--{flag}: give three numbers, R,G,B, not {len(numbers)}")
    return numbers
