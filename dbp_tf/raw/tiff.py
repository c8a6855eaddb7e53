"""The tags of TIFF files, which most raw files are: DNG, ARW, NEF, CR2, ORF, RW2 and others.

Pillow's reader takes none of Olympus' and Panasonic's headers, and the values of damaged files at
any size. Here a value that cannot be read is left out or raises one of `ERRORS`, and no count in a
damaged file costs more than a little memory.
"""

import math
import struct
from collections.abc import Collection, Iterator
from typing import BinaryIO

# Errors of reading a damaged file.
ERRORS = (OSError, EOFError, ValueError, struct.error)

# A text, bytes of no type, or numbers.
Tags = dict[int, str | bytes | tuple[float, ...]]

# Struct code of each type of TIFF 6.0, from 1 on, and at the end of the place of a directory.
_CODES = ("B", "s", "H", "I", "II", "b", "s", "h", "i", "ii", "f", "d", "I")
_TEXT, _BYTES = 2, 7

# 42 of TIFF; the other signatures are Olympus' and Panasonic's.
_SIGNATURES = (42, 0x4F52, 0x5352, 0x0055)

# Real directories have some hundred entries at most and texts some dozen characters. Opcode lists
# are the longest values that are read to the end.
_MOST_ENTRIES = 1000
_MOST_DIRECTORIES = 16
_MOST_BYTES = 4096
_MOST_BYTES_OF_LONG = 1 << 22


def read(file: BinaryIO, position: int, count: int) -> bytes:
    """Reads `count` bytes; raises EOFError if there are fewer."""
    file.seek(position)
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def directories(
    file: BinaryIO, start: int, below: int, long: Collection[int] = ()
) -> Iterator[Tags]:
    """Yields the tags of the first directory and of those below it.

    Long values are cut off. A fraction without a denominator is not a number (nan).

    Args:
      file: open for reading bytes.
      start: position of the TIFF header.
      below: tag of the first directory that says where other directories are.
      long: tags that are read to the end.

    Raises:
      One of `ERRORS`.
    """
    order = {b"II": "<", b"MM": ">"}.get(read(file, start, 2))
    if order is None:
        return
    signature, place = struct.unpack(order + "HI", read(file, start + 2, 6))
    if signature not in _SIGNATURES:
        return
    first = _directory(file, start, place, order, long)
    yield first
    for place in numbers(first, below)[:_MOST_DIRECTORIES]:
        yield _directory(file, start, int(place), order, long)


def numbers(tags: Tags, tag: int) -> tuple[float, ...]:
    """The numbers of a tag; none if it is missing or, in a damaged file, a text."""
    values = tags.get(tag)
    return values if isinstance(values, tuple) else ()


def _directory(file, start, place, order, long):
    (count,) = struct.unpack(order + "H", read(file, start + place, 2))
    entries = file.read(12 * min(count, _MOST_ENTRIES))
    found = {}
    for at in range(0, len(entries) - 11, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", entries, at)
        # If a damaged file has a tag more than once, the first one counts.
        if tag in found or not 1 <= kind <= len(_CODES) or not values:
            continue
        code = order + _CODES[kind - 1]
        most = _MOST_BYTES_OF_LONG if tag in long else _MOST_BYTES
        length = min(values * struct.calcsize(code), most)
        data = entries[at + 8 : at + 12]
        if length > 4:
            (offset,) = struct.unpack(order + "I", data)
            try:
                data = read(file, start + offset, length)
            except EOFError:
                continue
        data = data[:length]
        if kind == _TEXT:
            found[tag] = data.split(b"\0")[0].decode("latin-1").strip()
        elif kind == _BYTES:
            found[tag] = data
        else:
            found[tag] = tuple(_number(*parts) for parts in struct.iter_unpack(code, data))
    return found


def _number(numerator, denominator=1):
    if denominator == 1:
        return numerator
    return numerator / denominator if denominator else math.nan
