"""Means over filter sites and over blocks of a mosaic.

A site is a place in the filters' period P. Mosaics hold whole periods, from the layout's first site
on.
"""

import numpy as np

from dbp_tf.raw import packing


def of_channels(values: tuple[float, ...], layout: packing.Layout) -> np.ndarray:
    """[P, P] values of the packed channels [C] at each site."""
    period = np.tile(np.array(values, float), (layout.cells, layout.cells, 1))
    return packing.unpack(period, layout)


def means(values: np.ndarray, good: np.ndarray, period: int) -> np.ndarray:
    """[P, P] mean at each site of the pixels that are good, both [rows, columns]."""
    shape = (len(values) // period, period, values.shape[1] // period, period)
    totals = np.where(good, values, 0).reshape(shape).sum((0, 2), dtype=np.float64)
    counts = good.reshape(shape).sum((0, 2))
    return totals / np.maximum(counts, 1)


def block_means(values: np.ndarray, side: int) -> np.ndarray:
    """[h, w] means of blocks of `side` pixels a side; what is left over is dropped."""
    side = min(side, *values.shape)
    rows, columns = (size // side for size in values.shape)
    cut = values[: rows * side, : columns * side]
    return cut.reshape(rows, side, columns, side).mean((1, 3), dtype=np.float64)


def likeness(values: np.ndarray, apart: int) -> float:
    """The larger correlation of two values `apart` in a row and in a column, of [rows, columns].

    Their mean is taken to be 0.
    """
    in_row = (values[:, apart:] * values[:, :-apart]).mean()
    in_column = (values[apart:] * values[:-apart]).mean()
    return float(max(in_row, in_column) / np.square(values).mean())


def robust_spread(values: np.ndarray) -> float:
    """Standard deviation of normal values with some others among them, about their median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
