"""The files of training bursts, decoded into the cache and checked; whole ones for validation.

Axis letters: F frames, H W packed rows and columns, C packed channels, S output pixels per packed
pixel.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from dbp_tf import progress
from dbp_tf.data import checks, raw_cache, sid
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, packing, reading, white_balance
from dbp_tf.raw.white_balance import Multipliers


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
        return self.camera.layout

    def truth(
        self, top: int, left: int, shape: Sequence[int], start: tuple[int, int] = (0, 0)
    ) -> np.ndarray:
        """A part of the ground truth: a view [S*H, S*W, 3], sRGB, uint16.

        Args:
          top, left: its first packed pixel.
          shape: (H, W) packed pixels.
          start: pixels further down and right at which it begins.
        """
        assert self.developed is not None  # The stages that ask for it have it decoded.
        scale = self.camera.scale
        row, column = np.add(np.add(self.frames[0].offset, start), np.multiply((top, left), scale))
        rows, columns = np.multiply(shape, scale)
        return self.developed.open()[row : row + rows, column : column + columns]


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
    wanted = []
    for burst in bursts:
        wanted += [(raw_cache.PACKED, path) for path in (*burst.frames, _truth_of(burst))]
        if stage != "coarse":
            wanted.append((raw_cache.DEVELOPED, _truth_of(burst)))
    entries = raw_cache.fill(cache, wanted, camera)
    found = []
    for burst in bursts:
        sources = Sources(
            scene=burst.scene,
            ratio=burst.ratio,
            frames=tuple(entries[raw_cache.PACKED, path] for path in burst.frames),
            clean=entries[raw_cache.PACKED, _truth_of(burst)],
            developed=entries.get((raw_cache.DEVELOPED, _truth_of(burst))),
            camera=camera,
        )
        _check_sizes(sources)
        _check_light(burst, sources)
        found.append(sources)
    return found


def _truth_of(burst):
    """The long exposure of a burst."""
    if burst.truth is None:
        raise InputError(
            f"scene {burst.scene} has no long exposure to learn from: add it to --long_dir or "
            f"remove the scene from --short_dir"
        )
    return burst.truth


def _check_light(burst, sources):
    """Raises InputError if a frame cannot be of this burst; remarks on copies."""
    first, clean = sources.frames[0], sources.clean
    black = min(first.black)
    checks.check_brightness(burst, first.open(), clean.open(), black, first.white)
    seen = {}
    for frame in sources.frames:
        rows = checks.sampled(frame.open())
        for note in checks.check_frame(burst, frame.source, rows, seen, black):
            progress.say(f"note: {note}")


def _check_sizes(sources):
    first, *others = sources.frames
    for entry in (*others, sources.clean):
        if (entry.shape, entry.offset) != (first.shape, first.offset):
            raise InputError(
                f"{entry.source} has {_packed_size(entry)}, but {first.source.name} has "
                f"{_packed_size(first)}: a burst and its long exposure are of one size"
            )
    if sources.developed:
        rows, columns, _ = sources.developed.shape
        needed = np.add(first.offset, np.multiply(first.shape[:2], sources.camera.scale))
        if rows < needed[0] or columns < needed[1]:
            raise InputError(
                f"{sources.developed.source} develops to {rows} x {columns} pixels, less than the "
                f"{needed[0]} x {needed[1]} of its burst: it is not the burst's long exposure"
            )


def _packed_size(entry):
    rows, columns, _ = entry.shape
    return f"{rows} x {columns} packed pixels from {entry.offset} on"


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
    return frames, reading.as_float(sources.truth(0, 0, first.shape[:2]))
