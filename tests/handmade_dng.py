"""DNG files tag by tag: either byte order, every type, with or without a preview in front."""

import struct

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
SLONG, SRATIONAL, FLOAT, DOUBLE = 9, 10, 11, 12
_CODES = {1: "B", 3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d"}

# The least that LibRaw needs: version, mosaic of RG/GB, one strip; and usual levels and colours.
_COLOUR = {
    50706: (BYTE, (1, 7, 1, 0)),  # DNGVersion
    271: (ASCII, "Handmade"),  # Make
    50708: (ASCII, "Handmade One"),  # UniqueCameraModel
    50721: (SRATIONAL, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)),  # ColorMatrix1
    50778: (SHORT, 21),  # CalibrationIlluminant1, D65
    50728: (RATIONAL, (1, 2, 1, 1, 5, 8)),  # AsShotNeutral: multipliers 2, 1, 1.6
}
_RAW = {
    254: (LONG, 0),  # NewSubFileType
    258: (SHORT, 16),  # BitsPerSample
    259: (SHORT, 1),  # Compression
    262: (SHORT, 32803),  # PhotometricInterpretation: colour filters
    277: (SHORT, 1),  # SamplesPerPixel
    33421: (SHORT, (2, 2)),  # CFARepeatPatternDim
    33422: (BYTE, (0, 1, 1, 2)),  # CFAPattern
    50714: (SHORT, 512),  # BlackLevel
    50717: (SHORT, 16383),  # WhiteLevel
}


def write(path, mosaic, tags=(), order="<", below=False):
    """Writes a file.

    Args:
      path: the file.
      mosaic: [rows, columns] uint16, or bytes as they are to stand there.
      tags: {tag: (type, numbers, text or bytes)}; None instead leaves the tag out.
      order: "<" (Intel) or ">" (Motorola).
      below: the raw picture stands in a directory below the first one, as beside a preview.
    """
    tags = dict(tags)
    data = mosaic
    raw = dict(_RAW)
    if isinstance(mosaic, np.ndarray):
        data = mosaic.astype(order + mosaic.dtype.str[1:]).tobytes()
        rows, columns = mosaic.shape
        raw |= {256: (LONG, columns), 257: (LONG, rows), 278: (LONG, rows)}
    raw |= {273: (LONG, 0), 279: (LONG, len(data))}
    colour = dict(_COLOUR)
    for tag, value in tags.items():
        (colour if tag in colour or tag in (50730, 50729, 50727, 50707) else raw)[tag] = value
    first, second = (colour | {254: (LONG, 1)}, raw) if below else (colour | raw, None)
    size = 8 + len(_directory(first | {330: (LONG, 0)} if below else first, 8, order))
    if second is not None:
        first[330] = (LONG, size)  # SubIFDs
        data_at = size + len(_directory(second, size, order))
        second[273] = (LONG, data_at)
    else:
        first[273] = (LONG, size)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    blocks = _directory(first, 8, order)
    blocks += _directory(second, size, order) if second is not None else b""
    path.write_bytes(head + blocks + data)
    return path


def _directory(tags, at, order):
    tags = {tag: value for tag, value in sorted(tags.items()) if value is not None}
    head, tail = struct.pack(order + "H", len(tags)), b""
    beyond = at + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in tags.items():
        if kind == ASCII:
            data = value.encode() + b"\0"
            count = len(data)
        elif isinstance(value, bytes):
            data, count = value, len(value)
        else:
            numbers = value if isinstance(value, tuple) else (value,)
            data = struct.pack(order + str(len(numbers)) + _CODES[kind], *numbers)
            count = len(numbers) // (2 if kind in (RATIONAL, SRATIONAL) else 1)
        if len(data) > 4:
            place = beyond + len(tail)
            tail += data + b"\0" * (len(data) % 2)
            data = struct.pack(order + "I", place)
        head += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    return head + bytes(4) + tail
