"""Training patches of bursts and ground truths, drawn from the cache and augmented.

`draw` makes all random choices of a patch, `load_patch` reads and augments what was chosen.

The choices follow from the seed and the number of the burst alone. A run that goes on need not save
them: step 1000 sees the same patches, whether a run got there or starts there.

Axis letters: F frames, H W packed rows and columns, C packed channels, S output pixels per packed
pixel, P patch (packed pixels), p half-size patch.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np

from dbp_tf.data.augmentation import Augmentation, augment, augment_mosaic, shift, start_of
from dbp_tf.data.exposures import Exposure, dark_frames, draw_exposure
from dbp_tf.data.recipe import Recipe
from dbp_tf.data.sources import Sources
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, packing, reading, white_balance

# So many random crops, of which `Recipe.texture` takes the most detailed one.
_CANDIDATES = 8


def check_patch(path: str | os.PathLike, recipe: Recipe, camera: cameras.Camera) -> None:
    """Refuses a patch larger than one raw file, before a whole dataset is decoded in vain.

    `check_size` is asked for all pictures, once they are decoded.

    Raises:
      InputError: the picture is smaller than the patch, or not to be read.
    """
    # A mosaic of another phase is cut to where the layout starts, so it packs to less.
    rows, columns = reading.read_raw(path, camera).mosaic.shape
    check_size(path, (rows // camera.scale, columns // camera.scale), recipe, camera)


def check_size(
    path: str | os.PathLike, size: Sequence[int], recipe: Recipe, camera: cameras.Camera
) -> None:
    """Raises InputError if a picture of (rows, columns) packed pixels is smaller than a patch."""
    rows, columns = size
    margin = _margin(recipe, camera.layout)
    if min(size) < recipe.side + margin:
        most = (min(size) - margin) // (recipe.side // recipe.patch) // 2 * 2
        raise InputError(
            f"{path} has {rows} x {columns} packed pixels, too few for --patch {recipe.patch}: "
            f"give --patch {most} or less"
        )


@dataclasses.dataclass(frozen=True)
class Draw:
    """The random choices that make one patch.

    Attributes:
      sources: the burst.
      frames: indices of the frames it shows; the first one is never shifted.
      top, left: first row and column, in packed pixels.
      augmentation: see `Augmentation`.
      shifts: (rows, columns) for each of `frames`, in pixels of the patch.
      exposure: how the frames are made of the long exposure; None for the burst's own frames.
    """

    sources: Sources
    frames: tuple[int, ...]
    top: int
    left: int
    augmentation: Augmentation
    shifts: tuple[tuple[int, int], ...]
    exposure: Exposure | None = None


def group_scenes(sources: Sequence[Sources]) -> list[list[Sources]]:
    """Bursts by scene, scenes in order."""
    scenes: dict[str, list[Sources]] = {}
    for one in sources:
        scenes.setdefault(one.scene, []).append(one)
    return [scenes[scene] for scene in sorted(scenes)]


def draw(scenes: list[list[Sources]], recipe: Recipe, seed: int, number: int) -> Draw:
    """The choices of one patch.

    Args:
      scenes: see `group_scenes`. Every run of len(scenes) numbers that starts at a multiple of
        it, an epoch, has each scene once, in random order.
      recipe: how patches are made.
      seed: from 0 on.
      number: of the burst since the start of the training, from 0 on.
    """
    epoch, position = divmod(number, len(scenes))
    exposures = scenes[_scene_order(len(scenes), seed, epoch)[position]]
    rng = _generator(seed, 0, number)
    sources = exposures[rng.integers(len(exposures))]
    count = rng.integers(1, recipe.n_burst, endpoint=True)
    augmentation = Augmentation(*(rng.integers(2, size=3) == 1).tolist())
    if recipe.augment == "none":
        augmentation = Augmentation()
    draws_noise = recipe.noise == "drawn"
    order = rng.permutation(recipe.n_burst if draws_noise else len(sources.frames))
    if not recipe.shuffle:
        order.sort()
    shifts = np.zeros((len(order), 2), int)
    if recipe.shift:
        shifts[1:] = rng.integers(-recipe.shift, recipe.shift, (len(order) - 1, 2))
    top, left = _draw_crop(sources, recipe, rng)
    vary_light = recipe.white_balance != "none" and sources.clean.white_balance is not None
    exposure = None
    if draws_noise:
        exposure = draw_exposure(_generator(seed, 2, number), vary_light, sources.camera)
    return Draw(
        sources=sources,
        frames=tuple(order[:count].tolist()),
        top=top,
        left=left,
        augmentation=augmentation,
        shifts=tuple(map(tuple, shifts[:count].tolist())),
        exposure=exposure,
    )


def _generator(seed, purpose, number):
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, purpose, number))))


@functools.lru_cache(maxsize=8)
def _scene_order(count, seed, epoch):
    return _generator(seed, 1, epoch).permutation(count)


def _draw_crop(sources, recipe, rng):
    # In the coarse stage the half-size picture is cropped, so rows and columns of the
    # packed one come in pairs.
    step = recipe.side // recipe.patch
    if recipe.augment != "published":
        # The published crops of X-Trans start anywhere in its period.
        step = max(step, sources.layout.cells)
    side = recipe.side + _margin(recipe, sources.layout)
    ranges = [(size - side) // step for size in sources.clean.shape[:2]]
    crops = rng.integers(0, ranges, (_CANDIDATES, 2), endpoint=True) * step
    chosen = 0
    if rng.random() < recipe.texture:
        picture = sources.clean.open()
        chosen = np.argmax([_detail(picture, *crop, recipe.side, sources) for crop in crops])
    return tuple(crops[chosen].tolist())


def _margin(recipe, layout):
    """Packed pixels that `augment_mosaic` needs besides the patch."""
    return layout.cells if recipe.augment == "phase" else 0


def _detail(picture, top, left, side, sources):
    """Mean absolute gradient of a crop's green channel after a square root.

    The root makes detail in the shade count as it is seen, and shot noise count alike everywhere.
    """
    # Channel 1 is green in both layouts. Every other row and column is enough to judge by.
    green = picture[top : top + side : 2, left : left + side : 2, 1].astype(np.float32)
    green = np.sqrt(np.maximum(green - sources.clean.black[1], 0))
    return np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()


def load_patch(drawn: Draw, recipe: Recipe) -> dict[str, np.ndarray]:
    """Reads and augments a patch.

    Returns:
      dict of float32 arrays, all C-contiguous: in the coarse stage "frames" [F, p, p, C] and
      "clean_low" [p, p, C]; in the others "frames" [F, P, P, C], "low" [F, p, p, C], "clean_low"
      [p, p, C] and "truth" [S*P, S*P, 3]. Linear and brightened in 0..1, the ground truth sRGB in
      0..1.
    """
    frames, clean = _load_raw(drawn, recipe)
    if recipe.stage == "coarse":
        return {"frames": frames, "clean_low": np.ascontiguousarray(clean)}
    return {
        "frames": frames,
        "low": packing.halve(frames),
        "clean_low": packing.halve(clean),
        "truth": _load_truth(drawn, recipe),
    }


def clean_patches(
    sources: Sequence[Sources], recipe: Recipe, seed: int, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Patches of long exposures, as a network sees frames without noise, and their ground truths.

    Args:
      sources: to draw from.
      recipe: of a stage with pictures.
      seed: from 0 on.
      count: how many.

    Yields:
      ([P, P, C] linear in 0..1, [S*P, S*P, 3] sRGB in 0..1), float32.
    """
    scenes = group_scenes(sources)
    for number in range(count):
        drawn = draw(scenes, recipe, seed, number)
        _, clean = _load_raw(drawn, recipe)
        yield clean, _load_truth(drawn, recipe)


def _load_raw(drawn, recipe):
    """The patch of the frames, [F, ...], and of the clean long exposure, linear in 0..1."""
    sources, exposure, coarse = drawn.sources, drawn.exposure, recipe.stage == "coarse"
    trained = white_balance.trained_for(recipe.white_balance, sources.camera)
    of_file = None  # The white balance that the file notes; a drawn exposure can have another.
    if trained is not None:
        of_file = (sources.clean if exposure else sources.frames[0]).white_balance

    def finished(samples, entry, ratio, balance):
        if trained is not None:
            ratio = ratio * white_balance.channel_scales_for(balance, trained, sources.layout)
        linear = _linear(samples, entry, ratio, coarse)
        return linear if recipe.augment == "phase" else augment(linear, drawn.augmentation)

    clean = _cut(sources.clean, drawn, recipe)
    if exposure is None:
        balance, ratio = of_file, sources.ratio
        entries = [sources.frames[index] for index in drawn.frames]
        dark = (_cut(entry, drawn, recipe) for entry in entries)
    else:
        balance, ratio = exposure.light or of_file, exposure.ratio
        camera = sources.camera
        linear = packing.normalise(clean, sources.clean.black, sources.clean.white)
        dark = dark_frames(linear, exposure, len(drawn.frames), camera, of_file)
        levels = {"black": (float(camera.black),) * clean.shape[-1], "white": float(camera.white)}
        entries = [dataclasses.replace(sources.clean, **levels)] * len(dark)
    shape = (len(drawn.frames), recipe.patch, recipe.patch, clean.shape[-1])
    frames = np.empty(shape, np.float32)
    for frame, samples, entry, by in zip(frames, dark, entries, drawn.shifts, strict=True):
        frame[:] = shift(finished(samples, entry, ratio, balance), by)
    return frames, finished(clean, sources.clean, 1.0, of_file)


def _cut(entry, drawn, recipe):
    """The patch of a packed entry, uint16.

    Of the augmentations, "phase" is done here, on the mosaic; `_load_raw` does "published".
    """
    side = recipe.side + _margin(recipe, drawn.sources.layout)
    samples = entry.open()[drawn.top : drawn.top + side, drawn.left : drawn.left + side]
    if recipe.augment == "phase":
        return augment_mosaic(samples, drawn.augmentation, drawn.sources.layout)
    return samples


def _linear(samples, entry, ratio, coarse):
    """Samples of a packed entry, linear and brightened; halved first in the coarse stage."""
    if coarse:
        # As published: the coarse stage alone halves before it clips at 1.
        linear = packing.normalise(samples, entry.black, entry.white, ratio, clip=False)
        return np.minimum(packing.halve(linear), 1)
    return packing.normalise(samples, entry.black, entry.white, ratio)


def _load_truth(drawn, recipe):
    """The patch of the ground truth, [S*P, S*P, 3] sRGB in 0..1."""
    start = (0, 0)
    if recipe.augment == "phase":
        start = start_of(drawn.augmentation, drawn.sources.layout)
    truth = drawn.sources.truth(drawn.top, drawn.left, (recipe.side, recipe.side), start)
    return reading.as_float(augment(truth, drawn.augmentation))
