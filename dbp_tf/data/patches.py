"""Training data: patches of bursts and ground truths, drawn from the cache and augmented.

Every random choice follows from the seed and the number of the burst alone, so that nothing has
to be saved for a run to go on where it stopped: step 1000 is the same, whether a run got there or
starts there.

Axis letters: F frames, H W packed rows and columns, C packed channels, S output pixels per packed
pixel, P patch (packed pixels), p half-size patch.
"""

import atexit
import dataclasses
import functools
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from dbp_tf import progress
from dbp_tf.data import raw_cache, sid
from dbp_tf.data.augmentation import Augmentation, augment, augment_mosaic, shift, start_of
from dbp_tf.data.exposures import Exposure, dark_frames, draw_exposure
from dbp_tf.data.recipe import Recipe
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, packing, reading, white_balance
from dbp_tf.raw.white_balance import Multipliers

# Crops of which a preference for texture takes the most detailed one.
_CANDIDATES = 8

# Patches made at the same time: one takes about 0.1 s and, for X-Trans, 300 MB.
_MOST_PARALLEL = 4

# For `_until_exit`: threads that are making a patch, and calls that came too late.
_exiting = threading.Event()
_inside = set()
_refused = []


@dataclasses.dataclass(frozen=True)
class Sources:
    """The cached files of one burst, of matching sizes.

    Attributes:
      scene: five digits.
      ratio: by which the dark frames are brightened.
      frames: packed dark frames, `raw_cache.Entry` of [H, W, C].
      clean: the packed long exposure, [H, W, C].
      developed: the ground truth, at least [S*H, S*W, 3] from the frames' offset on; None in the
        coarse stage, which has no use for it.
      camera: `cameras.Camera`.
    """

    scene: str
    ratio: float
    frames: tuple[raw_cache.Entry, ...]
    clean: raw_cache.Entry
    developed: raw_cache.Entry | None
    camera: cameras.Camera

    @property
    def layout(self) -> packing.Layout:
        """How the packed entries are laid out, see `packing.LAYOUTS`."""
        return packing.LAYOUTS[self.camera.mosaic]


def prepare(
    bursts: Sequence[sid.Burst],
    cache: str | os.PathLike,
    camera: cameras.Camera,
    stage: str = "burst",
) -> list[Sources]:
    """Decodes the files that a stage needs of some bursts, unless they are in the cache already.

    Args:
      bursts: each with a ground truth.
      cache: folder of the cache, see `raw_cache.fill`.
      camera: of their files.
      stage: "coarse", "fine" or "burst".

    Returns:
      One for each burst.

    Raises:
      InputError: a burst has no ground truth or one that is no brighter, its files are not of one
        size, or see `raw_cache.fill`.
    """
    wanted, truths = [], []
    for burst in bursts:
        if burst.truth is None:
            raise InputError(
                f"scene {burst.scene} has no long exposure to learn from: add it to --long_dir or "
                f"remove the scene from --short_dir"
            )
        truths.append(burst.truth)
        wanted += [(raw_cache.PACKED, path) for path in (*burst.frames, burst.truth)]
        if stage != "coarse":
            wanted.append((raw_cache.DEVELOPED, burst.truth))
    entries = raw_cache.fill(cache, wanted, camera)
    found = [
        Sources(
            scene=burst.scene,
            ratio=burst.ratio,
            frames=tuple(entries[raw_cache.PACKED, path] for path in burst.frames),
            clean=entries[raw_cache.PACKED, truth],
            developed=entries.get((raw_cache.DEVELOPED, truth)),
            camera=camera,
        )
        for burst, truth in zip(bursts, truths, strict=True)
    ]
    for burst, sources in zip(bursts, found, strict=True):
        _check_sizes(sources, camera.scale)
        first, clean = sources.frames[0], sources.clean
        black = min(first.black)
        sid.check_brightness(burst, first.open(), clean.open(), black, first.white)
        seen: dict[pathlib.Path, np.ndarray] = {}
        for frame in sources.frames:
            rows = sid.sampled(frame.open())
            for note in sid.check_frame(burst, frame.source, rows, seen, black):
                progress.say(f"note: {note}")
    return found


def check_patch(path: str | os.PathLike, recipe: Recipe, camera: cameras.Camera) -> None:
    """Refuses a patch larger than one raw file, before a whole dataset is decoded in vain.

    `training_dataset` looks at all pictures, once they are decoded.

    Raises:
      InputError: the picture is smaller than the patch, or not to be read.
    """
    # A mosaic of another phase is cut to where the layout starts, so it packs to less.
    size = reading.read_raw(path, camera).packed().shape[:2]
    _check_patch(path, size, recipe, camera)


def _check_patch(path, size, recipe, camera):
    rows, columns = size
    margin = _margin(recipe, packing.LAYOUTS[camera.mosaic])
    if min(size) < recipe.side + margin:
        most = (min(size) - margin) // (recipe.side // recipe.patch) // 2 * 2
        raise InputError(
            f"{path} has {rows} x {columns} packed pixels, too few for --patch {recipe.patch}: "
            f"give --patch {most} or less"
        )


def _check_sizes(sources, scale):
    first, *others = sources.frames
    for entry in (*others, sources.clean):
        if (entry.shape, entry.offset) != (first.shape, first.offset):
            raise InputError(
                f"{entry.source} has {_packed_size(entry)}, but {first.source.name} has "
                f"{_packed_size(first)}: a burst and its long exposure are of one size"
            )
    if sources.developed:
        rows, columns, _ = sources.developed.shape
        needed = np.add(first.offset, np.multiply(first.shape[:2], scale))
        if rows < needed[0] or columns < needed[1]:
            raise InputError(
                f"{sources.developed.source} develops to {rows} x {columns} pixels, less than the "
                f"{needed[0]} x {needed[1]} of its burst: it is not the burst's long exposure"
            )


def _packed_size(entry):
    rows, columns, _ = entry.shape
    return f"{rows} x {columns} packed pixels from {entry.offset} on"


@dataclasses.dataclass(frozen=True)
class Draw:
    """Every choice of one patch.

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
    drawn = recipe.noise == "drawn"
    order = rng.permutation(recipe.n_burst if drawn else len(sources.frames))
    if not recipe.shuffle:
        order.sort()
    shifts = np.zeros((len(order), 2), int)
    if recipe.shift:
        shifts[1:] = rng.integers(-recipe.shift, recipe.shift, (len(order) - 1, 2))
    top, left = _draw_crop(sources, recipe, rng)
    vary_light = recipe.white_balance != "none" and sources.clean.white_balance is not None
    exposure = None
    if drawn:
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
        "truth": _developed(augment(_cut_truth(drawn, recipe), drawn.augmentation)),
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
        yield clean, _developed(augment(_cut_truth(drawn, recipe), drawn.augmentation))


def _load_raw(drawn, recipe):
    """The patch of the frames, [F, ...], and of the clean long exposure, linear in 0..1."""
    sources, exposure, coarse = drawn.sources, drawn.exposure, recipe.stage == "coarse"
    trained = white_balance.trained_for(recipe.white_balance, sources.camera)
    noted = None
    if trained is not None:
        noted = (sources.clean if exposure else sources.frames[0]).white_balance

    def finished(samples, entry, ratio, noted):
        if trained is not None:
            ratio = ratio * white_balance.channel_scales_for(noted, trained, sources.layout)
        linear = _linear(samples, entry, ratio, coarse)
        return linear if recipe.augment == "phase" else augment(linear, drawn.augmentation)

    clean = _cut(sources.clean, drawn, recipe)
    if exposure is None:
        light, ratio = noted, sources.ratio
        entries = [sources.frames[index] for index in drawn.frames]
        dark = (_cut(entry, drawn, recipe) for entry in entries)
    else:
        light, ratio = exposure.light or noted, exposure.ratio
        camera = sources.camera
        linear = packing.normalise(clean, sources.clean.black, sources.clean.white)
        dark = dark_frames(linear, exposure, len(drawn.frames), camera, noted)
        levels = {"black": (float(camera.black),) * clean.shape[-1], "white": float(camera.white)}
        entries = [dataclasses.replace(sources.clean, **levels)] * len(dark)
    shape = (len(drawn.frames), recipe.patch, recipe.patch, clean.shape[-1])
    frames = np.empty(shape, np.float32)
    for frame, samples, entry, by in zip(frames, dark, entries, drawn.shifts, strict=True):
        frame[:] = shift(finished(samples, entry, ratio, light), by)
    return frames, finished(clean, sources.clean, 1.0, noted)


def _cut(entry, drawn, recipe):
    """The patch of a packed entry, uint16; augmented already where filters keep their places."""
    side = recipe.side + _margin(recipe, drawn.sources.layout)
    samples = entry.open()[drawn.top : drawn.top + side, drawn.left : drawn.left + side]
    if recipe.augment == "phase":
        return augment_mosaic(samples, drawn.augmentation, drawn.sources.layout)
    return samples


def _linear(samples, entry, ratio, coarse):
    """Samples of a packed entry, linear and brightened; halved first in the coarse stage."""
    if coarse:
        # As published: the coarse stage halves first and clips at 1 then, unlike all else.
        linear = packing.normalise(samples, entry.black, entry.white, ratio, clip=False)
        return np.minimum(packing.halve(linear), 1)
    return packing.normalise(samples, entry.black, entry.white, ratio)


def _cut_truth(drawn, recipe):
    """The patch of the ground truth before it is augmented, a uint16 view [S*P, S*P, 3]."""
    start, sources = (0, 0), drawn.sources
    if recipe.augment == "phase":
        start = start_of(drawn.augmentation, sources.layout)
    return _truth(sources, drawn.top, drawn.left, (recipe.side, recipe.side), start)


def _truth(sources, top, left, shape, start=(0, 0)):
    """uint16 view [S*H, S*W, 3] of the ground truth of packed pixels [H, W] from `start` on."""
    scale, offset = sources.camera.scale, sources.frames[0].offset
    row, column = np.add(np.add(offset, start), np.multiply((top, left), scale))
    rows, columns = np.multiply(shape, scale)
    return sources.developed.open()[row : row + rows, column : column + columns]


def _developed(picture):
    return np.divide(picture, np.float32(65535), dtype=np.float32, order="C")


def training_dataset(
    sources: Sequence[Sources],
    camera: cameras.Camera,
    recipe: Recipe,
    seed: int,
    start_step: int = 0,
    steps: int | None = None,
    replica: int = 0,
    replicas: int = 1,
) -> tf.data.Dataset:
    """The training data of one replica.

    Step s takes the bursts number (s * replicas + replica) * bursts_per_step and following, so
    that two replicas with one burst each see the same as one replica with two bursts a step. An
    epoch is one patch of every scene in random order, with a random one of the scene's exposures.

    Args:
      sources: to train on, see `prepare`.
      camera: of their files.
      recipe: how patches are made.
      seed: from 0 on.
      start_step: the first step.
      steps: how many steps; None goes on for ever.
      replica: number of this replica, 0 to replicas - 1.
      replicas: of the training, those of other processes included.

    Returns:
      A dataset of dicts, one for each step. Its B = bursts_per_step bursts have the arrays
      of `load_patch`: "frames" and "low" of all bursts one after another, N frames in all, which
      varies; "clean_low" and "truth" with an axis B in front. Then "lengths" [B] (int64), frames
      of each burst; "scene" [B] (string); "step" (int64).

    Raises:
      InputError: no bursts, or a picture smaller than the patch.
    """
    if not sources:
        raise InputError("there are no bursts to train on")
    for one in sources:
        _check_patch(one.clean.source, one.clean.shape[:2], recipe, camera)
    scenes = group_scenes(sources)
    signature = _signature(recipe, camera)

    @_until_exit
    def load(number):
        drawn = draw(scenes, recipe, seed, int(number))
        patch = load_patch(drawn, recipe)
        return drawn.sources.scene.encode(), *(patch[name] for name in signature)

    def element(position):
        step = position // recipe.bursts_per_step
        number = (step * replicas + replica) * recipe.bursts_per_step
        number += position % recipe.bursts_per_step
        types = [tf.string, *(spec.dtype for spec in signature.values())]
        scene, *patch = tf.numpy_function(load, [number], types, stateful=False)
        values = {
            name: tf.ensure_shape(value, spec.shape)
            for (name, spec), value in zip(signature.items(), patch, strict=True)
        }
        return values | {"scene": tf.ensure_shape(scene, ()), "step": step}

    first = start_step * recipe.bursts_per_step
    last = tf.int64.max if steps is None else first + steps * recipe.bursts_per_step
    # For each replica: those of one process share tf.data's threads, one a core.
    parallel = min(_MOST_PARALLEL, os.cpu_count() or 1)
    return (
        tf.data.Dataset.range(first, last)
        .map(element, num_parallel_calls=parallel, deterministic=True)
        .ragged_batch(recipe.bursts_per_step, drop_remainder=True)
        .map(_batch)
        .prefetch(2)
    )


def _batch(bursts):
    """A batch as `training_dataset` yields it; it comes ragged where numbers of frames differ."""
    values = {
        name: value.values if isinstance(value, tf.RaggedTensor) else value
        for name, value in bursts.items()
    }
    return values | {"lengths": bursts["frames"].row_lengths(), "step": bursts["step"][0]}


def _until_exit(load: Callable) -> Callable:
    """Makes a function that tf.data calls end the data once Python is about to exit.

    tf.data makes patches ahead, so one of its threads is inside Python nearly all the time. If
    the interpreter shut down then, the thread would never come back, and neither would the
    iterator's destructor that waits for it: a script that is done, or has failed, would hang.
    """
    atexit.unregister(_settle)
    atexit.register(_settle)

    def load_unless_exiting(number):
        _inside.add(threading.get_ident())
        try:
            if _exiting.is_set():
                _refused.append(number)
                raise StopIteration
            return load(number)
        finally:
            _inside.discard(threading.get_ident())

    return load_unless_exiting


def _settle():
    """Waits until tf.data's buffers are full, after which it calls Python no more."""
    _exiting.set()
    refused = -1
    while _inside or refused != len(_refused):
        refused = len(_refused)
        time.sleep(0.2)


def _signature(recipe, camera):
    """{name: `tf.TensorSpec`} of the arrays of an element."""
    channels, patch = camera.channels, recipe.patch
    shapes = {"frames": (None, patch, patch, channels)}
    if recipe.stage == "coarse":
        shapes["clean_low"] = (patch, patch, channels)
    else:
        half, side = patch // 2, camera.scale * patch
        shapes["low"] = (None, half, half, channels)
        shapes["clean_low"] = (half, half, channels)
        shapes["truth"] = (side, side, 3)
    return {name: tf.TensorSpec(shape, tf.float32) for name, shape in shapes.items()}


def load_burst(
    sources: Sources, trained: Multipliers | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A whole burst and its ground truth from the cache, for validation.

    Args:
      sources: of the burst, with a ground truth.
      trained: multipliers (R, G, B) to which frames are scaled, `Enhancer.white_balance`.

    Returns:
      (packed frames [F, H, W, C], ground truth [S*H, S*W, 3]), both float32: linear, brightened and
      cut at 1; sRGB in 0..1.
    """
    first = sources.frames[0]
    ratio = sources.ratio * white_balance.channel_scales_for(
        first.white_balance if trained else None, trained, sources.layout
    )
    frames = np.empty((len(sources.frames), *first.shape), np.float32)
    for frame, entry in zip(frames, sources.frames, strict=True):
        frame[:] = packing.normalise(entry.open(), entry.black, entry.white, ratio)
    return frames, _developed(_truth(sources, 0, 0, first.shape[:2]))
