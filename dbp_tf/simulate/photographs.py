"""Photographs: read from a file, made smaller, and cut to sizes that pack evenly."""

import contextlib
import itertools
import math
import os
import pathlib

import numpy as np

from dbp_tf.errors import InputError
from dbp_tf.raw import cameras
from dbp_tf.simulate.unprocess import linear_to_srgb, srgb_to_linear

SAMPLE = pathlib.Path(__file__).parent / "samples" / "astronaut.jpg"

# Smallest raw files, in pixels a side: LibRaw 0.22 refuses to develop smaller X-Trans files; a
# Bayer file has to survive the four poolings of the low-resolution network.
_LEAST_SIDE = {"bayer": 64, "xtrans": 512}

# EXIF's tag, and those of its values by which rows and columns change places.
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


@contextlib.contextmanager
def _opened(path):
    """The photograph as a Pillow image whose pixels have not been read."""
    from PIL import Image

    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"there is no photograph {path}")
    try:
        with Image.open(path) as picture:
            if picture.mode in ("I", "F"):
                raise InputError(
                    f"{path} holds 32-bit numbers and does not say which of them is white: save "
                    f"it with 8 bits"
                )
            yield picture
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{path} has more pixels than Pillow reads: make it smaller") from None
    except (OSError, ValueError, SyntaxError):
        raise InputError(
            f"{path} is not a picture, or a damaged one: give a JPEG, PNG or TIFF"
        ) from None


def photo_shape(path: str | os.PathLike, reduce: int = 1) -> tuple[int, int]:
    """(rows, columns) that `load_photo` would return, from the file's header; errors alike."""
    with _opened(path) as picture:
        columns, rows = picture.size
        if picture.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
            rows, columns = columns, rows
    return rows // reduce, columns // reduce


def load_photo(path: str | os.PathLike, reduce: int = 1) -> np.ndarray:
    """Reads a photograph.

    Args:
      path: any picture of 8 bits, or of 16 bits grey, that Pillow reads; taken as sRGB, turned
        upright, alpha dropped.
      reduce: whole factor by which it is made smaller, each pixel the mean light of
        reduce x reduce. From 2 on the photograph's own noise and its own interpolated colours
        mostly vanish.

    Returns:
      [rows, columns, 3] float32 sRGB in 0..1.

    Raises:
      InputError: no such file, not a picture, or one of 32 bits.
    """
    from PIL import ImageOps

    with _opened(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            # Pillow would clip these to 255 on their way to RGB.
            grey = np.asarray(upright).astype(np.float32) / np.float32(65535)
            photo = np.repeat(grey[..., np.newaxis], 3, axis=-1)
        else:
            photo = np.asarray(upright.convert("RGB")).astype(np.float32) / np.float32(255)
    if reduce == 1:
        return photo
    rows, columns = photo.shape[0] // reduce, photo.shape[1] // reduce
    blocks = srgb_to_linear(photo[: rows * reduce, : columns * reduce])
    blocks = blocks.reshape(rows, reduce, columns, reduce, 3)
    return linear_to_srgb(blocks.mean((1, 3))).astype(np.float32)


def tiles(
    photo: np.ndarray,
    camera: cameras.Camera,
    size: int | None = None,
    count: int = 1,
    name: str | os.PathLike = "the photograph",
) -> list[np.ndarray]:
    """Cuts a photograph to sizes that pack to an even number of rows and columns.

    Args:
      photo: [rows, columns, 3].
      camera: `cameras.Camera`; its raw sizes are multiples of 4 (Bayer) or 12 (X-Trans).
      size: side of square tiles, rounded up to such a multiple; None for the whole photograph
        less its last few rows and columns.
      count: number of tiles, those nearest to the centre first; 0 for as many as there are.
      name: of the photograph, for errors.

    Returns:
      list of [rows, columns, 3]. Where the photograph lacks the last few pixels of a tile it
      is continued by its mirror image.

    Raises:
      InputError: the photograph is smaller than a tile, or than the least that LibRaw develops.
    """
    side, grid = _cut(photo.shape[:2], camera, size, name)
    rows, columns = side
    photo = _centre(_mirrored(photo, side), (grid[0] * rows, grid[1] * columns))
    corners = list(itertools.product(range(grid[0]), range(grid[1])))
    corners.sort(key=lambda at: math.dist(at, ((grid[0] - 1) / 2, (grid[1] - 1) / 2)))
    return [
        photo[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
        for row, column in corners[: count or None]
    ]


def count_tiles(
    shape: tuple[int, int],
    camera: cameras.Camera,
    size: int | None = None,
    count: int = 1,
    name: str | os.PathLike = "the photograph",
) -> int:
    """How many tiles `tiles` cuts from a photograph of that shape; arguments and errors alike."""
    most = math.prod(_cut(shape, camera, size, name)[1])
    return min(count or most, most)


def _cut(shape, camera, size, name):
    """(rows and columns of a tile, tiles down and across); see `tiles`."""
    step = 2 * camera.layout.period
    least = _LEAST_SIDE[camera.mosaic]
    if size is not None and size < least:
        raise InputError(
            f"--size {size} is too small: a raw file of --camera {camera.name} needs at "
            f"least {least} rows and columns"
        )
    if min(shape) < (size or least):
        raise InputError(
            f"{name} comes to {shape[0]} rows and {shape[1]} columns, but at least "
            f"{size or least} of each are needed: give a larger photograph, or smaller --reduce "
            f"or --size ({camera.mosaic} raw files need {least})"
        )
    if size is None:
        side = [n // step * step if n // step * step >= least else _up(n, step) for n in shape]
        return side, (1, 1)
    side = _up(size, step)
    return (side, side), [max(1, n // side) for n in shape]


def _up(number, step):
    return -(-number // step) * step


def _mirrored(photo, side):
    """The photograph, continued by its mirror image where it has less than `side` pixels."""
    margins = [(0, max(0, side[axis] - photo.shape[axis])) for axis in (0, 1)]
    return np.pad(photo, [*margins, (0, 0)], mode="reflect")


def _centre(photo, side):
    """The middle of the photograph, `side` rows and columns."""
    top, left = ((photo.shape[axis] - side[axis]) // 2 for axis in (0, 1))
    return photo[top : top + side[0], left : left + side[1]]
