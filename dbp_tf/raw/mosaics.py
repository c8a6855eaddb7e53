"""The mosaic of colour filters before a sensor."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def spread(sites: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """[period, period] values of filter sites, repeated over a mosaic of that shape."""
    sites = np.asarray(sites)
    rows, columns = (np.arange(shape[axis]) % sites.shape[axis] for axis in (0, 1))
    return sites[np.ix_(rows, columns)]


def colour_indices(pattern: Sequence[str]) -> np.ndarray:
    """[period, period] indices of the sites' colours: 0 red, 1 green, 2 blue."""
    return np.array([["RGB".index(letter) for letter in row] for row in pattern])


def mosaic(linear: np.ndarray, pattern: Sequence[str]) -> np.ndarray:
    """Keeps of each pixel the colour that its filter lets through.

    Args:
      linear: [rows, columns, 3].
      pattern: strings of R, G, B, one for each row of the filters' period.

    Returns:
      [rows, columns] of the same type.
    """
    colours = spread(colour_indices(pattern), linear.shape[:2])
    return np.take_along_axis(linear, colours[..., np.newaxis], axis=-1)[..., 0]
