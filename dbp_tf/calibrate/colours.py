"""A camera's colours as its raw files and LibRaw know them."""

import os

import numpy as np

from dbp_tf.raw import reading
from dbp_tf.raw.camera import SRGB_TO_XYZ

_DIGITS = 4


def xyz_to_camera(path: str | os.PathLike[str]) -> np.ndarray | None:
    """The colour matrix [3, 3] from XYZ (D65) to linear camera RGB; None if LibRaw knows none.

    Raises:
      InputError: see `reading.open_raw`.
    """
    with reading.open_raw(path, unpack=False) as raw:
        known = np.array(raw.rgb_xyz_matrix[:3], float)
        to_srgb = np.array(raw.color_matrix[:, :3], float)
        daylight = np.array(raw.daylight_whitebalance[:3], float)
    if not known.any() and abs(np.linalg.det(to_srgb)) > 1e-6 and (daylight > 0).all():
        # Of a DNG file, LibRaw keeps the way from balanced camera RGB to sRGB.
        known = np.linalg.inv(to_srgb) / daylight[:, np.newaxis] @ np.linalg.inv(SRGB_TO_XYZ)
    return np.round(known, _DIGITS) if known.any() else None


def srgb_matrix() -> np.ndarray:
    """The matrix of a camera that sees sRGB, for which LibRaw takes one whose colours it lacks."""
    return np.round(np.linalg.inv(SRGB_TO_XYZ), _DIGITS)


def daylight(matrix: np.ndarray) -> tuple[float, float, float]:
    """Multipliers (R, G, B), green 1, of light of the colour D65 by a colour matrix."""
    red, green, blue = map(float, matrix @ SRGB_TO_XYZ.sum(1))
    return round(green / red, _DIGITS), 1.0, round(green / blue, _DIGITS)
