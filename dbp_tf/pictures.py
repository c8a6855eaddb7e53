"""Writing pictures: float RGB to PNG of 8 or 16 bit."""

import imageio.v3 as iio
import numpy as np

from dbp_tf import files
from dbp_tf.errors import InputError

# zlib's default, 6, takes nearly twice as long for files a tenth smaller.
_PNG_LEVEL = 3


def quantised(rgb, bits=8):
    """Float picture to whole numbers, rounded to the nearest and clipped.

    Args:
      rgb: [rows, columns, 3] float, 0..1; values outside are clipped.
      bits: 8 or 16.

    Returns:
      [rows, columns, 3] uint8 or uint16.

    Raises:
      InputError: a value is not a finite number, or the picture is not [rows, columns, 3].
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise InputError(f"a picture is [rows, columns, 3], not {list(rgb.shape)}")
    whole = np.empty(rgb.shape, {8: np.uint8, 16: np.uint16}[bits])
    top = np.iinfo(whole.dtype).max
    # Row by row: a 12-megapixel picture is not copied as floats as a whole.
    for row, values in enumerate(rgb):
        if not np.isfinite(values).all():
            raise InputError(
                f"the picture has values that are not finite numbers (the first in row {row}), "
                f"so it was not written: the network's weights or its input are broken"
            )
        whole[row] = np.rint(np.multiply(np.clip(values, 0, 1), top, dtype=np.float64))
    return whole


def png_bytes(rgb, bits=8):
    """A float picture [rows, columns, 3] in 0..1 as a PNG file of 8 or 16 bit; see `quantised`."""
    whole = quantised(rgb, bits)
    if bits == 8:
        return iio.imwrite("<bytes>", whole, extension=".png", compress_level=_PNG_LEVEL)
    # imageio's PNG writer cannot store 16 bit in colour. TensorFlow takes seconds to import.
    import tensorflow as tf

    return tf.io.encode_png(whole, compression=_PNG_LEVEL).numpy()


def write_png(path, rgb, bits=8):
    """Writes a picture whole or not at all.

    Args:
      path: file to write or replace.
      rgb: [rows, columns, 3] float, sRGB in 0..1; values outside are clipped.
      bits: 8 or 16.

    Raises:
      InputError: a value is not a finite number, or the picture is not [rows, columns, 3].
    """
    try:
        files.write_whole(path, png_bytes(rgb, bits))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
