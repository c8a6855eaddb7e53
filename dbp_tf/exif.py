"""How a raw file was taken: capture time, exposure and camera, from its EXIF tags.

Only these few tags are read, from the file's first kilobytes and wherever they point to, without
LibRaw, which would decode the whole picture first. Raw files are TIFF files (DNG, ARW, NEF, CR2,
ORF, RW2 and most others) or carry TIFF inside: Fuji's RAF in its preview JPEG, Canon's CR3 in
boxes of an ISO media file. What cannot be read is unknown, never an error.
"""

import contextlib
import dataclasses
import datetime
import io
import pathlib
import struct

# Tags of TIFF 6.0 and EXIF 2.32.
_MAKE, _MODEL, _DATE_TIME = 0x010F, 0x0110, 0x0132
_EXIF_DIRECTORY = 0x8769
_EXPOSURE_TIME, _F_NUMBER, _ISO = 0x829A, 0x829D, 0x8827
_TIME_ORIGINAL, _SUBSECOND, _SUBSECOND_ORIGINAL = 0x9003, 0x9290, 0x9291

# Size in bytes and struct code of the TIFF types used here: BYTE, ASCII, SHORT, LONG, RATIONAL.
_TYPES = {1: (1, "B"), 2: (1, "s"), 3: (2, "H"), 4: (4, "I"), 5: (8, "II")}

# 42 of TIFF; the other two signatures are Olympus' and Panasonic's.
_SIGNATURES = (42, 0x4F52, 0x5352, 0x0055)

# Real directories have some hundred entries at most, texts some dozen characters: what goes
# beyond is damaged, and would only cost time and memory.
_MOST_ENTRIES = 1000
_MOST_BYTES = 256
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
                    _read_tiff(file, start, tags)
    except (OSError, EOFError, ValueError, struct.error):
        pass
    return _shot_of(tags)


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


def _read_tiff(file, start, tags):
    """Adds the tags of the first directory, and of the EXIF directory it names, to `tags`."""
    order = {b"II": "<", b"MM": ">"}.get(_read(file, start, 2))
    if order is None:
        return
    signature, directory = struct.unpack(order + "HI", _read(file, start + 2, 6))
    if signature not in _SIGNATURES:
        return
    found = _read_directory(file, start, directory, order)
    tags.update(found)
    exif = found.get(_EXIF_DIRECTORY)
    if isinstance(exif, int):
        tags.update(_read_directory(file, start, exif, order))


def _read_directory(file, start, directory, order):
    (count,) = struct.unpack(order + "H", _read(file, start + directory, 2))
    found = {}
    file.seek(start + directory + 2)
    entries = file.read(12 * min(count, _MOST_ENTRIES))
    for at in range(0, len(entries) - 11, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", entries, at)
        if tag not in _WANTED or kind not in _TYPES or not values:
            continue
        size, code = _TYPES[kind]
        length = min(values * size, _MOST_BYTES) if code == "s" else size
        data = entries[at + 8 : at + 12]
        if values * size > 4:
            (offset,) = struct.unpack(order + "I", data)
            try:
                data = _read(file, start + offset, length)
            except EOFError:
                continue
        if code == "s":
            text = data[:length].split(b"\0")[0].decode("latin-1").strip()
            found[tag] = text
        else:
            numbers = struct.unpack_from(order + code, data)
            found[tag] = numbers[0] if len(numbers) == 1 else numbers
    return found


_WANTED = frozenset(
    {_MAKE, _MODEL, _DATE_TIME, _EXIF_DIRECTORY, _EXPOSURE_TIME, _F_NUMBER, _ISO}
    | {_TIME_ORIGINAL, _SUBSECOND, _SUBSECOND_ORIGINAL}
)


def _shot_of(tags):
    camera = " ".join(tags[tag] for tag in (_MAKE, _MODEL) if isinstance(tags.get(tag), str))
    captured, subsecond = _time(tags, _TIME_ORIGINAL, _SUBSECOND_ORIGINAL)
    if captured is None:
        captured, subsecond = _time(tags, _DATE_TIME, _SUBSECOND)
    iso = tags.get(_ISO)
    return Shot(
        camera=camera.strip() or None,
        exposure=_fraction(tags.get(_EXPOSURE_TIME)),
        f_number=_fraction(tags.get(_F_NUMBER)),
        iso=iso if isinstance(iso, int) and iso > 0 else None,
        captured=captured,
        subsecond=subsecond,
    )


def _fraction(value):
    if isinstance(value, tuple) and value[0] > 0 and value[1] > 0:
        return value[0] / value[1]
    return None


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
