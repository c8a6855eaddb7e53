"""PSNR and SSIM of a restored picture, as scikit-image defines them, and the published scores.

PSNR and SSIM work through the picture in small tiles, so that a picture of 12 megapixels needs some
megabytes beside itself and not the gigabytes of its filtered copies.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dbp_tf.errors import InputError

# scikit-image's defaults (Wang et al. 2004): 7x7 uniform window, K1 and K2.
WINDOW = 7
K1 = 0.01
K2 = 0.03

# The published script passed floats to SSIM without a range, for which scikit-image assumed -1..1:
# the paper's numbers mean this range.
PUBLISHED_SSIM_RANGE = 2.0

# Rows and columns of a tile: its ten or so float64 arrays stay in the processor's cache, which
# made SSIM twice as fast as strips of whole rows.
_TILE = (64, 128)


def _check(image, reference, least):
    if image.shape != reference.shape or image.ndim != 3:
        raise InputError(
            f"two pictures of one size [rows, columns, channels] are needed to compare them, "
            f"not {image.shape} and {reference.shape}"
        )
    if min(image.shape[:2]) < least or image.shape[2] < 1:
        raise InputError(
            f"a picture of {image.shape[0]}x{image.shape[1]} pixels is too small to compare: "
            f"{least}x{least} are the least"
        )


def _tiles(rows, columns, overlap=0):
    """Yields (row slice, column slice) of tiles, each `overlap` longer than its stride."""
    for top in range(0, rows, _TILE[0]):
        bottom = min(top + _TILE[0], rows) + overlap
        for left in range(0, columns, _TILE[1]):
            yield slice(top, bottom), slice(left, min(left + _TILE[1], columns) + overlap)


def psnr(image: np.ndarray, reference: np.ndarray, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels.

    Infinite for equal pictures.

    Args:
      image: [rows, columns, channels] float, usually clipped to 0..1.
      reference: the same, the ground truth.
      data_range: distance between the least and the greatest possible value (1 for 0..1).

    Raises:
      InputError: sizes differ.
    """
    _check(image, reference, 1)
    total = 0.0
    for tile in _tiles(*image.shape[:2]):
        error = image[tile].astype(np.float64) - reference[tile]
        total += float(np.sum(error * error))
    if total == 0:
        return math.inf
    return 10 * math.log10(data_range**2 * image.size / total)


def ssim(image: np.ndarray, reference: np.ndarray, *, data_range: float | tuple[float, ...]) -> Any:
    """Structural similarity with scikit-image's defaults, mean over pixels and channels.

    7x7 uniform window, sample covariance, K1 = 0.01, K2 = 0.03; only windows that lie wholly
    inside the picture count.

    Args:
      image: [rows, columns, channels] float, at least 7x7 pixels.
      reference: the same, the ground truth.
      data_range: distance between the least and the greatest possible value, or a tuple of
        several: all are then computed from one pass over the pictures.

    Returns:
      A float, or a tuple of them, one for each range.

    Raises:
      InputError: sizes differ or are below 7x7.
    """
    _check(image, reference, WINDOW)
    ranges = data_range if isinstance(data_range, tuple) else (data_range,)
    rows, columns = (size - WINDOW + 1 for size in image.shape[:2])
    totals = np.zeros(len(ranges))
    for tile in _tiles(rows, columns, overlap=WINDOW - 1):
        totals += _ssim_sums(image[tile], reference[tile], ranges)
    means = tuple(float(total) for total in totals / (rows * columns * image.shape[2]))
    return means if isinstance(data_range, tuple) else means[0]


def score(
    picture: np.ndarray, truth: np.ndarray, lpips: Callable | None = None
) -> dict[str, float | None]:
    """The published scores of one picture.

    Args:
      picture: [rows, columns, 3] float sRGB, not clipped.
      truth: the ground truth, of the same size, 0..1.
      lpips: function of two pictures, see `lpips.load_lpips`; None to go without.

    Returns:
      psnr, ssim_range2, ssim_range1 and lpips (None without its graph). LPIPS is that of the
      unclipped picture, as published.
    """
    clipped = np.clip(picture, 0, 1)
    published, unit = ssim(clipped, truth, data_range=(PUBLISHED_SSIM_RANGE, 1.0))
    return {
        "psnr": psnr(clipped, truth, data_range=1),
        "ssim_range2": published,
        "ssim_range1": unit,
        "lpips": lpips(picture, truth) if lpips else None,
    }


def crop_to_common(picture: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures [rows, columns, 3] cut at the bottom and right to what both have."""
    rows, columns = np.minimum(picture.shape[:2], truth.shape[:2])
    return picture[:rows, :columns], truth[:rows, :columns]


def _ssim_sums(image, reference, ranges):
    """Sum of the SSIM map of one tile for each range."""
    x = image.astype(np.float64)
    y = reference.astype(np.float64)
    mean_x = _window_means(x)
    mean_y = _window_means(y)
    product_xy = mean_x * mean_y
    sample = WINDOW**2 / (WINDOW**2 - 1)
    covariance = sample * (_window_means(x * y) - product_xy)
    squares = mean_x * mean_x + mean_y * mean_y
    # SSIM needs the two variances only as their sum, which saves one of five filters.
    variances = sample * (_window_means(x * x + y * y) - squares)
    sums = []
    for data_range in ranges:
        c1 = (K1 * data_range) ** 2
        c2 = (K2 * data_range) ** 2
        similarity = (2 * product_xy + c1) * (2 * covariance + c2)
        similarity /= (squares + c1) * (variances + c2)
        sums.append(similarity.sum())
    return sums


def _window_means(values):
    """Means over all whole 7x7 windows: [rows, columns, n] -> [rows - 6, columns - 6, n]."""
    return _sums_of_seven(_sums_of_seven(values, 0), 1) * (1 / WINDOW**2)


def _sums_of_seven(values, axis):
    """Sums of seven neighbours along an axis, from sums of two and four: four additions."""

    def part(array, start, length):
        index = [slice(None)] * array.ndim
        index[axis] = slice(start, start + length)
        return array[tuple(index)]

    length = values.shape[axis] - WINDOW + 1
    twos = part(values, 0, length + 5) + part(values, 1, length + 5)
    fours = part(twos, 0, length + 3) + part(twos, 2, length + 3)
    sevens = part(fours, 0, length) + part(twos, 4, length)
    sevens += part(values, 6, length)
    return sevens
