"""Changes of the mosaic that a DNG file asks for: its opcodes, a phone's lens shading among them.

Source: Digital Negative Specification, version 1.7.1.0, Adobe 2023, chapter 7.
"""

import contextlib
import dataclasses
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

# Opcodes by number: name, and the effect of leaving it out.
_BENT = "lines may bend: straighten them in the picture"
_DOTS = "bright or dark dots may stay: retouch them in the picture"
_TONES = "tones or corners may differ from the maker's: compare with the maker's picture"
_OPCODE_NAMES = {
    1: ("WarpRectilinear", _BENT),
    2: ("WarpFisheye", "lines bend: straighten them in the picture"),
    3: ("FixVignetteRadial", "corners stay darker: brighten them in the picture"),
    4: ("FixBadPixelsConstant", _DOTS),
    5: ("FixBadPixelsList", _DOTS),
    6: ("TrimBounds", "the margin stays: crop the picture"),
    7: ("MapTable", _TONES),
    8: ("MapPolynomial", _TONES),
    9: ("GainMap", _TONES),
    10: ("DeltaPerRow", _TONES),
    11: ("DeltaPerColumn", _TONES),
    12: ("ScalePerRow", _TONES),
    13: ("ScalePerColumn", _TONES),
    14: ("WarpRectilinear2", _BENT),
}
# Opcodes that change values in place; see `_change`.
_CHANGING = range(7, 14)
_MOST_OPCODES = 200


@dataclasses.dataclass(frozen=True)
class Opcode:
    """A change of the linear mosaic in an area of it.

    Attributes:
      area: (top, left, bottom, right) in the active area.
      pitch: steps from one changed row, and column, to the next.
      change: from (values, rows, columns, shape) to values: [n, m] float32, 0 at the black and 1
        at the white level, their indices [n] and [m] in the active area, and its shape.
    """

    area: tuple[int, int, int, int]
    pitch: tuple[int, int]
    change: Callable[[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]], np.ndarray]

    def apply(self, signal: np.ndarray, start: int, shape: tuple[int, int]) -> None:
        """Changes the rows of the active area from `start` on, in place.

        Args:
          signal: [n, columns] float32, 0 at the black and 1 at the white level.
          start: index of its first row in the active area.
          shape: rows and columns of the active area.
        """
        top, left, bottom, right = self.area
        rows = np.arange(top, min(bottom, shape[0]), self.pitch[0])
        rows = rows[(rows >= start) & (rows < start + len(signal))]
        columns = np.arange(left, min(right, shape[1]), self.pitch[1])
        if len(rows) and len(columns):
            place = np.ix_(rows - start, columns)
            signal[place] = self.change(signal[place], rows, columns, shape)


def read_opcodes(data: Any, list_number: int) -> tuple[list[Opcode], list[str]]:
    """Reads an opcode list.

    Args:
      data: value of its tag as `tiff` reads it; None without one.
      list_number: 1, 2 or 3.

    Returns:
      (opcodes that change the mosaic, in order; sentences about the others).
    """
    if isinstance(data, tuple) and all(number in range(256) for number in data):
        # A writer may call the bytes BYTE instead of UNDEFINED.
        data = bytes(data)
    if not isinstance(data, bytes):
        return [], []
    found, undone, at = [], {}, 4
    with contextlib.suppress(struct.error):
        (count,) = struct.unpack_from(">I", data)
        for _ in range(min(count, _MOST_OPCODES)):
            code, _, _, size = struct.unpack_from(">4I", data, at)
            parameters = data[at + 16 : at + 16 + size]
            at += 16 + size
            name, meaning = _OPCODE_NAMES.get(code, (f"opcode {code}", _TONES))
            # Lists 1 and 3 are for samples before linearisation and after demosaicing.
            if list_number == 2 and code in _CHANGING and (opcode := _opcode(name, parameters)):
                found.append(opcode)
            else:
                undone[name] = meaning
    return found, [
        f"the file asks for {name} (OpcodeList{list_number}), which is not done; {meaning}"
        for name, meaning in undone.items()
    ]


def _opcode(name, parameters):
    """The `Opcode` of a name and its parameters; None if it is damaged."""
    try:
        top, left, bottom, right, plane, _, *pitch = struct.unpack_from(">8I", parameters)
        change = _change(name, parameters[32:], (top, left), pitch)
    except (struct.error, ValueError, OverflowError):
        return None
    # A mosaic has one plane.
    if plane or min(pitch) < 1:
        return None
    return Opcode((top, left, bottom, right), tuple(pitch), change)


def _change(name, data, corner, pitch):
    if name == "GainMap":
        points = struct.unpack_from(">2I", data)
        spacing, origin = struct.unpack_from(">2d", data, 8), struct.unpack_from(">2d", data, 24)
        (planes,) = struct.unpack_from(">I", data, 40)
        if not np.isfinite([*spacing, *origin]).all():
            raise ValueError("damaged")
        gains = _floats(data, 44, points[0] * points[1] * planes, ">f4")
        gains = gains.reshape(*points, planes)[..., 0]
        return functools.partial(_gain, gains=gains, spacing=spacing, origin=origin)
    (count,) = struct.unpack_from(">I", data)
    if name == "MapPolynomial":
        coefficients = _floats(data, 4, count + 1, ">f8")
        return lambda values, rows, columns, shape: np.polynomial.polynomial.polyval(
            np.clip(values, 0, 1), coefficients
        )
    if name == "MapTable":
        table = _floats(data, 4, count, ">u2") / 65535
        return lambda values, rows, columns, shape: table[
            np.rint(np.clip(values, 0, 1) * 65535).astype(int).clip(max=count - 1)
        ]
    numbers = _floats(data, 4, count, ">f4")

    def of_each(values, rows, columns, shape):
        by_row = name.endswith("Row")
        index = (rows - corner[0]) // pitch[0] if by_row else (columns - corner[1]) // pitch[1]
        factor = numbers[index.clip(max=count - 1)]
        factor = factor[:, None] if by_row else factor
        return values * factor if name.startswith("Scale") else values + factor

    return of_each


def _floats(data, start, count, kind):
    """[count] float32 of numbers in `data`; raises ValueError if there are fewer, or none."""
    with np.errstate(over="ignore"):
        numbers = np.frombuffer(data, kind, count, start).astype(np.float32)
    if not count or not np.isfinite(numbers).all():
        raise ValueError("damaged")
    return numbers


def _gain(values, rows, columns, shape, gains, spacing, origin):
    """Multiplies by gains [V, H] that are interpolated between points of the active area."""
    for axis, places in enumerate((rows, columns)):
        # Points are counted from `origin` on, in shares of the active area.
        at = ((places + 0.5) / shape[axis] - origin[axis]) / (spacing[axis] or 1)
        at = np.clip(at, 0, gains.shape[axis] - 1)
        low = at.astype(int)
        high = np.minimum(low + 1, gains.shape[axis] - 1)
        share = np.expand_dims((at - low).astype(np.float32), 1 - axis)
        gains = gains.take(low, axis) * (1 - share) + gains.take(high, axis) * share
    return values * gains
