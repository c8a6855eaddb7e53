"""The tags of a DNG file that change the meaning of its samples, and what LibRaw leaves undone.

LibRaw applies LinearizationTable, ActiveArea, MaskedAreas, Orientation and whole black levels. Here
are fractions of the black level, its differences between rows and columns, and the changes of the
mosaic that `opcodes` reads. The rest is put into words.

Source: Digital Negative Specification, version 1.7.1.0, Adobe 2023.
"""

import contextlib
import dataclasses
import os
import pathlib

import numpy as np

from dbp_tf.raw import tiff
from dbp_tf.raw.opcodes import Opcode, read_opcodes

# Tags of the picture itself.
_SUBFILE, _COMPRESSION, _PHOTOMETRIC, _SUB_DIRECTORIES = 254, 259, 262, 330
_SAMPLE_FORMAT, _CFA_PATTERN, _PLANE_COLOURS, _CFA_LAYOUT = 339, 33422, 50710, 50711
_STRIPS, _TILES = (273, 279), (324, 325)  # places and lengths in bytes
_BLACK_REPEAT, _BLACK, _DELTA_COLUMNS, _DELTA_ROWS = 50713, 50714, 50715, 50716
_WHITE, _ACTIVE_AREA = 50717, 50829
_SUB_TILE, _ROW_INTERLEAVE, _COLUMN_INTERLEAVE = 50974, 50975, 52547
_NOISE_REDUCTION, _OPCODES = 50935, (51008, 51009, 51022)

# Tags of the first directory.
_VERSION, _BACKWARD_VERSION = 50706, 50707
_MATRICES, _CALIBRATIONS, _ILLUMINANTS = (50721, 50722), (50723, 50724), (50778, 50779)
_ANALOG_BALANCE, _WHITE_XY = 50727, 50729
_BASELINE_EXPOSURE, _LINEAR_LIMIT = 50730, 50734

_LONG = frozenset({_DELTA_COLUMNS, _DELTA_ROWS, *_OPCODES, *_STRIPS, *_TILES})

_COLOUR_FILTERS, _LINEAR = 32803, 34892
_UNSIGNED, _FLOATING_POINT = 1, 3
_LATEST = (1, 7, 1, 0)

# Compressions that LibRaw does not read, and programs that do.
_COMPRESSIONS = {
    9: "VC-5, GoPro's GPR, which LibRaw does not read: convert it to DNG with GoPro's gpr_tools",
    52546: "JPEG XL, which LibRaw does not read: set the camera to lossless compression, or "
    "convert the file to DNG 1.6 or older with Adobe DNG Converter",
}

# Kelvin of EXIF's light sources.
_KELVIN = {
    1: 5500, 2: 4200, 3: 2850, 4: 5500, 9: 5500, 10: 6500, 11: 7500, 12: 6430, 13: 5000, 14: 4200,
    15: 3450, 17: 2856, 18: 4874, 19: 6774, 20: 5503, 21: 6504, 22: 7504, 23: 5003, 24: 3200,
}  # fmt: skip

_BAND_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Facts:
    """A DNG file's statements about its samples; the defaults say nothing.

    Attributes:
      black: [rows, columns] levels in DN that repeat from the active area's first pixel on.
      delta_rows, delta_columns: black level of each row and column of the active area besides.
      white: white level in DN.
      area: (top, left, bottom, right) of the active area in the raw pixels; None if it is all of
        them.
      floating_point: whether the samples are no whole numbers, which LibRaw scales to 14 bits.
      opcodes: changes of the mosaic that are to be made, in this order.
      white_balance: (R, G, B), green 1, of AsShotWhiteXY.
      refusal: why the samples cannot be used, the rest of a sentence that begins with the file.
      compression: a compression that LibRaw does not read and the way out, the rest of a sentence.
      size: bytes that the file has at the least if it is whole.
      notes: sentences about what the file asks for and is not done.
    """

    black: np.ndarray | None = None
    delta_rows: np.ndarray | None = None
    delta_columns: np.ndarray | None = None
    white: float | None = None
    area: tuple[int, int, int, int] | None = None
    floating_point: bool = False
    opcodes: tuple[Opcode, ...] = ()
    white_balance: tuple[float, float, float] | None = None
    refusal: str | None = None
    compression: str | None = None
    size: int = 0
    notes: tuple[str, ...] = ()

    @property
    def mean_delta(self) -> float:
        """Mean of the differences between rows and columns, in DN."""
        deltas = (self.delta_rows, self.delta_columns)
        return float(sum(delta.mean() for delta in deltas if delta is not None))


def black_at(
    block: np.ndarray, area: tuple[int, ...] | None, top: int, left: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Black level [rows, columns] of raw pixels from (top, left) on, in DN.

    Args:
      block: `Facts.black`.
      area: `Facts.area`.
      top, left: of the first pixel in the raw pixels.
      shape: rows and columns.
    """
    corner = (area or (0, 0))[:2]
    rows, columns = (
        (start + np.arange(size) - margin) % period
        for start, size, margin, period in zip((top, left), shape, corner, block.shape, strict=True)
    )
    return block[np.ix_(rows, columns)]


def read_facts(path: str | os.PathLike[str]) -> Facts:
    """The `Facts` of a file; empty if it is no DNG or cannot be read."""
    first: tiff.Tags = {}
    pictures: list[tiff.Tags] = []
    with contextlib.suppress(*tiff.ERRORS), pathlib.Path(path).open("rb") as file:
        for tags in tiff.directories(file, 0, _SUB_DIRECTORIES, _LONG):
            first = first or tags
            pictures.append(tags)
    if _VERSION not in first:
        return Facts()
    kinds = (_COLOUR_FILTERS, _LINEAR)
    pictures = [tags for tags in pictures if _number(tags, _PHOTOMETRIC) in kinds]
    # The picture proper comes before reduced ones, and a mosaic before a demosaiced one.
    pictures.sort(
        key=lambda tags: (
            _number(tags, _SUBFILE, 0) != 0,
            _number(tags, _PHOTOMETRIC) != _COLOUR_FILTERS,
        )
    )
    return _facts_of(first, pictures[0]) if pictures else Facts()


def correct(samples: np.ndarray, facts: Facts, black: float, white: float) -> None:
    """Makes the changes that a file asks for and LibRaw leaves undone, in place.

    Black level differences of rows and columns become the same everywhere; opcodes change the
    signal above the black level. Values are rounded to whole DN.

    Args:
      samples: [rows, columns] uint16, all of the sensor's raw pixels.
      facts: of the file.
      black: level in DN of a file that says none.
      white: level in DN.
    """
    if facts.delta_rows is None and facts.delta_columns is None and not facts.opcodes:
        return
    top, left, bottom, right = facts.area or (0, 0, *samples.shape)
    active = samples[top:bottom, left:right]
    deltas = [np.zeros(size, np.float32) for size in active.shape]
    for delta, given in zip(deltas, (facts.delta_rows, facts.delta_columns), strict=True):
        if given is not None and len(given) == len(delta):
            delta[:] = given
    mean = np.float32(facts.mean_delta)
    block = np.array([[black]]) if facts.black is None else facts.black
    span = np.float32(white - block.max() - mean)
    for start in range(0, len(active), _BAND_ROWS):
        band = active[start : start + _BAND_ROWS]
        level = black_at(block, facts.area, top + start, left, band.shape).astype(np.float32)
        signal = band - level
        signal -= deltas[0][start : start + len(band), None] + deltas[1]
        if facts.opcodes and span > 0:
            signal /= span
            most = np.maximum(signal, 1)
            # Damaged opcodes may go beyond any number.
            with np.errstate(all="ignore"):
                for opcode in facts.opcodes:
                    opcode.apply(signal, start, active.shape)
            signal = np.nan_to_num(np.clip(signal, -8, most)) * span
        signal += level + mean
        band[:] = np.clip(np.rint(signal), 0, 65535)


def _number(tags, tag, default=None):
    """The first number of a tag."""
    return (_finite(tags, tag) or (default,))[0]


def _finite(tags, tag, count=None):
    """The numbers of a tag; none if there are not `count`, or one is no number."""
    values = tiff.numbers(tags, tag)
    return values if count in (None, len(values)) and np.isfinite(values).all() else ()


def _facts_of(first, picture):
    both = first | picture
    notes = _notes(both)
    changes = []
    for list_number, tag in enumerate(_OPCODES, 1):
        found, undone = read_opcodes(picture.get(tag), list_number)
        changes += found
        notes += undone
    compression = _number(picture, _COMPRESSION)
    white = _number(picture, _WHITE)
    return Facts(
        black=_black(picture),
        delta_rows=_deltas(picture, _DELTA_ROWS),
        delta_columns=_deltas(picture, _DELTA_COLUMNS),
        white=white if white and white > 0 else None,
        area=_area(picture),
        floating_point=_number(picture, _SAMPLE_FORMAT) == _FLOATING_POINT,
        opcodes=tuple(changes),
        white_balance=_balance_of_white(both),
        refusal=_refusal(picture),
        compression=_COMPRESSIONS.get(compression),
        size=_size(picture),
        notes=tuple(notes),
    )


def _size(tags):
    ends = [
        place + length
        for places, lengths in (_STRIPS, _TILES)
        for place, length in zip(_finite(tags, places), _finite(tags, lengths), strict=False)
    ]
    return int(max(ends, default=0))


def _area(tags):
    area = _finite(tags, _ACTIVE_AREA, 4)
    return tuple(map(int, area)) if area and min(area) >= 0 else None


def _black(tags):
    rows, columns = map(int, _finite(tags, _BLACK_REPEAT, 2) or (1, 1))
    levels = np.array(_finite(tags, _BLACK), float)
    if not len(levels) or rows * columns != len(levels) or rows < 1:
        return None
    in_range = (levels >= 0) & (levels < 65536)
    return levels.reshape(rows, columns) if in_range.all() else None


def _deltas(tags, tag):
    deltas = np.array(_finite(tags, tag), float)
    return deltas if len(deltas) and (np.abs(deltas) < 65536).all() else None


def _refusal(tags):
    layout = _number(tags, _CFA_LAYOUT, 1)
    if layout != 1:
        return (
            f"has its pixels in staggered rows or columns (CFALayout {layout:g}), which is neither "
            f"Bayer nor X-Trans: use a camera with a rectangular sensor"
        )
    # LibRaw takes the planes for red, green and blue whatever the file calls them.
    planes = _finite(tags, _PLANE_COLOURS) or (0, 1, 2)
    if planes[:3] != (0, 1, 2) or not {0, 1, 2}.issuperset(_finite(tags, _CFA_PATTERN)):
        return (
            "has colour filters other than red, green and blue, in this order (CFAPlaneColor, "
            "CFAPattern), which LibRaw would mix up: use a camera with a Bayer or X-Trans sensor"
        )
    kind = _number(tags, _SAMPLE_FORMAT, _UNSIGNED)
    if kind not in (_UNSIGNED, _FLOATING_POINT):
        return (
            f"has samples of a type that DNG does not know (SampleFormat {kind:g}): write it anew "
            f"with unsigned samples"
        )
    for tag, name in (
        (_ROW_INTERLEAVE, "RowInterleaveFactor"),
        (_COLUMN_INTERLEAVE, "ColumnInterleaveFactor"),
        (_SUB_TILE, "SubTileBlockSize"),
    ):
        if any(number != 1 for number in tiff.numbers(tags, tag)):
            return (
                f"stores its rows or columns out of order ({name}), which LibRaw does not undo: "
                f"write it anew with Adobe DNG Converter"
            )
    return None


def _notes(tags):
    notes = []
    exposure = _number(tags, _BASELINE_EXPOSURE, 0.0)
    if 0.1 <= abs(exposure) < 20:
        notes.append(
            f"the file asks to be brightened by {exposure:+.2g} stops (BaselineExposure), which is "
            f"not done: multiply the exposure ratio by {2**exposure:.2g} if you give one"
        )
    limit = _number(tags, _LINEAR_LIMIT, 1.0)
    if 0 < limit < 1:
        notes.append(
            f"the sensor is linear up to {100 * limit:.0f} % of its range only "
            f"(LinearResponseLimit): highlights may be coloured; if so, give a lower white level"
        )
    reduction = _number(tags, _NOISE_REDUCTION, 0.0)
    if reduction > 0:
        notes.append(
            "noise was reduced before the file was written (NoiseReductionApplied): detail that "
            "is lost cannot be restored; switch noise reduction off in the camera"
        )
    version = tiff.numbers(tags, _BACKWARD_VERSION)
    if version > _LATEST:
        notes.append(
            f"the file asks for a reader of DNG {'.'.join(map(str, version))}, but this one knows "
            f"{'.'.join(map(str, _LATEST))}: compare the picture with the maker's"
        )
    if _number(tags, _SAMPLE_FORMAT) == _FLOATING_POINT:
        notes.append("its floating-point samples are rounded to 14 bits")
    return notes


def _balance_of_white(tags):
    """Multipliers (R, G, B), green 1, under which the white of AsShotWhiteXY is grey; or None."""
    xy = _finite(tags, _WHITE_XY, 2)
    matrices = [_matrix(tags, *pair) for pair in zip(_MATRICES, _CALIBRATIONS, strict=True)]
    if not xy or not min(xy) > 0 or matrices[0] is None:
        return None
    kelvin = [_KELVIN.get(_number(tags, tag)) for tag in _ILLUMINANTS]
    matrix = matrices[0]
    if matrices[1] is not None and None not in kelvin and kelvin[0] != kelvin[1]:
        # Correlated colour temperature (McCamy 1992); matrices mix by its inverse.
        n = (xy[0] - 0.3320) / ((0.1858 - xy[1]) or 1e-9)
        temperature = np.clip(((437 * n + 3601) * n + 6861) * n + 5517, *sorted(kelvin))
        share = (1 / temperature - 1 / kelvin[0]) / (1 / kelvin[1] - 1 / kelvin[0])
        matrix = (1 - share) * matrices[0] + share * matrices[1]
    gains = _finite(tags, _ANALOG_BALANCE, 3)
    neutral = matrix @ [xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]]
    neutral = neutral * (gains or 1)
    if not min(neutral) > 0:
        return None
    return float(neutral[1] / neutral[0]), 1.0, float(neutral[1] / neutral[2])


def _matrix(tags, matrix, calibration):
    """[3, 3] XYZ to camera colours, calibrated; None if the file does not say or has no three."""
    values = _finite(tags, matrix, 9)
    if not values:
        return None
    own = np.reshape(_finite(tags, calibration, 9) or np.eye(3), (3, 3))
    return own @ np.reshape(values, (3, 3))
