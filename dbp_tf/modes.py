"""The ways to make one picture of a burst with one set of weights.

Axis letters: F frames, H W packed rows and columns, C packed channels, S output pixels per
packed pixel.
"""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from dbp_tf import progress
from dbp_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Mode:
    """One way to restore.

    Attributes:
      help: what it does, for the flag's help.
      restore: function of (model, frames, reference_frame) that returns the picture.
      most_frames: frames of the burst it looks at, None for all.
      fuses: whether the network sees several frames at once, which the SID baseline cannot.
    """

    help: str
    restore: Callable
    most_frames: int | None = None
    fuses: bool = False


def _burst(model, frames, reference_frame):
    return model.enhance(frames, reference_frame=reference_frame)


def _single(model, frames, reference_frame):
    return model.enhance(frames[:1])


def _ensemble(model, frames, reference_frame):
    total = 0.0
    for frame in frames:
        total = total + np.clip(model.enhance([frame]), 0, 1)
    return total / np.float32(len(frames))


MODES = {
    "burst": Mode("all frames at once, fused by the network", _burst, fuses=True),
    "single": Mode("the first frame alone", _single, most_frames=1),
    "ensemble": Mode("mean of every frame's own restoration", _ensemble),
}


def check_mode(mode, model):
    """Raises InputError if the model's network cannot do the mode."""
    if MODES[mode].fuses and model.single is not None:
        others = " or ".join(f"--mode {name}" for name, mode in MODES.items() if not mode.fuses)
        raise InputError(
            f"--mode {mode} fuses frames, but --checkpoint holds the SID baseline, which sees one "
            f"frame at a time: use {others}"
        )


def restore(model, frames, mode="burst", reference_frame="first", padded_columns=0):
    """Restores one burst.

    Args:
      model: what `load_pretrained` returns.
      frames: F packed frames [H, W, C] float32 in 0..1, brightened by the ratio; H, W even.
      mode: a key of `MODES`.
      reference_frame: "first" or "center", see the model's `enhance`.
      padded_columns: how many of the last columns are appended once more at the right, as the
        published evaluation does for the Fuji camera (`Camera.padded_columns`).

    Returns:
      [S*H, S*(W + padded_columns), 3] float32 sRGB, not clipped (the ensemble's is). The columns
      that padding adds are for the caller to crop: the Fuji truth is two pixels wider than
      the packed mosaic, and the published evaluation fills these from the padding.
    """
    frames = [_padded(frame, padded_columns) for frame in frames]
    return MODES[mode].restore(model, frames, reference_frame)


def _padded(frame, columns):
    return np.concatenate([frame, frame[:, -columns:]], axis=1) if columns else frame


def grow(model, frames, counts, reference_frame="first", padded_columns=0):
    """Restores a burst from its first frame, its first two, and so on, as often as asked.

    The networks see each frame once, for the fusion is a maximum: eight frames and the pictures
    of one, two and four of them cost three more runs of the decoder.

    Args:
      model, frames, reference_frame, padded_columns: see `restore`; the model fuses frames.
      counts: after how many frames a picture is wanted, in any order; others are passed over.

    Yields:
      (count, picture, seconds) in rising order: the picture as `restore` gives it in mode
      "burst" for so many frames, and the time that this picture alone would have taken.
    """
    # Modules that import TensorFlow, which the command line's flags do without.
    import tensorflow as tf

    from dbp_tf import layers

    references = {count: layers.reference_index(reference_frame, count) for count in counts}
    stream = model.stream(keep=set(references.values()))
    frames = frames[: max(counts)]
    begun, spent = time.monotonic(), 0.0
    padded = (_padded(frame, padded_columns) for frame in frames)
    for count, frame in enumerate(model.checked(padded), 1):
        left = progress.time_left(begun, count - 1, len(frames)) if count > 1 else ""
        progress.status(f"restoring: frame {count} of {len(frames)} {left}")
        started = time.monotonic()
        stream.add(frame)
        # A GPU works on behind the program: its time belongs to this frame, not to the next step.
        tf.test.experimental.sync_devices()
        spent += time.monotonic() - started
        if count in references:
            started = time.monotonic()
            picture = stream.picture(references[count])
            yield count, picture, spent + time.monotonic() - started
