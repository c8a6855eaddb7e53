"""Black and white level: the file's, the published table's or the user's, checked by the pixels.

Files and the libraries that read them are at times wrong about the black level: none at all for a
phone's DNG, twice the true one where it was added up in two places. At a ratio of 300 a wrong level
ruins the picture, so a file whose pixels disprove it is refused until the user says what holds.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from dbp_tf.errors import InputError
from dbp_tf.raw import packing
from dbp_tf.raw.cameras import Camera
from dbp_tf.raw.overrides import Overrides

# Pixels that are looked at: enough for a share of 0.001, and 12 megapixels take 0.1 s.
_MOST_SAMPLES = 1_000_000

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

# LibRaw's black of one body differs by a few DN from file to file, and its white by what it takes
# for saturation: so near, the published levels hold.
_NEAR_BLACK = 0.01
_NEAR_WHITE = 0.15


@dataclasses.dataclass(frozen=True)
class Levels:
    """Black and white level in DN.

    Attributes:
      black: raw value of no light of each packed channel [C].
      white: raw value of saturation.
      source: where they come from, for the log.
    """

    black: tuple[float, ...]
    white: float
    source: str


class Darkest:
    """The dark end of a mosaic, pixels of value 0 left out: dead pixels say nothing.

    Attributes:
      floor: [C] the value below which lies a thousandth of each packed channel, in DN.
      median: [C] in DN.
      noise: [C] standard deviation in DN, at least that of rounding; structure adds to it.
      level: [C] black level of a frame whose darkest pixels saw no light, in DN.
    """

    def __init__(self, mosaic: np.ndarray, layout: packing.Layout):
        """
        Args:
          mosaic: [rows, columns] uint16 of whole periods.
          layout: `packing.BAYER` or `packing.XTRANS`.
        """
        bands = mosaic.reshape(-1, layout.period, mosaic.shape[1])
        bands = bands[:: max(1, mosaic.size // _MOST_SAMPLES)]
        samples = packing.pack(bands.reshape(-1, mosaic.shape[1]), layout)
        quantiles = [_quantiles(samples[..., c]) for c in range(layout.channels)]
        self.floor, self.median = np.array(quantiles, float).T
        difference = np.abs(np.diff(samples.astype(np.int32), axis=1))
        # 1.4826 brings the median of absolute values to the standard deviation, the root that of a
        # difference to that of a pixel.
        spread = np.median(difference, axis=(0, 1)) if difference.size else 0.0
        self.noise = np.maximum(1.4826 / 2**0.5 * spread, 12**-0.5)
        self.level = self.floor + _FLOOR_SIGMAS * self.noise


def _quantiles(samples):
    """(floor, median) of the samples above 0."""
    counts = np.bincount(samples.ravel())
    counts[0] = 0
    up_to = np.cumsum(counts)
    return np.searchsorted(up_to, np.array([_FLOOR_SHARE, 0.5]) * up_to[-1])


def decide(said: Levels, camera: Camera, darkest: Darkest) -> tuple[Levels, list[str]]:
    """Chooses between a file's levels and the published ones of its camera.

    The published ones are taken where the file's are nearly the same, or where the pixels disprove
    the file's black level and confirm the published one.

    Returns:
      (levels, sentences about them).
    """
    table = Levels((float(camera.black),) * len(said.black), float(camera.white), "camera table")
    if abs(said.white / table.white - 1) > _NEAR_WHITE:
        return said, []
    black = np.array(said.black)
    if np.abs(black - camera.black).max() <= _NEAR_BLACK * camera.black:
        return table, []
    wrong = _far_below(black, darkest).any() or _is_missing(said, darkest)
    distance = np.abs(darkest.level - camera.black)
    if wrong and (distance <= _tolerance(camera.black, darkest)).all():
        return table, [
            f"the file says black level {text_of(said.black)}, but its darkest pixels lie at "
            f"{darkest.floor.min():g}: the camera's level {camera.black} is used"
        ]
    return said, []


def check(
    levels: Levels,
    darkest: Darkest,
    mosaic: np.ndarray,
    path: str | os.PathLike[str],
    given: Overrides,
    camera: Camera | None,
) -> list[str]:
    """Compares the levels that are to be used with the pixels.

    Args:
      levels: in DN.
      darkest: of `mosaic`.
      mosaic: [rows, columns] uint16 in DN.
      path: the file, for errors.
      given: a level that the user gave is not doubted.
      camera: of a dataset's file; None of other files, whose levels can be given.

    Returns:
      Sentences about oddities.

    Raises:
      InputError: the file is damaged, or the black level cannot be true.
    """
    _check_zeros(mosaic, min(levels.black), path, camera)
    notes = _check_black(levels, darkest, path, camera) if given.black is None else []
    if given.white is None:
        beyond = np.count_nonzero(mosaic > _SATURATED * levels.white) / mosaic.size
        if beyond > _MOST_SATURATED:
            notes.append(
                f"{100 * beyond:.0f} % of the pixels lie above the white level {levels.white:g}; "
                f"if highlights come out coloured, the level is wrong{_flag('--white', camera)}"
            )
    return notes


def _flag(name, camera):
    """The flag that overrules a level, as the end of a sentence."""
    if camera is None:
        return f": give {name}"
    return f": leave the file out, or restore it with python -m dbp_tf.photos and {name}"


def _check_zeros(mosaic, black, path, camera):
    """Raises InputError if a part of the file was filled with zeros, or never written."""
    zeros = mosaic.size - np.count_nonzero(mosaic)
    if black <= 0 or zeros <= _MOST_ZEROS * mosaic.size:
        return
    between = np.count_nonzero(mosaic <= np.ceil(black / 2)) - zeros
    if between < _LEAST_BETWEEN * zeros:
        border = "" if camera else "; or it has a dark border, so give --active_area"
        raise InputError(
            f"{100 * zeros / mosaic.size:.0f} % of the pixels of {path} are 0, far below its black "
            f"level {black:g}: the file is damaged (cut off or filled up with zeros), so copy it "
            f"from the camera again{border}"
        )


def _tolerance(black, darkest):
    return np.maximum(np.maximum(_MOST_SIGMAS * darkest.noise, _MOST_SHARE_BELOW * black), 2)


def _far_below(black, darkest):
    """[C] whether pixels lie farther below the black level than noise reaches."""
    return black - darkest.floor > _tolerance(black, darkest)


def _is_missing(levels, darkest):
    """Whether the file says black level 0, and no channel of a dark frame comes near it."""
    above = darkest.floor > _MOST_ABOVE_ZERO * levels.white
    flat = darkest.floor > _MOST_OF_MEDIAN * darkest.median
    return max(levels.black) == 0 and (above & flat).all()


def _check_black(levels, darkest, path, camera):
    black, floor = np.array(levels.black), darkest.floor
    below = _far_below(black, darkest)
    if below.any():
        # If several channels are wrong, the first one is named.
        worst = int(np.argmax(below))
        raise InputError(
            f"{path} says black level {black[worst]:g}, but its darkest pixels lie at "
            f"{floor[worst]:g}: the level is wrong, and the picture would come out black or purple"
            f"{_flag('--black', camera)} (about {darkest.level[worst]:.0f}, or "
            f"{black[worst] / 2:g} if it was counted twice)"
        )
    if _is_missing(levels, darkest):
        lowest = int(np.argmin(floor))
        sentence = f"says black level 0, but its darkest pixels lie at {floor[lowest]:g}"
        # Pixels below the camera's own level show that it is not the one that is missing.
        if camera and (floor < camera.black - _tolerance(camera.black, darkest)).any():
            return [f"the file {sentence}: if pictures come out pale, the level is wrong"]
        raise InputError(
            f"{path} {sentence}: the level is missing, and the picture would come out pale"
            f"{_flag('--black', camera)} (about {darkest.level[lowest]:.0f}, or 0 if nothing in "
            f"the scene is dark)"
        )
    if ((floor - black) / (levels.white - black) > _MOST_ABOVE).all():
        return [
            f"the darkest pixels lie at {floor.min():g}, far above the black level "
            f"{text_of(levels.black)}; if the picture comes out pale, the level is wrong"
            f"{_flag('--black', camera)}"
        ]
    return []


def text_of(black: Sequence[float]) -> str:
    """The black levels of all channels in DN, for the log: "512", or "500/512"."""
    return "/".join(f"{value:g}" for value in sorted(set(black)))
