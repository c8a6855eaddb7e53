"""What frames without light tell: black level, read noise, row and column noise, fixed pattern.

A raw value is the black level, its error, a pixel's fixed offset, an offset that the row shares and
one that the column shares, both new in each frame, and read noise, rounded. Frames are compared
with the mean of all, which holds the fixed offsets; row, column and pixel are then told apart as in
an analysis of variance. Rounding adds a twelfth of a squared step.
"""

import dataclasses

import numpy as np

from dbp_tf.calibrate import sites, tukey
from dbp_tf.raw import mosaics, packing

# A pixel whose mean lies so many standard deviations off in one half of the frames, and in the
# other as well, is hot or dead: noise does not do that twice.
_HOT_SIGMAS = 5

# Residuals are cut off here, for a particle would count more than all other pixels of its row. Of
# the read noise of any sensor hardly anything lies so far out.
_MOST_SIGMAS = 20

# Columns are compared with the mean of so many of their kind on either side.
_NEAR_COLUMNS = 16

# Side of the blocks in which stray light shows, in pixels: whole periods of either mosaic.
_BLOCK = 48

# Parts of the frames from which the shape's uncertainty is found.
_PARTS = 4


@dataclasses.dataclass(frozen=True)
class Value:
    """A number, or an array, and one standard deviation of its error."""

    value: np.ndarray
    sd: np.ndarray


@dataclasses.dataclass(frozen=True)
class DarkNoise:
    """Noise of dark frames at one ISO setting. All is in DN but shape, shares and correlations.

    Attributes:
      good: [rows, columns] bool, pixels that are neither hot nor dead.
      level: [P, P] mean of each filter site less the file's black level.
      blocks: [F, h, w] the same of blocks of the mosaic.
      black_error: [3] `level` by colour.
      read: standard deviation of the read noise.
      shape: of its Tukey lambda distribution.
      row: standard deviation of the offset that a row's pixels share, new in each frame.
      column: the same of a column.
      fixed: standard deviation of the pixels' offsets that stay from frame to frame.
      fixed_columns: the part of it that columns share.
      total: variance of a pixel over frames, rounding and all.
      step: distance of two raw values.
      floor: share of the pixels that have the lowest value of all.
      likeness: largest correlation of the noise of two neighbours, in a row or a column, next to
        each other or of one colour.
      histogram: counts of the residuals in units of `read`, see `tukey.histogram_of`.
      spectrum: [2, n] cycles a row, 0 to 1/2, and power of the rows' means.
      row_floor: power that the pixels' noise alone gives the rows' means.
    """

    good: np.ndarray
    level: np.ndarray
    blocks: np.ndarray
    black_error: Value
    read: Value
    shape: Value
    row: Value
    column: Value
    fixed: Value
    fixed_columns: float
    total: float
    step: int
    floor: float
    likeness: float
    histogram: np.ndarray
    spectrum: np.ndarray
    row_floor: float

    @property
    def hot(self) -> float:
        """Share of hot and dead pixels."""
        return float(1 - self.good.mean())

    @property
    def frames(self) -> int:
        """Number of frames F."""
        return len(self.blocks)

    @property
    def residuals(self) -> tukey.Residuals:
        """The distribution of which `histogram` is."""
        return tukey.Residuals(self.frames, self.step / _unit(self.read.value))


def measure(
    stack: np.ndarray, blacks: np.ndarray, layout: packing.Layout, contiguous: int
) -> DarkNoise:
    """The noise of dark frames of one ISO setting.

    Args:
      stack: [F, rows, columns] uint16, F at least 2, of whole periods.
      blacks: [F, P, P] black level of each filter site by the file.
      layout: `packing.BAYER` or `packing.XTRANS`.
      contiguous: so many rows at a time lie side by side on the sensor, from the first one on.
    """
    seen = _Frames(stack, blacks, layout)
    rows, powers = seen.powers()
    own = len(stack) / (len(stack) - 1)
    per_row, per_column = (1 / np.mean(1 / seen.good.sum(axis).clip(1)) for axis in (1, 0))
    total, of_rows, of_columns = own * powers
    within = (total - of_rows - of_columns) / ((1 - 1 / per_row) * (1 - 1 / per_column))
    step = _step(stack[0])
    read = _root(within - step**2 / 12)
    histograms, likeness = seen.histograms(rows, _unit(read.value))
    fixed, fixed_columns = _fixed(seen)
    residuals = tukey.Residuals(len(stack), step / _unit(read.value))
    parts = np.array_split(histograms, min(len(stack), _PARTS))
    shapes = np.array([residuals.shape_of(part.sum(0)) for part in parts])
    colours = mosaics.colour_indices(layout.colours)
    by_colour = np.array(
        [[level[colours == colour].mean() for colour in range(3)] for level in seen.levels]
    )
    return DarkNoise(
        good=seen.good,
        level=seen.levels.mean(0),
        blocks=seen.blocks,
        black_error=_mean(by_colour),
        read=read,
        shape=Value(np.array(residuals.shape_of(histograms.sum(0))), _mean(shapes).sd),
        row=_root(of_rows - within / per_row),
        column=_root(of_columns - within / per_column),
        fixed=fixed,
        fixed_columns=fixed_columns,
        total=float(total.mean()),
        step=step,
        floor=_share_of_lowest(stack[0][seen.good]),
        likeness=likeness,
        histogram=histograms.sum(0),
        spectrum=_spectrum(rows, contiguous, layout.period) * [[1], [own]],
        row_floor=float(within.mean() / per_row),
    )


class _Frames:
    """Dark frames and what is left of them beside their mean.

    Attributes:
      good, blocks: see `DarkNoise`.
      levels: [F, P, P] mean of each filter site less the file's black level.
      halves: means [rows, columns] of every other frame, less those of their filter sites, float32.
    """

    def __init__(self, stack, blacks, layout):
        self._stack, self._layout = stack, layout
        halves = (stack[::2], stack[1::2])
        self.halves = [self._centred(half.mean(0, dtype=np.float32)) for half in halves]
        low, high = np.sort(self.halves, axis=0)
        spread = max(map(sites.robust_spread, self.halves))
        # In pixels without noise a median of deviations may be 0.
        limit = _HOT_SIGMAS * max(spread, 0.1)
        self.good = ~((low > limit) | (high < -limit))
        means = np.array([sites.means(frame, self.good, layout.period) for frame in stack])
        self.levels = means - blacks
        self._mean = stack.mean(0, dtype=np.float32)
        self._shifts = means - means.mean(0)
        self.blocks = np.array(list(map(self._blocks, stack, means, self.levels)))
        self._limit = np.float32(np.inf)
        rest = self._residual(0)[self.good]
        self._limit = np.float32(_MOST_SIGMAS * max(sites.robust_spread(rest), 0.3))

    def _centred(self, frame):
        period = self._layout.period
        shape = (len(frame) // period, period, -1, period)
        medians = np.median(frame.reshape(shape), axis=(0, 2))
        return frame - mosaics.spread(medians, frame.shape)

    def _blocks(self, frame, mean, level):
        offset = np.where(self.good, frame - mosaics.spread(np.float32(mean), frame.shape), 0)
        return sites.block_means(offset, _BLOCK) + level.mean()

    def _residual(self, number):
        rest = self._stack[number] - self._mean
        rest -= mosaics.spread(np.float32(self._shifts[number]), rest.shape)
        rest *= self.good
        np.clip(rest, -self._limit, self._limit, out=rest)
        return rest

    def powers(self):
        """([F, rows] means of rows, [3, F] mean squares of pixels, means of rows, of columns)."""
        per_row, per_column = (self.good.sum(axis).clip(1) for axis in (1, 0))
        period = self._layout.period
        rows, powers = [], []
        for number in range(len(self._stack)):
            rest = self._residual(number)
            row = rest.sum(1, dtype=np.float64) / per_row
            column = rest.sum(0, dtype=np.float64) / per_column
            rows.append(row)
            powers.append(
                [
                    np.square(rest).sum(dtype=np.float64) / self.good.sum(),
                    # The mean of each filter site was taken out.
                    np.square(row).sum() / (len(row) - period),
                    np.square(column).sum() / (len(column) - period),
                ]
            )
        return np.array(rows), np.array(powers).T

    def histograms(self, rows, unit):
        """([F, cells] of the residuals without the rows' means, in units; mean likeness)."""
        found, likeness = [], []
        for number, row in enumerate(rows):
            rest = self._residual(number) - row[:, np.newaxis].astype(np.float32)
            found.append(tukey.histogram_of(rest[self.good] / np.float32(unit)))
            # What a column shares is banding, not likeness.
            rest -= rest.mean(0)
            likeness.append([sites.likeness(rest, apart) for apart in (1, self._layout.scale)])
        return np.array(found), float(np.mean(likeness, 0).max())


def _unit(read):
    """Unit of the histograms: the read noise, or, where there is none, something to divide by."""
    return max(float(read), 0.1)


def _step(frame):
    """Distance of two raw values: more than 1 where a camera multiplies what it has read."""
    values = np.flatnonzero(np.bincount(frame.ravel()))
    return int(np.gcd.reduce(np.diff(values))) if len(values) > 1 else 1


def _share_of_lowest(values):
    return float(np.mean(values == values.min())) if values.size else 1.0


def _mean(values):
    """`Value` of the mean of [n, ...] over n."""
    return Value(values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values)))


def _root(powers):
    """`Value` of the root of the mean of powers [n], 0 if that is negative."""
    power, error = powers.mean(), _mean(powers).sd
    root = np.sqrt(max(power, 0))
    # Near 0 the root's error is no longer in proportion to the power's.
    return Value(root, error / (2 * root) if power > error else np.sqrt(error))


def _fixed(seen):
    """(`Value` of the fixed offsets, the part that columns share) of `_Frames`.

    What the halves of the frames have in common is fixed, for their noise is not the same.
    """
    limit = _MOST_SIGMAS * max(map(sites.robust_spread, seen.halves))
    first, second = (np.clip(half, -limit, limit) * seen.good for half in seen.halves)
    products = (first * second).mean(1, dtype=np.float64) / seen.good.mean()
    profiles = [_against_near(half.mean(0), seen.levels.shape[-1]) for half in (first, second)]
    bands = np.array([band.mean() for band in np.array_split(products, min(len(products), 16))])
    return _root(bands), float(np.sqrt(max(np.mean(profiles[0] * profiles[1]), 0)))


def _against_near(profile, period):
    """A profile of columns less the mean of those of its kind near by."""
    kinds = profile.reshape(-1, period).T
    window = np.ones(min(2 * _NEAR_COLUMNS + 1, kinds.shape[1]))
    count = np.convolve(np.ones(kinds.shape[1]), window, "same")
    return np.array([kind - np.convolve(kind, window, "same") / count for kind in kinds])


def _spectrum(rows, contiguous, period):
    pieces = rows.reshape(len(rows), -1, contiguous)
    pieces = pieces - pieces.mean(-1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(pieces))).mean((0, 1)) / contiguous
    cycles = np.arange(len(power))
    # The mean of each filter site was taken out, and with it what repeats in the filters' period.
    use = cycles * period % contiguous != 0
    return np.array([cycles[use] / contiguous, power[use]])
