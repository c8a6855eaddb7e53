"""Un-processing: an sRGB photograph becomes the light that a sensor's colour filters get.

Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019. Pictures are
[rows, columns, 3] in linear camera colours, 1 at the sensor's white level.
"""

from collections.abc import Sequence

import numpy as np

from dbp_tf.raw import cameras
from dbp_tf.raw.camera import SRGB_TO_XYZ

# Linear brightness from which highlights go white, and from which that white saturates the sensor.
_HIGHLIGHT = 0.9
_SATURATED = 0.95

# A point of light behind lens and optical low-pass filter, along rows and along columns: a fifth
# of the contrast is left at the finest detail that the pixels can hold. Without it, the
# one-pixel detail of a photograph made smaller would come out of any demosaicing as false colour.
_OPTICS = (0.2, 0.6, 0.2)


def srgb_to_linear(photo: np.ndarray) -> np.ndarray:
    """sRGB code values in 0..1 to linear light in 0..1 (IEC 61966-2-1)."""
    return np.where(photo <= 0.04045, photo / 12.92, ((photo + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in 0..1 to sRGB code values in 0..1 (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def camera_matrix(camera: cameras.Camera) -> np.ndarray:
    """[3, 3] linear sRGB to white-balanced camera colours: white stays (1, 1, 1)."""
    matrix = np.array(camera.xyz_to_camera) @ SRGB_TO_XYZ
    return matrix / matrix.sum(axis=1, keepdims=True)


def unprocess(photo: np.ndarray, camera: cameras.Camera) -> np.ndarray:
    """A photograph to the light that the sensor's colour filters let through.

    Inverts sRGB's tone curve, the camera's colour matrix and its white balance. Gains below
    one would leave highlights grey-green in the raw file; near white they fade to one, so that
    white saturates all colours as it does on a sensor (Brooks et al. 2019). Before they do, a
    highlight loses its colour: a channel that saturates ahead of the others would tint it.

    Args:
      photo: [rows, columns, 3] sRGB in 0..1.
      camera: `cameras.Camera`.

    Returns:
      [rows, columns, 3] float32 in 0..1, 1 at the sensor's white level.
    """
    linear = srgb_to_linear(np.asarray(photo, np.float32))
    linear = np.clip(linear @ camera_matrix(camera).T.astype(np.float32), 0, 1)
    # LibRaw scales its multipliers so that the smallest is one.
    gains = np.float32(min(camera.white_balance)) / np.array(camera.white_balance, np.float32)
    grey = linear.mean(axis=-1, keepdims=True)
    linear = _fade(linear, (grey - _HIGHLIGHT) / (_SATURATED - _HIGHLIGHT))
    return linear * _fade(gains, (grey - _SATURATED) / (1 - _SATURATED))


def _fade(values, share):
    """Values that go to one as `share` goes from 0 to 1, gently at first."""
    return values + (1 - values) * np.clip(share, 0, 1) ** 2


def soften(linear: np.ndarray) -> np.ndarray:
    """Light through lens and optical low-pass filter; see `_OPTICS`.

    Args:
      linear: [rows, columns, channels], continued at the edges by its mirror image.

    Returns:
      The same shape and type; a uniform picture stays as it is.
    """
    for axis in (0, 1):
        margins = [(1, 1) if axis == other else (0, 0) for other in range(linear.ndim)]
        padded = np.pad(linear, margins, mode="symmetric")
        places = np.arange(linear.shape[axis])
        shifted = (weight * padded.take(places + by, axis) for by, weight in enumerate(_OPTICS))
        linear = np.asarray(sum(shifted))
    return linear


def shifted(picture: np.ndarray, shift: Sequence[int]) -> np.ndarray:
    """Moves a picture's content down and right by whole pixels; its mirror image fills up.

    Args:
      picture: [rows, columns, ...].
      shift: (rows, columns), each less than the picture's size.
    """
    down, right = (int(amount) for amount in shift)
    margins = [(max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0))]
    padded = np.pad(picture, margins + [(0, 0)] * (picture.ndim - 2), mode="reflect")
    top, left = max(-down, 0), max(-right, 0)
    return padded[top : top + picture.shape[0], left : left + picture.shape[1]]
