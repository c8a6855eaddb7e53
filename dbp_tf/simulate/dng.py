"""Raw files: a mosaic becomes an uncompressed DNG file."""

import datetime
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbp_tf import files
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras
from dbp_tf.raw.mosaics import colour_indices

SHORT_EXPOSURE = 0.1  # seconds, the commonest of the dataset


def write_dng(
    path: str | os.PathLike,
    samples: np.ndarray,
    camera: cameras.Camera,
    exposure: float = SHORT_EXPOSURE,
    captured: datetime.datetime | None = None,
    pattern: Sequence[str] | None = None,
    black: ArrayLike | None = None,
    orientation: int = 1,
    iso: float | None = None,
) -> None:
    """Writes a mosaic as an uncompressed DNG file.

    Args:
      path: the file; an existing one is replaced, in one step.
      samples: [rows, columns] uint16 in DN.
      camera: `cameras.Camera`: white level, colour matrix, white balance, name.
      exposure: exposure time in seconds.
      captured: `datetime.datetime` of the shot, kept to milliseconds; None leaves it out.
      pattern: strings of R, G, B, one for each row of the filters' period (2x2 or 6x6); the
        camera's by default.
      black: black level of each filter site [period, period], in DN; the camera's by default.
      orientation: 1 to 8 as in TIFF and EXIF.
      iso: the ISO setting; None leaves it out.

    Raises:
      InputError: tifffile is not installed, or the file cannot be written.
    """
    try:
        import tifffile
    except ImportError:
        raise InputError(
            'writing raw files needs tifffile: pip install "dbp_tf[simulate]"'
        ) from None

    path = pathlib.Path(path)
    colours = colour_indices(pattern or camera.filters)
    levels = np.array([[camera.black]] if black is None else black)
    model = f"{camera.model} (simulated)"
    neutral = [round(1e6 / multiplier) for multiplier in camera.white_balance]
    matrix = [round(1e4 * value) for row in camera.xyz_to_camera for value in row]
    time = round(1e6 * exposure)
    tags = [
        ("Make", "s", 0, "dbp_tf", True),
        ("Model", "s", 0, model, True),
        ("Orientation", "H", 1, orientation, True),
        ("CFARepeatPatternDim", "H", 2, colours.shape, True),
        ("CFAPattern", "B", colours.size, colours.astype(np.uint8).tobytes(), True),
        ("ExposureTime", "2I", 1, (time, 1000000), True),
        ("DNGVersion", "B", 4, (1, 4, 0, 0), True),
        ("DNGBackwardVersion", "B", 4, (1, 1, 0, 0), True),
        ("UniqueCameraModel", "s", 0, model, True),
        ("CFAPlaneColor", "B", 3, (0, 1, 2), True),
        ("CFALayout", "H", 1, 1, True),
        ("BlackLevelRepeatDim", "H", 2, levels.shape, True),
        ("BlackLevel", *_black_level(levels), True),
        ("WhiteLevel", "I", 1, round(camera.white), True),
        ("ColorMatrix1", "2i", 9, [n for value in matrix for n in (value, 10000)], True),
        ("AsShotNeutral", "2I", 3, [n for value in neutral for n in (value, 1000000)], True),
        ("CalibrationIlluminant1", "H", 1, 21, True),  # D65
    ]
    # TIFF/EP puts these beside the image's own tags; tifffile writes no EXIF directory.
    if iso is not None:
        tags.append(("ISOSpeedRatings", "H", 1, min(round(iso), 65535), True))
    if captured is not None:
        tags += [
            ("DateTimeOriginal", "s", 0, captured.strftime("%Y:%m:%d %H:%M:%S"), True),
            ("SubsecTimeOriginal", "s", 0, f"{captured.microsecond // 1000:03d}", True),
        ]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        samples,
        photometric="cfa",
        metadata=None,
        software="dbp_tf.simulate",
        datetime=captured,
        extratags=[(tifffile.TIFF.TAGS[tag[0]], *tag[1:]) for tag in tags],
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, file.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error})") from None


def _black_level(levels):
    """(type, count, value) of the tag: whole numbers, or fractions with a denominator of 1000."""
    if np.array_equal(levels, np.rint(levels)):
        return "H", levels.size, tuple(levels.astype(int).ravel().tolist())
    return "2I", levels.size, [n for level in levels.ravel() for n in (round(1000 * level), 1000)]
