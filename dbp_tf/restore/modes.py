"""The ways to make one picture of a burst with one set of weights.

Axis letters: F frames, H W packed rows and columns, C packed channels, S output pixels per
packed pixel.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dbp_tf import progress
from dbp_tf.errors import InputError
from dbp_tf.models.fusions import reference_index

if TYPE_CHECKING:
    # The command line's flags, which need this module, do without TensorFlow.
    from dbp_tf.restore.enhancer import Enhancer


class Frames(Sized, Iterable[np.ndarray], Protocol):
    """Packed frames [H, W, C], taken one after another; their number is known before."""


@dataclasses.dataclass(frozen=True)
class Mode:
    """A way to restore.

    Attributes:
      help: a description for the flag's help.
      restore: function of (model, frames, index of the reference frame, **compute) that returns
        the picture; `frames` is a generator, `compute` see `restore`.
      most_frames: frames of the burst it looks at, None for all.
      fuses: whether the network sees several frames at once, which the SID baseline cannot.
      refers: whether it needs a reference frame, which the first version has not.
    """

    help: str
    restore: Callable[..., np.ndarray]
    most_frames: int | None = None
    fuses: bool = False
    refers: bool = False


def _burst(model, frames, reference, **compute):
    return model.enhance(frames, reference_frame=reference, **compute)


def _single(model, frames, reference, **compute):
    return model.enhance([next(frames)], **compute)


def _ensemble(model, frames, reference, **compute):
    return _mean(model.enhance([frame], **compute) for frame in frames)


def _rotate(model, frames, reference, **compute):
    stream = model.stream(keep=None, **compute)
    stream.extend(model.checked(frames))
    last = stream.count - 1
    return _mean(stream.picture(index, last=index == last) for index in range(last + 1))


def _mean(pictures):
    total, count = 0.0, 0
    for picture in pictures:
        total = total + np.clip(picture, 0, 1)
        count += 1
    return total / np.float32(count)


MODES = {
    "burst": Mode("all frames at once, fused by the network", _burst, fuses=True),
    "single": Mode("the first frame alone", _single, most_frames=1),
    "ensemble": Mode("mean of every frame's own restoration", _ensemble),
    "rotate": Mode(
        "mean of the bursts with every frame as the reference in turn, for the revised version "
        "alone; a little cleaner, but every frame costs a run of the decoder and, at 12 "
        "megapixels, 0.06 GB",
        _rotate,
        fuses=True,
        refers=True,
    ),
}


def check_mode(mode: str, model: "Enhancer") -> None:
    """Raises InputError if the model's network cannot do the mode."""
    if MODES[mode].fuses and model.sid is not None:
        others = " or ".join(f"--mode {name}" for name, mode in MODES.items() if not mode.fuses)
        raise InputError(
            f"--mode {mode} fuses frames, but --checkpoint holds the SID baseline, which sees one "
            f"frame at a time: use {others}"
        )
    if MODES[mode].refers and not model.spec.refers:
        raise InputError(
            f"--mode {mode} needs a reference frame, but --checkpoint holds the first version of "
            f"the network, to which all frames are alike: use --mode burst"
        )


def restore(
    model: "Enhancer",
    frames: Frames,
    mode: str = "burst",
    reference_frame: str | None = None,
    padded_columns: int = 0,
    **compute: Any,
) -> np.ndarray:
    """Restores one burst, saying on a terminal which frame it is at.

    Args:
      model: see `load_pretrained`.
      frames: F packed frames [H, W, C] float32 in 0..1, brightened by the ratio; H, W even. Any
        iterable that knows its length; frames are taken one after another.
      mode: a key of `MODES`.
      reference_frame: "first" or "center", None for that of the weights; without effect where the
        mode or the network has none.
      padded_columns: how many of the last columns are appended once more at the right, as the
        published evaluation does for the Fuji camera (`Camera.padded_columns`).
      **compute: `stripe_columns` of the model's `enhance`, if it is not the default.

    Returns:
      [S*H, S*(W + padded_columns), 3] float32 sRGB, not clipped (the means' are). The columns
      that padding adds are for the caller to crop: the Fuji ground truth is two pixels wider than
      the packed mosaic, and the published evaluation fills these from the padding.
    """
    reference = reference_index(reference_frame or model.reference_frame, len(frames))
    watched = _watched(frames, padded_columns, MODES[mode].most_frames)
    return MODES[mode].restore(model, watched, reference, **compute)


def _watched(frames, padded_columns, count=None):
    """Yields the first `count` frames (None: all), padded, and says which one is at work."""
    begun, count = time.monotonic(), min(len(frames), count or len(frames))
    numbers = itertools.count()

    def watched(frame):
        done = next(numbers)
        left = progress.time_left(begun, done, count) if done else ""
        progress.status(f"restoring: frame {done + 1} of {count} {left}")
        return _padded(frame, padded_columns)

    # By a function: see `Enhancer.checked`.
    yield from map(watched, itertools.islice(frames, count))
    progress.status("restoring: the picture")


def _padded(frame, columns):
    return np.concatenate([frame, frame[:, -columns:]], axis=1) if columns else frame


def grow(
    model: "Enhancer",
    frames: Frames,
    counts: Collection[int],
    reference_frame: str | None = None,
    padded_columns: int = 0,
    **compute: Any,
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Restores a burst from its first frame, its first two, and so on, as often as asked.

    The networks see each frame once, for the fusion is a maximum: eight frames and the pictures
    of one, two and four of them cost three more runs of the decoder.

    Args:
      model, frames, reference_frame, padded_columns, compute: see `restore`; the model fuses
        frames.
      counts: after how many frames a picture is wanted, in any order; others are passed over.

    Yields:
      (count, picture, seconds) in rising order: the picture as `restore` gives it in mode
      "burst" for so many frames, and the time that this picture alone would have taken.
    """
    import tensorflow as tf  # Here for the same reason as `Enhancer` above.

    reference_frame = reference_frame or model.reference_frame
    references = {count: reference_index(reference_frame, count) for count in counts}
    stream = model.stream(keep=set(references.values()), **compute)
    spent = 0.0
    for count, frame in enumerate(model.checked(_watched(frames, padded_columns, max(counts))), 1):
        started = time.monotonic()
        stream.add(frame)
        # A GPU works on behind the program: its time belongs to this frame, not to the next step.
        tf.test.experimental.sync_devices()
        spent += time.monotonic() - started
        if count in references:
            started = time.monotonic()
            picture = stream.picture(references[count], last=count == max(counts))
            yield count, picture, spent + time.monotonic() - started
            del picture  # Before the next one is made.
