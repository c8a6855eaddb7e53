"""When and how a raw file was taken, which LibRaw does not tell in full.

The tags are read without LibRaw, which would decode the whole picture first. Raw files are TIFF
files or carry TIFF inside: Fuji's RAF in its preview JPEG, Canon's CR3 in boxes of an ISO media
file. A value that cannot be read is unknown, never an error.
"""

import contextlib
import dataclasses
import datetime
import io
import os
import pathlib
import struct

from dbp_tf.raw import tiff

# Tags of TIFF 6.0 and EXIF 2.32.
_MAKE, _MODEL, _DATE_TIME, _EXIF_DIRECTORY = 0x010F, 0x0110, 0x0132, 0x8769
_EXPOSURE_TIME, _F_NUMBER, _ISO = 0x829A, 0x829D, 0x8827
_TIME_ORIGINAL, _SUBSECOND, _SUBSECOND_ORIGINAL = 0x9003, 0x9290, 0x9291

# Boxes and segments of a damaged file could go on without end.
_MOST_BOXES = 200

# A clock that was never set says 1970 or 1980 at the earliest; other years are damage.
_FIRST_YEAR, _LAST_YEAR = 1970, 2200


@dataclasses.dataclass(frozen=True)
class Shot:
    """A raw file and how it was taken; a value that the file does not say is None.

    Attributes:
      path: the file.
      camera: manufacturer and model.
      exposure: in seconds.
      f_number: of the aperture.
      iso: sensitivity.
      captured: start of the exposure by the camera's clock, whole seconds.
      subsecond: to be added to `captured`, in seconds below 1.
    """

    path: pathlib.Path
    camera: str | None = None
    exposure: float | None = None
    f_number: float | None = None
    iso: float | None = None
    captured: datetime.datetime | None = None
    subsecond: float | None = None


def read_shot(path: str | os.PathLike[str]) -> Shot:
    """The `Shot` of a raw file; all unknown if the file is missing, damaged or of another kind."""
    path = pathlib.Path(path)
    tags: tiff.Tags = {}
    with contextlib.suppress(*tiff.ERRORS), path.open("rb") as file:
        for start in _tiff_starts(file):
            # Tags before the damage in a directory are kept.
            with contextlib.suppress(*tiff.ERRORS):
                for found in tiff.directories(file, start, _EXIF_DIRECTORY):
                    tags.update(found)
    return _shot_of(path, tags)


def _tiff_starts(file):
    """Yields the positions of the TIFF headers in a raw file."""
    head = tiff.read(file, 0, 16)
    if head[:2] in (b"II", b"MM"):
        yield 0
    elif head.startswith(b"FUJIFILMCCD-RAW"):
        (preview,) = struct.unpack(">I", tiff.read(file, 84, 4))
        yield from _exif_of_jpeg(file, preview)
    elif head.startswith(b"\xff\xd8"):
        yield from _exif_of_jpeg(file, 0)
    elif head[4:12] == b"ftypcrx ":
        size = file.seek(0, io.SEEK_END)
        yield from _boxes_of_cr3(file, 0, size, [_MOST_BOXES])


def _exif_of_jpeg(file, position):
    """Yields where the TIFF header of a JPEG's EXIF segment lies."""
    if tiff.read(file, position, 2) != b"\xff\xd8":
        return
    position += 2
    for _ in range(_MOST_BOXES):
        marker, size = struct.unpack(">HH", tiff.read(file, position, 4))
        if marker == 0xFFE1 and tiff.read(file, position + 4, 6) == b"Exif\0\0":
            yield position + 10
            return
        if marker >> 8 != 0xFF or marker == 0xFFDA:
            return
        position += 2 + size


def _boxes_of_cr3(file, position, end, left):
    """Yields where the TIFF headers of the boxes CMT1 (image) and CMT2 (EXIF) lie."""
    while position + 8 <= end and left[0]:
        left[0] -= 1
        size, kind = struct.unpack(">I4s", tiff.read(file, position, 8))
        if size < 8:
            return
        if kind in (b"CMT1", b"CMT2"):
            yield position + 8
        elif kind in (b"moov", b"uuid"):
            inside = position + (24 if kind == b"uuid" else 8)
            yield from _boxes_of_cr3(file, inside, min(position + size, end), left)
        position += size


def _shot_of(path, tags):
    camera = " ".join(tags[tag] for tag in (_MAKE, _MODEL) if isinstance(tags.get(tag), str))
    captured, subsecond = _time(tags, _TIME_ORIGINAL, _SUBSECOND_ORIGINAL)
    if captured is None:
        captured, subsecond = _time(tags, _DATE_TIME, _SUBSECOND)
    return Shot(
        path=path,
        camera=camera.strip() or None,
        exposure=_positive(tags, _EXPOSURE_TIME),
        f_number=_positive(tags, _F_NUMBER),
        iso=_positive(tags, _ISO),
        captured=captured,
        subsecond=subsecond,
    )


def _positive(tags, tag):
    """The first number of a tag if it is above zero, else None."""
    value = (tiff.numbers(tags, tag) or (0,))[0]
    return value if value > 0 else None


def _time(tags, tag, subsecond_tag):
    text, digits = tags.get(tag), tags.get(subsecond_tag)
    try:
        captured = datetime.datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except (TypeError, ValueError):
        return None, None
    if not _FIRST_YEAR <= captured.year <= _LAST_YEAR:
        return None, None
    if isinstance(digits, str) and digits.isascii() and digits.isdigit():
        return captured, float(f"0.{digits}")
    return captured, None
