"""Which bright frames are a pair: two of one exposure and of nearly one brightness."""

import itertools
from collections.abc import Sequence

import numpy as np

from dbp_tf.calibrate.frames import Frame
from dbp_tf.errors import InputError

# Lamps flicker by so much; levels that were meant to differ do so by more.
_SAME_LIGHT = 1.1


def of(frames: Sequence[Frame], flag: str) -> tuple[list[tuple[Frame, Frame]], list[str]]:
    """The pairs among frames of one ISO setting, dark ones first, and sentences about the rest.

    Two frames of a pair have the same exposure. Among those the brightness tells pairs apart, for
    the light may have been changed instead.

    Args:
      frames: the frames.
      flag: they were given by, for errors.

    Raises:
      InputError: a frame has no partner.
    """

    def exposure(frame):
        return frame.shot.exposure or 0.0, frame.shot.f_number or 0.0

    found, notes, single = [], [], []
    for _, group in itertools.groupby(sorted(frames, key=exposure), key=exposure):
        rest = sorted(group, key=_brightness)
        last = None
        while rest:
            first, *rest = rest
            if rest and _brightness(rest[0]) <= _SAME_LIGHT * _brightness(first):
                last, *rest = rest
                found.append((first, last))
            elif last and _brightness(first) <= _SAME_LIGHT * _brightness(last):
                notes.append(f"{first.path} is a third one to a pair and not used")
            else:
                single.append(first)
    if single:
        raise InputError(
            f"{single[0].path}, of {flag}, has no partner: give two frames of each exposure and "
            f"brightness, and all with the same f-number"
            + (f" (as well as of {len(single) - 1} other files)" if len(single) > 1 else "")
        )
    return sorted(found, key=lambda pair: _brightness(pair[0])), notes


def _brightness(frame):
    return float(np.mean(frame.samples - frame.black.mean()))
