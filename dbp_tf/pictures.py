"""Writing pictures: float RGB to PNG and TIFF of 8 or 16 bit and to JPEG, all marked as sRGB."""

import dataclasses
import importlib.util
import io
import os
import pathlib
import struct
import zlib
from collections.abc import Callable

import imageio.v3 as iio
import numpy as np

from dbp_tf import files
from dbp_tf.errors import InputError

# zlib's default, 6, takes nearly twice as long for files a tenth smaller. PNG of 8 bit has no
# level: once neighbours are subtracted, photographs hardly repeat themselves, and without the
# search for repetitions they are packed in two thirds of the time, in files a tenth smaller.
_ZLIB_LEVEL = 3

_JPEG_QUALITY = 95


def quantised(rgb: np.ndarray, bits: int = 8) -> np.ndarray:
    """A picture to whole numbers, rounded to the nearest and clipped.

    Args:
      rgb: [rows, columns, 3] float, 0..1, values outside are clipped; or uint16, 65535 for 1.
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
        if rgb.dtype == np.uint16:
            values = values / np.float32(65535)
        if not np.isfinite(values).all():
            raise InputError(
                f"the picture has values that are not finite numbers (the first in row {row}), "
                f"so it was not written: the network's weights or its input are broken"
            )
        whole[row] = np.rint(np.multiply(np.clip(values, 0, 1), top, dtype=np.float64))
    return whole


def upright(picture: np.ndarray, flip: int) -> np.ndarray:
    """Turns a picture as the file's orientation asks for.

    Args:
      picture: [rows, columns, ...] in the sensor's orientation.
      flip: LibRaw's code: 1 mirrors columns, 2 mirrors rows, and after that 4 swaps rows and
        columns; 3 is half a turn, 5 a quarter turn to the left and 6 one to the right.

    Returns:
      A view of the picture.
    """
    if flip & 2:
        picture = picture[::-1]
    if flip & 1:
        picture = picture[:, ::-1]
    return picture.swapaxes(0, 1) if flip & 4 else picture


def png_bytes(rgb: np.ndarray, bits: int = 8) -> bytes:
    """A picture [rows, columns, 3] in 0..1 as a PNG file of 8 or 16 bit; see `quantised`."""
    whole = quantised(rgb, bits)
    if bits == 8:
        plain = iio.imwrite("<bytes>", whole, extension=".png", compress_type=zlib.Z_RLE)
    else:
        # imageio's PNG writer cannot store 16 bit in colour. TensorFlow takes seconds to import.
        import tensorflow as tf

        plain = tf.io.encode_png(whole, compression=_ZLIB_LEVEL).numpy()
    # The sRGB chunk, rendering intent 0 (perceptual), stands between IHDR and the pixels.
    chunk = b"sRGB\0"
    header = 8 + 25  # signature and IHDR
    marked = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return plain[:header] + marked + plain[header:]


def jpeg_bytes(rgb: np.ndarray) -> bytes:
    """A float picture [rows, columns, 3] in 0..1 as a JPEG file with full colour resolution."""
    return iio.imwrite(
        "<bytes>",
        quantised(rgb),
        extension=".jpg",
        quality=_JPEG_QUALITY,
        subsampling="4:4:4",
        icc_profile=srgb_profile(),
    )


def tiff_bytes(rgb: np.ndarray, bits: int = 16) -> bytes:
    """A picture [rows, columns, 3] in 0..1 as a TIFF file of 8 or 16 bit, packed by zlib."""
    check_kind("tiff16")
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        quantised(rgb, bits),
        photometric="rgb",
        compression="zlib",
        compressionargs={"level": _ZLIB_LEVEL},
        predictor=True,
        metadata=None,
        software=False,
        iccprofile=srgb_profile(),
        extratags=[(274, 3, 1, 1, True)],  # upright
    )
    return file.getvalue()


def srgb_profile() -> bytes:
    """The ICC profile of sRGB, the same bytes every time."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Date and time of its making, in the profile's header.
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of picture file.

    Attributes:
      suffix: of the file's name, with the dot.
      encode: function of a float picture [rows, columns, 3] in 0..1 that returns the file.
      help: for the flag's help.
    """

    suffix: str
    encode: Callable[[np.ndarray], bytes]
    help: str


FORMATS = {
    "png": Format(".png", png_bytes, "PNG of 8 bit"),
    "png16": Format(".png", lambda rgb: png_bytes(rgb, 16), "PNG of 16 bit"),
    "jpeg": Format(".jpg", jpeg_bytes, f"JPEG of quality {_JPEG_QUALITY}"),
    "tiff16": Format(".tif", tiff_bytes, "TIFF of 16 bit"),
}


def check_kind(kind: str) -> None:
    """Raises InputError if pictures of this kind, a key of `FORMATS`, cannot be written here."""
    if kind == "tiff16" and importlib.util.find_spec("tifffile") is None:
        raise InputError(
            'TIFF needs the package tifffile, which is not installed: pip install "dbp_tf[tiff]"'
        )


def write_png(path: str | os.PathLike, rgb: np.ndarray, bits: int = 8) -> None:
    """As `write_picture`, PNG of 8 or 16 bit."""
    write_picture(path, rgb, {8: "png", 16: "png16"}[bits])


def write_picture(
    path: str | os.PathLike, rgb: np.ndarray, kind: str = "png", overwrite: bool = True
) -> None:
    """Writes a picture whole or not at all.

    Args:
      path: file to write or replace.
      rgb: [rows, columns, 3] float, sRGB in 0..1; values outside are clipped.
      kind: a key of `FORMATS`.
      overwrite: replace a file that is there.

    Raises:
      InputError: a value is not a finite number, the picture is not [rows, columns, 3], or the
        file is there and not `overwrite`.
    """
    if not overwrite and pathlib.Path(path).exists():
        raise InputError(f"{path} exists already: give --overwrite to replace it")
    try:
        files.write_whole(path, FORMATS[kind].encode(rgb))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
