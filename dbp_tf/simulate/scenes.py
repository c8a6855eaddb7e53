"""Scenes: dark bursts and their ground truths, in memory and as trees of raw files."""

import dataclasses
import datetime
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dbp_tf import progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras
from dbp_tf.raw.cameras import Noise
from dbp_tf.raw.mosaics import mosaic
from dbp_tf.raw.noise import draw_fixed_pattern, draw_noise, draw_offset, expose, expose_long
from dbp_tf.simulate.dng import SHORT_EXPOSURE, write_dng
from dbp_tf.simulate.photographs import count_tiles, load_photo, photo_shape, tiles
from dbp_tf.simulate.unprocess import shifted, soften, unprocess


@dataclasses.dataclass(frozen=True)
class Scene:
    """A simulated burst and its ground truth.

    Attributes:
      truth: [rows, columns] uint16, the long exposure without noise, in DN.
      frames: [F, rows, columns] uint16, the dark burst, in DN.
      shifts: [F, 2] rows and columns in raw pixels by which each frame's content lies further
        down and right than the ground truth's; the first is (0, 0).
      offset: [3] error of the black level of this burst (R, G, B), in DN.
      noise: of this burst.
    """

    truth: np.ndarray
    frames: np.ndarray
    shifts: np.ndarray
    offset: np.ndarray
    noise: Noise


def simulate_scene(
    photo: np.ndarray,
    camera: cameras.Camera,
    rng: np.random.Generator,
    frames: int = 8,
    ratio: float = 100.0,
    shake: int = 0,
    noise: Noise | None = None,
) -> Scene:
    """A dark burst and its ground truth from a photograph.

    Frames come out of `rng` one after another, so that a burst of two frames is the start of a
    burst of eight.

    Args:
      photo: [rows, columns, 3] sRGB in 0..1, see `tiles` for the sizes.
      camera: `cameras.Camera`.
      rng: `numpy.random.Generator`; the same state gives the same scene.
      frames: F.
      ratio: long over short exposure.
      shake: hand shake. Every frame but the first is off by up to so many raw pixels along rows
        and along columns, whole pixels, all shifts alike likely. The scene moves, not the
        filters.
      noise: `Noise`; None for the camera's, see `draw_noise`.

    Returns:
      `Scene`.
    """
    noise = noise or draw_noise(camera, rng)
    linear = soften(unprocess(photo, camera))
    offset = draw_offset(noise, rng)
    fixed = draw_fixed_pattern(noise, linear.shape[:2], rng)
    shifts, burst = np.zeros((frames, 2), int), []
    for frame in range(frames):
        if frame and shake:
            shifts[frame] = rng.integers(-shake, shake, 2, endpoint=True)
        samples = mosaic(shifted(linear, shifts[frame]), camera.filters)
        burst.append(expose(samples, ratio, camera, noise, offset, rng, fixed_pattern=fixed))
    truth = expose_long(mosaic(linear, camera.filters), camera)
    return Scene(truth, np.stack(burst), shifts, offset, noise)


def _files_of(folder, number, camera):
    """The raw files of one scene that lie in the tree, dark ones and bright ones."""
    name = f"{number:05d}_*{camera.suffix}"
    return [path for side in ("short", "long") for path in sorted((folder / side).glob(name))]


def write_scene(
    folder: str | os.PathLike,
    number: int,
    scene: Scene,
    camera: cameras.Camera,
    ratio: float,
    overwrite: bool = False,
) -> tuple[list[pathlib.Path], pathlib.Path]:
    """Writes a scene as raw files of the See-in-the-Dark layout.

    The short exposure is 0.1 s, the long one `ratio` times as much. Capture times follow from
    the scene's number: a minute from scene to scene, 0.15 s from frame to frame, the long
    exposure at the end.

    Args:
      folder: of the tree; `short/` and `long/` are made in it.
      number: of the scene, 0 to 99999.
      scene: `Scene`.
      camera: `cameras.Camera`.
      ratio: long over short exposure.
      overwrite: whether files of the same scene that lie there may be replaced; then all of
        them are.

    Returns:
      list of the frames' paths, and the ground truth's path.

    Raises:
      InputError: the scene is there already, or a file cannot be written.
    """
    folder = pathlib.Path(folder)
    there = _files_of(folder, number, camera)
    if there and not overwrite:
        raise InputError(
            f"{there[0]} exists already: give --overwrite to replace scene {number:05d}, or "
            f"another --scene or --out"
        )
    start = datetime.datetime(2020, 1, 1) + datetime.timedelta(minutes=number)

    def write(side, frame, exposure, samples, seconds):
        path = folder / side / f"{number:05d}_{frame:02d}_{exposure:g}s{camera.suffix}"
        captured = start + datetime.timedelta(seconds=seconds)
        write_dng(path, samples, camera, exposure, captured, iso=scene.noise.iso)
        return path

    frames = [
        write("short", frame, SHORT_EXPOSURE, samples, 0.15 * frame)
        for frame, samples in enumerate(scene.frames)
    ]
    truth = write("long", 0, SHORT_EXPOSURE * ratio, scene.truth, 0.15 * len(frames))
    for path in there:
        if path not in (*frames, truth):
            path.unlink()
    return frames, truth


def scene_numbers(first: int, count: int) -> list[int]:
    """`first`, and then the numbers above it that are not misaligned in the dataset.

    The three would be left out of every average.

    Returns:
      list of `count` numbers.

    Raises:
      InputError: there are not so many up to 99999.
    """
    allowed = (
        number
        for number in range(first, 100000)
        if number == first or f"{number:05d}" not in sid.MISALIGNED_SCENES
    )
    numbers = list(itertools.islice(allowed, count))
    if len(numbers) < count:
        raise InputError(
            f"--scene {first} leaves {len(numbers)} of the {count} numbers of five digits that are "
            f"needed: start with a smaller one"
        )
    return numbers


def draw_white_balance(
    camera: cameras.Camera, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Multipliers of some light, from a little colder than the camera's own to tungsten.

    Warmer light takes a smaller multiplier of red and a larger one of blue; their product hardly
    changes. With the Sony's 2.77, 1, 1.43, red lies between 1.5 and 3.1 and blue between 1.25 and
    2.6, as in the metadata of real photographs (Brooks et al. 2019: red 1.9 to 2.4, blue 1.5 to
    1.9, mostly daylight).
    """
    red, green, blue = camera.white_balance
    warmth = rng.uniform(-0.1, 0.55)
    red_share, blue_share = np.exp(rng.uniform(-0.05, 0.05, 2) + (-warmth, warmth))
    return float(red * red_share), float(green), float(blue * blue_share)


def simulate_tree(
    photos: Sequence[str | os.PathLike],
    folder: str | os.PathLike,
    camera: cameras.Camera,
    ratios: Sequence[float] = (100.0,),
    first_scene: int = 10000,
    seed: int = 0,
    reduce: int = 1,
    size: int | None = None,
    count: int = 1,
    overwrite: bool = False,
    white_balance: tuple[float, float, float] | str | None = None,
    noise_of: Callable[[np.random.Generator], Noise] | None = None,
    **options: Any,
) -> Iterator[str]:
    """Writes a scene for every photograph, tile of it and exposure ratio.

    Args:
      photos: list of paths.
      folder: of the tree.
      camera: `cameras.Camera`.
      ratios: exposure ratios; each makes a scene of its own.
      first_scene: its number; the following scenes count up.
      seed: of the random numbers. A scene's depend on nothing but the seed and its number.
      reduce: see `load_photo`.
      size, count: see `tiles`.
      overwrite: see `write_scene`.
      white_balance: multipliers (R, G, B) of the light; None for the camera's; "varied" for
        others in every scene, see `draw_white_balance`.
      noise_of: draws a scene's noise; None for `draw_noise` of the camera.
      **options: `frames` and `shake` of `simulate_scene`.

    Yields:
      one line of text for each scene written.

    Raises:
      InputError: see `load_photo`, `tiles`, `scene_numbers` and `write_scene`. Photographs that
        are missing, too small or too many are found before anything is written.
    """
    cuts = [count_tiles(photo_shape(path, reduce), camera, size, count, path) for path in photos]
    numbers = iter(scene_numbers(first_scene, sum(cuts) * len(ratios)))
    for path in photos:
        for tile in tiles(load_photo(path, reduce), camera, size, count, name=path):
            for ratio in ratios:
                number = next(numbers)
                light: Any = white_balance or camera.white_balance
                if white_balance == "varied":
                    # From random numbers of its own: the noise is the same in every light.
                    light = draw_white_balance(camera, np.random.default_rng([seed, number, 1]))
                lit = dataclasses.replace(camera, white_balance=tuple(light))
                rng = np.random.default_rng([seed, number])
                noise = noise_of(rng) if noise_of else None
                scene = simulate_scene(tile, lit, rng, ratio=ratio, noise=noise, **options)
                write_scene(folder, number, scene, lit, ratio, overwrite)
                rows, columns = scene.truth.shape
                yield (
                    f"scene {number:05d}: {path}, {rows} x {columns}, ratio {ratio:g}, "
                    f"ISO {scene.noise.iso:.4g}, {progress.plural(len(scene.frames), 'frame')}"
                )
