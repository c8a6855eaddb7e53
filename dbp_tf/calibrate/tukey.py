"""Tukey's lambda distribution, which describes read noise, and its shape found from a histogram.

ELD (Wei et al., A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising, CVPR
2020) takes the shape whose quantiles correlate best with the measured ones: the probability plot
correlation coefficient (Filliben 1975). Its samples are dark frames as they are. Here they are
differences from the mean of all frames, in which no fixed pattern is left; so the quantiles are
those of such differences, rounded to whole DN. All distributions here have mean 0 and, without the
rounding, standard deviation 1.
"""

import math
from collections.abc import Callable

import numpy as np

from dbp_tf.raw.noise import tukey_deviation, tukey_quantiles

# Below -0.5 there is no standard deviation; at 0.5 the distribution has all but lost its tails.
SHAPES = (-0.45, 0.5)

# Grid on which distributions are convolved, in standard deviations: its size and half its width.
_CELLS, _REACH = 8192, 64

# Logarithms of the odds of lying below a value, at which values are computed.
_ODDS = np.linspace(-40, 40, 4001)

# Cells of a histogram of samples, in standard deviations: width and number on either side of 0.
_WIDTH, _SIDE = 0.02, 800

# [cells] middles of those cells.
CENTRES = _WIDTH * np.arange(-_SIDE, _SIDE + 1)

# What lies in the farthest tails is particles and pixels that flicker, not the distribution.
_LEAST_SHARE = 1e-5


def histogram_of(samples: np.ndarray) -> np.ndarray:
    """[cells] how many samples, in standard deviations, lie in the cells around `CENTRES`.

    What lies beyond the last cell is counted in it.
    """
    cells = np.rint(samples / _WIDTH).astype(np.int32)
    np.clip(cells, -_SIDE, _SIDE, out=cells)
    return np.bincount(cells.ravel() + _SIDE, minlength=2 * _SIDE + 1)


def distribution(shape: float) -> Callable[[np.ndarray], np.ndarray]:
    """The share of values below x, as a function of x in standard deviations."""
    below, above = -np.logaddexp(0, -_ODDS), -np.logaddexp(0, _ODDS)
    values = tukey_quantiles(below, above, shape) / tukey_deviation(shape)
    return lambda x: np.interp(x, values, np.exp(below), left=0, right=1)


class Residuals:
    """Differences of samples from the mean over frames of which they are one.

    Attributes:
      centres: [cells] values in standard deviations of the read noise, evenly spaced.
    """

    def __init__(self, frames: int, step: float):
        """
        Args:
          frames: over which the mean was taken, the sample's own one among them.
          step: distance of two raw values, in standard deviations of the read noise.
        """
        self._frames = frames
        self._known: dict[float, np.ndarray] = {}
        self._edges = np.linspace(-_REACH, _REACH, _CELLS + 1)
        self.centres = (self._edges[1:] + self._edges[:-1]) / 2
        # Rounding is uniform, and that of the other frames is in the mean.
        width = max(step * math.sqrt(1 - 1 / frames), 1e-9)
        self._rounding = self._spectrum(lambda x: np.clip(x / width + 0.5, 0, 1))

    def _spectrum(self, below):
        return np.fft.rfft(np.fft.ifftshift(np.diff(below(self._edges))))

    def shares(self, shape: float) -> np.ndarray:
        """[cells] share of the differences in each cell."""
        if shape not in self._known:
            self._known[shape] = self._shares(distribution(shape), self._frames)
        return self._known[shape]

    def _shares(self, below, n):
        own = self._spectrum(lambda x: below(x / (1 - 1 / n)))
        others = self._spectrum(lambda x: below(x * n))
        spectrum = own * others ** (n - 1) * self._rounding
        # An even number of cells has its middle on an edge, half a cell for each distribution.
        cells = np.fft.rfftfreq(_CELLS)
        spectrum *= np.exp(-1j * np.pi * cells * n)
        return np.maximum(np.fft.fftshift(np.fft.irfft(spectrum, _CELLS)), 0)

    def correlation(self, histogram: np.ndarray, shape: float) -> float:
        """How well quantiles of the distribution and of a `histogram` lie on a line, up to 1."""
        up_to = np.cumsum(histogram)
        middle = (up_to - histogram / 2) / up_to[-1]
        use = (histogram > 0) & (middle > _LEAST_SHARE) & (middle < 1 - _LEAST_SHARE)
        values, weights = CENTRES[use], histogram[use] / histogram[use].sum()
        cumulated = np.cumsum(self.shares(shape))
        expected = np.interp(middle[use], cumulated / cumulated[-1], self._edges[1:])
        values, expected = (x - weights @ x for x in (values, expected))
        product = weights @ (values * expected)
        return product / math.sqrt(weights @ values**2 * (weights @ expected**2))

    def shape_of(self, histogram: np.ndarray) -> float:
        """The shape, within `SHAPES`, with the highest `correlation`."""
        coarse = np.linspace(*SHAPES, 20)
        best = int(np.argmax([self.correlation(histogram, shape) for shape in coarse]))
        low, high = coarse[max(best - 1, 0)], coarse[min(best + 1, len(coarse) - 1)]
        golden = (math.sqrt(5) - 1) / 2
        left, right = high - golden * (high - low), low + golden * (high - low)
        at_left, at_right = (self.correlation(histogram, shape) for shape in (left, right))
        while high - low > 1e-3:
            if at_left > at_right:
                high, right, at_right = right, left, at_left
                left = high - golden * (high - low)
                at_left = self.correlation(histogram, left)
            else:
                low, left, at_left = left, right, at_right
                right = low + golden * (high - low)
                at_right = self.correlation(histogram, right)
        return float((low + high) / 2)
