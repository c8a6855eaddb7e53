"""Photon transfer: the gain, in DN per electron, from pairs of frames in one light.

The difference of two frames of a pair holds no fixed pattern, dust or vignetting, but the noise of
both. Shot noise has the variance gain * signal, so the gain is the slope of the variance against
the signal (Janesick, Photon Transfer, SPIE Press 2007). Both are measured in blocks so small that
the signal in each is one.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dbp_tf.calibrate import sites
from dbp_tf.raw import mosaics, packing

# Side of a block in packed pixels, and the share of its pixels that has to be good.
_SIDE = 8
_LEAST_GOOD = 0.75

# Blocks whose variance lies so many standard deviations off the line are left out: in pictures,
# something moved there.
_MOST_SIGMAS = 5

# Rounds in which the line and what is left out follow from each other.
_ROUNDS = 4

# Fewer blocks than these say too little of a channel.
_LEAST_BLOCKS = 8


@dataclasses.dataclass(frozen=True)
class Point:
    """What a pair tells in one packed channel.

    Attributes:
      colour: "R", "G" or "B".
      signal: mean signal of a frame in DN.
      variance: of a frame's noise, in DN squared.
      gain: in DN per electron.
      gain_sd: one standard deviation of its error.
    """

    colour: str
    signal: float
    variance: float
    gain: float
    gain_sd: float


@dataclasses.dataclass(frozen=True)
class Pair:
    """What a pair of frames tells.

    Attributes:
      points: of the packed channels in which there is light, and blocks that are not saturated.
      unlike: by how much the blocks' ratios of the two signals differ beyond noise: standard
        deviation of the ratio over its mean.
      likeness: correlation of the differences at two neighbours of one colour, in a row or in a
        column, whichever is larger.
    """

    points: tuple[Point, ...]
    unlike: float
    likeness: float


def measure(
    frames: Sequence[np.ndarray],
    levels: Sequence[np.ndarray],
    good: np.ndarray,
    dark: float,
    white: float,
    layout: packing.Layout,
) -> Pair:
    """What a pair of frames tells.

    Args:
      frames: two mosaics [rows, columns] uint16 in one light, which may flicker.
      levels: two [P, P], raw value of no light at each filter site.
      good: [rows, columns] bool, pixels to use.
      dark: variance of a pixel without light, in DN squared.
      white: raw value of saturation.
      layout: `packing.BAYER` or `packing.XTRANS`.
    """
    usable = good & (np.maximum(*frames) < packing.SATURATED * white)
    weights = packing.pack(usable, layout)
    signals = [
        packing.pack(frame - mosaics.spread(np.float32(level), frame.shape), layout)
        for frame, level in zip(frames, levels, strict=True)
    ]
    points, unlike, likeness = [], [], []
    for channel, colour in enumerate(layout.channel_colours):
        first, second = (signal[..., channel] for signal in signals)
        blocks = _Blocks(first, second, weights[..., channel])
        if blocks.ratio is not None and (point := _point(blocks, dark, colour)) is not None:
            points.append(point)
            unlike.append(blocks.unlike)
            likeness.append(blocks.likeness)
    if not points:
        return Pair((), np.nan, np.nan)
    return Pair(tuple(points), float(np.mean(unlike)), float(np.mean(likeness)))


class _Blocks:
    """Blocks of one packed channel of two frames.

    Attributes:
      ratio: signal of the first frame over that of the second; None without light.
      signals: [2, n] mean signals of the blocks.
      variances: [n] of the first frame less the second one times the ratio.
      unlike, likeness: see `Pair`.
    """

    def __init__(self, first, second, good):
        self.ratio = None
        share = sites.block_means(good, _SIDE)
        use = share >= _LEAST_GOOD
        means = [
            sites.block_means(frame * good, _SIDE) / np.maximum(share, 1e-9)
            for frame in (first, second)
        ]
        self.signals = np.array([mean[use] for mean in means])
        if use.sum() < _LEAST_BLOCKS or (self.signals.mean(1) <= 0).any():
            return
        self.ratio = self.signals[0].mean() / self.signals[1].mean()
        offset = (means[0] - self.ratio * means[1]).astype(np.float32)
        offset = offset.repeat(_SIDE, 0).repeat(_SIDE, 1)
        rows, columns = offset.shape
        rest = first[:rows, :columns] - np.float32(self.ratio) * second[:rows, :columns] - offset
        rest *= good[:rows, :columns]
        count = share[use] * _SIDE**2
        self.variances = sites.block_means(np.square(rest), _SIDE)[use] * _SIDE**2 / (count - 1)
        ratios = (means[0] - self.ratio * means[1])[use] / self.signals[0].mean()
        noise = np.median(self.variances / count) / self.signals[0].mean() ** 2
        self.unlike = np.sqrt(max(sites.robust_spread(ratios) ** 2 - noise, 0))
        # The block's own mean was taken out, which makes any two pixels a little unlike.
        self.likeness = sites.likeness(rest, 1) + 1 / _SIDE**2


def _point(blocks, dark, colour):
    """The `Point` of `_Blocks`; None if too few of them are alike."""
    both = 1 + blocks.ratio**2
    signal = blocks.signals[0] + blocks.ratio**2 * blocks.signals[1]
    shot = blocks.variances - both * dark
    bright = signal >= np.median(signal)
    gain = np.median(shot[bright]) / np.median(signal[bright])
    keep = np.ones(len(signal), bool)
    for _ in range(_ROUNDS):
        expected = np.maximum(gain * signal, 0) + both * dark
        off = (shot - gain * signal) / expected
        keep = np.abs(off - np.median(off)) <= _MOST_SIGMAS * sites.robust_spread(off)
        if keep.sum() < _LEAST_BLOCKS:
            return None
        weights = np.where(keep, expected, np.inf) ** -2.0
        norm = (weights * signal**2).sum()
        gain = (weights * signal * shot).sum() / norm
    return Point(
        colour=colour,
        signal=float(signal[keep].mean() / both),
        variance=float(blocks.variances[keep].mean() / both),
        gain=float(gain),
        gain_sd=float(off[keep].std() / np.sqrt(norm)),
    )


def combined(points: Sequence[Point]) -> tuple[float, float]:
    """The gain of several points and one standard deviation of it.

    Where the points differ by more than their own errors, these are taken to be so much larger.
    """
    gains = np.array([point.gain for point in points])
    weights = np.array([point.gain_sd for point in points]) ** -2.0
    mean = weights @ gains / weights.sum()
    excess = weights @ (gains - mean) ** 2 / max(len(points) - 1, 1)
    return float(mean), float(np.sqrt(max(excess, 1) / weights.sum()))
