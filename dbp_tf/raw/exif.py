"""What LibRaw does not tell of a raw file: how it was taken, and all black levels of a DNG file.

Only these few tags are read, from the file's first kilobytes and wherever they point to, without
LibRaw, which would decode the whole picture first. Raw files are TIFF files (DNG, ARW, NEF, CR2,
ORF, RW2 and most others) or carry TIFF inside: Fuji's RAF in its preview JPEG, Canon's CR3 in
boxes of an ISO media file. What cannot be read is unknown, never an error.
"""

import contextlib
import dataclasses
import datetime
import io
import math
import pathlib
import struct

# Tags of TIFF 6.0, EXIF 2.32 and DNG 1.4.
_MAKE, _MODEL, _DATE_TIME = 0x010F, 0x0110, 0x0132
_EXIF_DIRECTORY, _SUB_DIRECTORIES = 0x8769, 0x014A
_EXPOSURE_TIME, _F_NUMBER, _ISO = 0x829A, 0x829D, 0x8827
_TIME_ORIGINAL, _SUBSECOND, _SUBSECOND_ORIGINAL = 0x9003, 0x9290, 0x9291
_PHOTOMETRIC, _COLOUR_FILTERS = 0x0106, 32803
_DNG_VERSION, _BLACK_REPEAT, _BLACK_LEVEL, _ACTIVE_AREA = 0xC612, 0xC619, 0xC61A, 0xC68D

# Size in bytes and struct code of the TIFF types used here: BYTE, ASCII, SHORT, LONG, RATIONAL and
# IFD, the place of a directory.
_TYPES = {1: (1, "B"), 2: (1, "s"), 3: (2, "H"), 4: (4, "I"), 5: (8, "II"), 13: (4, "I")}

# 42 of TIFF; the other two signatures are Olympus' and Panasonic's.
_SIGNATURES = (42, 0x4F52, 0x5352, 0x0055)

# Real directories have some hundred entries at most, texts some dozen characters, blocks of black
# levels 64 numbers: what goes far beyond is damaged, and would only cost time and memory.
_MOST_ENTRIES = 1000
_MOST_BYTES = 4096
_MOST_DIRECTORIES = 16
_MOST_BOXES = 200

# A clock that was never set says 1970 or 1980 at the earliest; other years are damage.
_FIRST_YEAR, _LAST_YEAR = 1970, 2200


@dataclasses.dataclass(frozen=True)
class Shot:
    """How one file was taken; None for what the file does not say.

    Attributes:
      camera: manufacturer and model.
      exposure: in seconds.
      f_number: of the aperture.
      iso: sensitivity.
      captured: start of the exposure by the camera's clock, whole seconds.
      subsecond: what is to be added to `captured`, in seconds below 1.
    """

    camera: str | None = None
    exposure: float | None = None
    f_number: float | None = None
    iso: int | None = None
    captured: datetime.datetime | None = None
    subsecond: float | None = None


def read_shot(path):
    """The `Shot` of a raw file; all unknown if the file is missing, damaged or of another kind."""
    tags = {}
    try:
        with pathlib.Path(path).open("rb") as file:
            for start in _tiff_starts(file):
                # A directory that is damaged half way keeps what was read before.
                with contextlib.suppress(EOFError, ValueError, struct.error):
                    for found in _directories(file, start, _EXIF_DIRECTORY):
                        tags.update(found)
    except (OSError, EOFError, ValueError, struct.error):
        pass
    return _shot_of(tags)


def read_black_levels(path):
    """The black levels that stand in a DNG file, in DN.

    Returns:
      The block of levels that repeats over the sensor's raw pixels, from the very first one on, as
      a list of rows; None if the file is no DNG, holds no levels, or cannot be read.
    """
    is_dng = False
    with contextlib.suppress(OSError, EOFError, ValueError, struct.error):
        with pathlib.Path(path).open("rb") as file:
            # The raw picture stands in the first directory, or below it if a preview does.
            for tags in _directories(file, 0, _SUB_DIRECTORIES):
                is_dng = is_dng or _DNG_VERSION in tags
                if is_dng and tags.get(_PHOTOMETRIC) == (_COLOUR_FILTERS,):
                    return _black_levels_of(tags)
    return None


def _black_levels_of(tags):
    rows, columns = map(int, _numbers(tags, _BLACK_REPEAT) or (1, 1))
    levels = _numbers(tags, _BLACK_LEVEL)
    # Not `level < 0`, which a damaged fraction would pass.
    if not levels or rows * columns != len(levels) or not all(0 <= one < 65536 for one in levels):
        return None
    # They are noted from the active area's corner on.
    top, left = map(int, (_numbers(tags, _ACTIVE_AREA) or (0, 0))[:2])
    return [
        [
            levels[(row - top) % rows * columns + (column - left) % columns]
            for column in range(columns)
        ]
        for row in range(rows)
    ]


def _read(file, position, count):
    file.seek(position)
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _tiff_starts(file):
    """Yields the positions of the TIFF headers in a raw file."""
    head = _read(file, 0, 16)
    if head[:2] in (b"II", b"MM"):
        yield 0
    elif head.startswith(b"FUJIFILMCCD-RAW"):
        (preview,) = struct.unpack(">I", _read(file, 84, 4))
        yield from _exif_of_jpeg(file, preview)
    elif head[4:12] == b"ftypcrx ":
        size = file.seek(0, io.SEEK_END)
        yield from _boxes_of_cr3(file, 0, size, [_MOST_BOXES])


def _exif_of_jpeg(file, position):
    """Yields where the TIFF header of a JPEG's EXIF segment lies."""
    if _read(file, position, 2) != b"\xff\xd8":
        return
    position += 2
    for _ in range(_MOST_BOXES):
        marker, size = struct.unpack(">HH", _read(file, position, 4))
        if marker == 0xFFE1 and _read(file, position + 4, 6) == b"Exif\0\0":
            yield position + 10
            return
        if marker >> 8 != 0xFF or marker == 0xFFDA:
            return
        position += 2 + size


def _boxes_of_cr3(file, position, end, left):
    """Yields where the TIFF headers of the boxes CMT1 (image) and CMT2 (EXIF) lie."""
    while position + 8 <= end and left[0]:
        left[0] -= 1
        size, kind = struct.unpack(">I4s", _read(file, position, 8))
        if size < 8:
            return
        if kind in (b"CMT1", b"CMT2"):
            yield position + 8
        elif kind == b"moov":
            yield from _boxes_of_cr3(file, position + 8, min(position + size, end), left)
        elif kind == b"uuid":
            yield from _boxes_of_cr3(file, position + 24, min(position + size, end), left)
        position += size


def _directories(file, start, below):
    """Yields the tags of the first directory of a TIFF header and of those its tag `below` names.

    Each is {tag: text or tuple of numbers}; a fraction without a denominator is not a number.
    """
    order = {b"II": "<", b"MM": ">"}.get(_read(file, start, 2))
    if order is None:
        return
    signature, directory = struct.unpack(order + "HI", _read(file, start + 2, 6))
    if signature not in _SIGNATURES:
        return
    first = _read_directory(file, start, directory, order)
    yield first
    for place in map(int, _numbers(first, below)[:_MOST_DIRECTORIES]):
        yield _read_directory(file, start, place, order)


def _read_directory(file, start, directory, order):
    (count,) = struct.unpack(order + "H", _read(file, start + directory, 2))
    found = {}
    file.seek(start + directory + 2)
    entries = file.read(12 * min(count, _MOST_ENTRIES))
    for at in range(0, len(entries) - 11, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", entries, at)
        # Of a tag that is there more than once, in a damaged file, the first counts.
        if tag not in _WANTED or tag in found or kind not in _TYPES or not values:
            continue
        size, code = _TYPES[kind]
        length = min(values * size, _MOST_BYTES)
        data = entries[at + 8 : at + 12]
        if length > 4:
            (offset,) = struct.unpack(order + "I", data)
            try:
                data = _read(file, start + offset, length)
            except EOFError:
                continue
        if code == "s":
            found[tag] = data[:length].split(b"\0")[0].decode("latin-1").strip()
        else:
            numbers = struct.iter_unpack(order + code, data[:length])
            found[tag] = tuple(_number(*one) for one in numbers)
    return found


def _number(numerator, denominator=1):
    if denominator == 1:
        return numerator
    return numerator / denominator if denominator else math.nan


def _numbers(tags, tag):
    """The numbers of a tag; none if it is missing or, in a damaged file, a text."""
    values = tags.get(tag)
    return values if isinstance(values, tuple) else ()


_WANTED = frozenset(
    {_MAKE, _MODEL, _DATE_TIME, _EXIF_DIRECTORY, _EXPOSURE_TIME, _F_NUMBER, _ISO}
    | {_TIME_ORIGINAL, _SUBSECOND, _SUBSECOND_ORIGINAL}
    | {_SUB_DIRECTORIES, _PHOTOMETRIC, _DNG_VERSION, _BLACK_REPEAT, _BLACK_LEVEL, _ACTIVE_AREA}
)


def _shot_of(tags):
    camera = " ".join(tags[tag] for tag in (_MAKE, _MODEL) if isinstance(tags.get(tag), str))
    captured, subsecond = _time(tags, _TIME_ORIGINAL, _SUBSECOND_ORIGINAL)
    if captured is None:
        captured, subsecond = _time(tags, _DATE_TIME, _SUBSECOND)
    return Shot(
        camera=camera.strip() or None,
        exposure=_positive(tags, _EXPOSURE_TIME),
        f_number=_positive(tags, _F_NUMBER),
        iso=_positive(tags, _ISO),
        captured=captured,
        subsecond=subsecond,
    )


def _positive(tags, tag):
    """The first number of a tag if it is above zero, else None."""
    value = (_numbers(tags, tag) or (0,))[0]
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
