"""Whether a raw file's black and white level can be true, and the file whole, by its own pixels.

Files and the libraries that read them are at times wrong about the black level: none at all for a
phone's DNG, twice the true one where it was added up in two places. A level brightened 300 times
forgives nothing, so such files are refused until the user says what holds.
"""

import numpy as np

from dbp_tf.errors import InputError

# Share of a channel's pixels below which lie dead pixels and the noise's farthest tail.
_FLOOR_SHARE = 0.001

# That share of normal noise lies this many standard deviations down.
_FLOOR_SIGMAS = 3.1

# Noise and a black level that drifted explain pixels so far below black; twice the true level
# does not. Logistic noise, the simulator's, reaches 3.8 standard deviations at the floor's share.
_MOST_SIGMAS = 10
_MOST_SHARE_BELOW = 0.05

# Share of the range by which the darkest of a dark frame may lie above a black level of 0. Files
# that lack theirs lie 3 % (512 of 16383) to 6 % (64 of 1023) above, and in the dark most of their
# pixels little higher: a bright scene's darkest pixels are no such share of its median.
_MOST_ABOVE_ZERO = 0.005
_MOST_OF_MEDIAN = 0.5

# The same above another level, where it is only remarked on: fog and bare walls do that.
_MOST_ABOVE = 0.02

# Share of pixels that may be exactly 0 where black is not: dead pixels are far fewer, a part of the
# file that was never written is more. Where it is noise that reaches down to 0, it leaves about as
# many pixels between 0 and half the black level, even if that lies a mere standard deviation high.
_MOST_ZEROS = 0.01
_LEAST_BETWEEN = 0.25

# Share of pixels above white that is remarked on, if they lie this factor above.
_MOST_SATURATED = 0.01
_SATURATED = 1.1


def check(frame, overrides):
    """Compares a frame's levels with its pixels.

    Args:
      frame: `reading.RawFrame`.
      overrides: `overrides.Overrides`; a level that the user gave is not doubted.

    Returns:
      list of sentences about what looks odd.

    Raises:
      InputError: the file is damaged, or the black level cannot be true.
    """
    notes = []
    samples = frame.mosaic
    _check_zeros(frame)
    if overrides.black is None:
        notes += _check_black(frame)
    if overrides.white is None:
        beyond = np.count_nonzero(samples > _SATURATED * frame.white) / samples.size
        if beyond > _MOST_SATURATED:
            notes.append(
                f"{frame.path.name}: {100 * beyond:.0f} % of the pixels lie above the white level "
                f"{frame.white:g}; if highlights come out coloured, give --white"
            )
    return notes


def _check_zeros(frame):
    """Raises InputError if a part of the file was filled with zeros, or never written."""
    samples, black = frame.mosaic, min(frame.black)
    zeros = samples.size - np.count_nonzero(samples)
    if black <= 0 or zeros <= _MOST_ZEROS * samples.size:
        return
    between = np.count_nonzero(samples <= np.ceil(black / 2)) - zeros
    if between < _LEAST_BETWEEN * zeros:
        raise InputError(
            f"{100 * zeros / samples.size:.0f} % of the pixels of {frame.path} are 0, far below "
            f"its black level {black:g}: the file is damaged (cut off or filled up with zeros), so "
            f"copy it from the camera again; or it has a dark border, so give --active_area"
        )


def _check_black(frame):
    """`check` for the black level, of all colours together: errors are common to all."""
    black, path = min(frame.black), frame.path
    counts = np.bincount(frame.mosaic.ravel())
    if black > 0:
        # Dead pixels say nothing about it.
        counts[0] = 0
    up_to = np.cumsum(counts)
    shares = np.array([_FLOOR_SHARE, 0.5]) * up_to[-1]
    floor, median = map(int, np.searchsorted(up_to, shares))
    noise = _noise(frame)
    darkest = round(floor + _FLOOR_SIGMAS * noise)
    below = black - floor
    if below > max(_MOST_SIGMAS * noise, _MOST_SHARE_BELOW * black, 2):
        raise InputError(
            f"{path} says black level {black:g}, but its darkest pixels lie at {floor}: the level "
            f"is wrong, and the picture would come out black or purple; give the true one with "
            f"--black (about {darkest}, or {black / 2:g} if it was counted twice)"
        )
    above = (floor - black) / (frame.white - black)
    if black == 0 and above > _MOST_ABOVE_ZERO and floor > _MOST_OF_MEDIAN * median:
        raise InputError(
            f"{path} says black level 0, but its darkest pixels lie at {floor}: the level is "
            f"missing, and the picture would come out pale; give it with --black (about {darkest}, "
            f"or 0 if nothing in the scene is dark)"
        )
    if above > _MOST_ABOVE:
        return [
            f"{path.name}: the darkest pixels lie at {floor}, far above the black level {black:g}; "
            f"if the picture comes out pale, give --black"
        ]
    return []


def _noise(frame):
    """Standard deviation of the noise in DN, at least that of rounding; structure adds to it."""
    period = frame.layout.period
    samples = frame.mosaic.astype(np.int32)
    difference = np.abs(samples[:, period:] - samples[:, :-period])
    # Median of absolute values to standard deviation (1.4826), of one of the two (square root).
    return max(1.4826 / 2**0.5 * float(np.median(difference)), 12**-0.5) if difference.size else 0.3
