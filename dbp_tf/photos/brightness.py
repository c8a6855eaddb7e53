"""The exposure ratio of a burst that has no long exposure, from its raw signal.

The ratio is the one at which the picture gets the mean light of a usually exposed photograph.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from dbp_tf.raw import packing

# Mean of the white-balanced raw signal, cut at 1, over the whole picture. Simulated long exposures
# (`simulate.unprocess`, Sony) of nine mid-key photographs that scikit-image brings (astronaut,
# brick, chelsea, coffee, coins, grass, gravel, motorcycle left and right) lie at 0.165 to 0.264;
# this is the middle of their logarithms, at most 0.35 stops from each.
MEAN = 0.21

# Share of the picture that may be blown out before the ratio is lowered: of the nine, the
# astronaut has the most, 1.1 %.
BLOWN = 0.02

# Highlights lower the ratio by this factor at the most. More would sink a night street for its
# lamps, which are blown out in any exposure that shows the street.
MOST_LOWERED = 2.0

# Packed pixels a side over which the signal is averaged before anything is cut off: read noise is
# as strong as the signal at a ratio of 300, a 64th of its variance is not.
_BLOCK = 8


def block_means(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Mean over frames and blocks of pixels.

    Args:
      frames: iterable of [H, W, C] packed frames, linear, black level subtracted; negative
        values are kept, as without them noise would pass for light.

    Returns:
      [ceil(H/8), ceil(W/8), C] float64.
    """
    total, count = np.zeros(()), 0
    for frame in frames:
        sums = frame
        for axis in (0, 1):
            starts = np.arange(0, frame.shape[axis], _BLOCK)
            sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.float64)
        total, count = total + sums, count + 1
    rows, columns = (
        np.minimum(_BLOCK, size - np.arange(0, size, _BLOCK)) for size in frame.shape[:2]
    )
    return total / (count * rows[:, None, None] * columns[:, None])


def auto_ratio(blocks: np.ndarray, multipliers: ArrayLike) -> float:
    """The exposure ratio that makes a usually bright picture.

    The mean light of the picture, highlights cut off, becomes `MEAN`; if more than `BLOWN` of the
    picture would then be blown out, the ratio is lowered, though not below half. Blown-out
    pixels hardly move the mean, so a few lamps do not darken the rest.

    Every scene is taken for a usually bright one. A night sky thus comes out far too bright, the
    sky grey: scikit-image's deep-field photograph by 2.9 stops, until the limit of 300 stops it.
    Give the ratio yourself there, about an eighth of the one found here. Other scenes that are
    dark or bright by nature are missed by less: a rocket's plume before a dim sky by +1.4 stops,
    a stained section on white by -1.

    Args:
      blocks: [h, w, C] from `block_means`, 1 at the white level.
      multipliers: [C] white balance of each packed channel, green 1, that the picture will get.

    Returns:
      The ratio, 1 to `packing.MAX_RATIO`.
    """
    light = np.asarray(blocks, np.float64) * np.asarray(multipliers)
    brightness = np.sort(light.mean(-1), axis=None)
    ratio = _ratio_of_mean(brightness)
    brightest = np.quantile(light.max(-1), 1 - BLOWN)
    if brightest * ratio > 1:
        ratio = max(1 / brightest, ratio / MOST_LOWERED)
    return float(np.clip(ratio, 1, packing.MAX_RATIO))


def _ratio_of_mean(brightness):
    """The ratio at which mean(min(ratio * brightness, 1)) is `MEAN`; brightness [N] is sorted.

    The mean rises in straight pieces, which meet where the next brightest block reaches 1.
    """
    count = len(brightness)
    sums = np.cumsum(brightness)
    # With the k brightest blocks blown out, ratio * sums[count - k - 1] + k = count * MEAN.
    blown = np.arange(count)
    rest = sums[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (count * MEAN - blown) / rest
        fits = (rest > 0) & (ratios > 0) & (ratios * brightness[::-1] <= 1)
    if not fits.any():
        # Nothing above the black level, or all of the light in a few lamps.
        return packing.MAX_RATIO
    return ratios[np.argmax(fits)]
