"""Whether raw files are what their names say: pairs that cannot be true are refused."""

import pathlib
from collections.abc import Sequence

import numpy as np

from dbp_tf import progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, reading

# A long exposure must be brighter than the dark frames by this factor, or by the square root of the
# exposure ratio where that is less. A second shot of the same exposure is not; highlights that clip
# leave more than that of any real ratio.
_LEAST_GAIN = 1.1

# The frames of a burst are alike but for flickering light, by this factor or the square root of the
# exposure ratio where that is more, and for a black level that drifts by a few DN.
_MOST_GAIN = 2
_LEAST_LIGHT = 4

# Two pictures are compared in about so many of their rows.
_ROWS_COMPARED = 64


def check_files(bursts: Sequence[sid.Burst], camera: cameras.Camera) -> None:
    """Looks at raw files before anything slow is begun or anything is written.

    The headers of all of them are read, which takes less than a millisecond each, and the pixels
    of the first burst's frame 00 and of its ground truth.

    Args:
      bursts: of the dataset.
      camera: of their files.

    Raises:
      InputError: a file cannot be read, see `reading.read_raw`, or the first pair cannot be true,
        see `check_brightness`.
    """
    for burst in bursts:
        progress.status(f"looking at the files of scene {burst.scene}")
        for path in (*burst.frames, *([burst.truth] if burst.truth else [])):
            with reading.open_raw(path, unpack=False):
                pass
    for burst in bursts[:1]:
        first = reading.read_raw(burst.frames[0], camera)
        if burst.truth:
            truth = reading.read_raw(burst.truth, camera)
            if first.mosaic.shape == truth.mosaic.shape:
                check_brightness(burst, first.mosaic, truth.mosaic, min(first.black), first.white)


def check_brightness(
    burst: sid.Burst, dark: np.ndarray, bright: np.ndarray, black: float, white: float
) -> None:
    """Refuses a long exposure that is no brighter than its burst.

    Args:
      burst: the burst.
      dark: [rows, columns, ...] raw samples of its first frame, in DN.
      bright: those of its ground truth, the same pixels.
      black: level of no light, in DN.
      white: level of saturation, in DN.

    Raises:
      InputError: `bright` is not brighter, however little light there is.
    """
    dark, bright = (sampled(samples).astype(np.float32) - black for samples in (dark, bright))
    # A lamp that saturates both pictures tells nothing.
    unclipped = dark < 0.5 * (white - black)
    if unclipped.any():
        dark, bright = dark[unclipped], bright[unclipped]
    if bright.mean() <= min(_LEAST_GAIN, burst.ratio**0.5) * dark.mean():
        raise InputError(
            f"{burst.truth} is no brighter than {burst.frames[0]}, though it is named as its long "
            f"exposure (means of {bright.mean():.0f} and {dark.mean():.0f} above black level "
            f"{black:g}): {sid.ASK}"
        )


def check_frame(
    burst: sid.Burst,
    path: pathlib.Path,
    rows: np.ndarray,
    seen: dict[pathlib.Path, np.ndarray],
    black: float,
) -> list[str]:
    """Compares a frame of a burst with earlier ones.

    Args:
      burst: the burst.
      path: of the frame.
      rows: `sampled` of its raw samples, in DN.
      seen: the same of the frames before it, the first one first; gets this frame.
      black: level of no light, in DN.

    Returns:
      Sentences about oddities: the frame is a copy of another.

    Raises:
      InputError: the frame is so much brighter than the first one that it is no frame of this
        burst, such as the long exposure.
    """
    first = next(iter(seen), path)
    light, dark = (one.astype(np.float32).mean() - black for one in (rows, seen.get(first, rows)))
    if light > max(_MOST_GAIN, burst.ratio**0.5) * max(dark, _LEAST_LIGHT):
        raise InputError(
            f"{path} is far brighter than {first.name}, though both are named as frames of one "
            f"burst (means of {light:.0f} and {dark:.0f} above black level {black:g}): is a long "
            f"exposure among the frames?"
        )
    copied = [other for other in seen if other != path and np.array_equal(rows, seen[other])]
    seen[path] = rows
    return [f"{path.name} holds the very pixels of {other.name}" for other in copied[:1]]


def sampled(samples: np.ndarray) -> np.ndarray:
    """About 64 rows of [rows, columns, ...], enough to compare pictures; a copy."""
    return np.array(samples[:: max(1, len(samples) // _ROWS_COMPARED)])
