"""A camera as the method needs it: mosaic, levels, colour and noise. What is impossible is refused.

`cameras` has the built-in ones and reads those of JSON files.
"""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Sequence

import numpy as np

from dbp_tf.errors import InputError
from dbp_tf.raw import packing

Colours = tuple[float, float, float]

# Raw files hold 16 bits at the most.
_MOST_DN = 65535

# What numbers of `Noise` can be. Tukey's lambda distribution has no standard deviation from the
# shape -0.5 on down; from 1 on up it is one without tails, which no sensor has.
_LIMITS = {
    "iso": {"above": 0},
    "gain_dn_per_electron": {"above": 0, "high": _MOST_DN},
    "read_noise_dn": {"low": 0, "high": _MOST_DN},
    "row_noise_dn": {"low": 0, "high": _MOST_DN},
    "column_noise_dn": {"low": 0, "high": _MOST_DN},
    "fixed_pattern_dn": {"low": 0, "high": _MOST_DN},
    "read_noise_shape": {"above": -0.5, "high": 1.0},
    "black_error_spread_dn": {"low": 0, "high": _MOST_DN},
}

# Condition numbers of real sensors' matrices lie below 10; that of a matrix that loses a colour
# reaches many millions.
_MOST_CONDITION = 1e4
# Some tables have a matrix times 10000. A DNG file holds it in steps of 0.0001.
_MOST_OF_MATRIX, _LEAST_WHITE = 100_000, 0.01

# Disks take names of 255 bytes, and those of folders are longer than their camera's.
_MOST_NAME_BYTES = 100

# Linear sRGB to CIE XYZ, white D65 (IEC 61966-2-1), with the digits LibRaw uses.
SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """One standard deviation of the numbers of `Noise` of the same name.

    None, null in a file, is unknown; not a number becomes that.
    """

    gain_dn_per_electron: float | None = None
    read_noise_dn: float | None = None
    read_noise_shape: float | None = None
    row_noise_dn: float | None = None
    black_error_dn: Colours | None = None
    black_error_spread_dn: float | None = None
    column_noise_dn: float | None = None
    fixed_pattern_dn: float | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or (isinstance(value, float) and math.isnan(value)):
                value = None
            elif field.name == "black_error_dn":
                value = _colours(value, field.name, low=0)
            else:
                _check_number(value, field.name, low=0)
            object.__setattr__(self, field.name, value)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise of one sensor at one ISO setting. DN are those of the camera's raw files.

    Attributes:
      iso: the ISO setting.
      gain_dn_per_electron: DN per electron; scales the shot noise.
      read_noise_dn: standard deviation of the read noise of a pixel.
      read_noise_shape: shape of its Tukey lambda distribution: 0 is the logistic one, 0.14 nearly a
        normal one, less has heavier tails; above -0.5, at most 1.
      row_noise_dn: standard deviation of the offset that a row's pixels share, drawn for each
        frame.
      black_error_dn: mean error of the black level (R, G, B): what frames without light lie above
        `Camera.black` on average.
      uncertainty: of these numbers.
      black_error_spread_dn: standard deviation of each colour's error about that mean from burst
        to burst. The default is the spread over the colours in ELD's calibrations of five
        cameras: 0.02 to 0.4, 0.24 on average.
      column_noise_dn: standard deviation of the offset that a column's pixels share, drawn for
        each frame.
      fixed_pattern_dn: standard deviation of the offset of a pixel that is the same in all frames
        of a burst.
    """

    iso: float
    gain_dn_per_electron: float
    read_noise_dn: float
    read_noise_shape: float
    row_noise_dn: float
    black_error_dn: Colours
    uncertainty: Uncertainty
    black_error_spread_dn: float = 0.25
    column_noise_dn: float = 0.0
    fixed_pattern_dn: float = 0.0

    def __post_init__(self):
        for name, limits in _LIMITS.items():
            _check_number(getattr(self, name), name, **limits)
        black_error = _colours(self.black_error_dn, "black_error_dn", low=-_MOST_DN, high=_MOST_DN)
        object.__setattr__(self, "black_error_dn", black_error)
        if not isinstance(self.uncertainty, Uncertainty):
            raise InputError(f"uncertainty is an object, not {shown(self.uncertainty)}")


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera as the method sees it. DN are those of its raw files.

    Attributes:
      name: what folders and messages call it.
      mosaic: "bayer" or "xtrans".
      black: raw value of no light, in DN.
      white: raw value of saturation, in DN.
      xyz_to_camera: 3x3 row-major matrix, XYZ (D65) to linear camera RGB.
      white_balance: multipliers (R, G, B) of daylight, brought to green 1: they turn the matrix's
        image of D65 white into equal values.
      noise: `Noise` at each calibrated ISO setting, by rising ISO.
      model: the manufacturer's name of the body; the name by default.
      suffix: ending of the dataset's and of simulated raw files, with the dot.
      pattern: the colour filters of one period from the picture's first pixel on, row by row:
        "RGGB", "GBRG" and so on, or 36 letters for X-Trans. By default where the published
        layout starts.
      padded_columns: columns the published evaluation adds at the right of a packed frame.
      source: where the numbers come from.
    """

    name: str
    mosaic: str
    black: float
    white: float
    xyz_to_camera: tuple[Colours, Colours, Colours]
    white_balance: Colours
    noise: tuple[Noise, ...]
    model: str = ""
    suffix: str = ".dng"
    pattern: str = ""
    padded_columns: int = 0
    source: str = ""

    def __post_init__(self):
        for name in ("name", "mosaic", "model", "suffix", "pattern", "source"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputError(f"{name} is a text, not {shown(value)}")
        _check_name(self.name)
        if self.mosaic not in packing.LAYOUTS:
            raise InputError(
                f"mosaic is one of {', '.join(packing.LAYOUTS)}, not {shown(self.mosaic)}"
            )
        _check_number(self.black, "black", low=0)
        _check_number(self.white, "white", above=0, high=_MOST_DN)
        if self.white <= self.black:
            raise InputError(f"white is {self.white:g}, which is not above black {self.black:g}")
        object.__setattr__(self, "xyz_to_camera", _matrix(self.xyz_to_camera))
        red, green, blue = _colours(self.white_balance, "white_balance", low=0.01, high=100_000)
        balance = red / green, 1.0, blue / green
        _colours(balance, "white_balance, its green brought to 1,", low=0.01, high=100)
        object.__setattr__(self, "white_balance", balance)
        object.__setattr__(self, "noise", _by_iso(self.noise))
        if not re.fullmatch(r"\.\w{1,10}", self.suffix):
            raise InputError(f"suffix is like .ARW, not {shown(self.suffix)}")
        object.__setattr__(self, "model", self.model or self.name)
        object.__setattr__(self, "pattern", self.pattern or "".join(self.layout.colours))
        if packing.phase_of(self.filters, self.layout) is None:
            raise InputError(
                f"pattern is {shown(self.pattern)}, but the filters of {self.mosaic} are "
                + (
                    "RGGB, GRBG, GBRG or BGGR"
                    if self.layout is packing.BAYER
                    else f"the 36 letters {''.join(self.layout.colours)}, or these moved along"
                )
            )
        if type(self.padded_columns) is not int or self.padded_columns not in range(0, 1025, 2):
            raise InputError(
                f"padded_columns is an even number, 0 to 1024, not {shown(self.padded_columns)}"
            )

    @property
    def layout(self) -> packing.Layout:
        """How its mosaics are packed."""
        return packing.LAYOUTS[self.mosaic]

    @property
    def channels(self) -> int:
        """Packed channels C (4 Bayer, 9 X-Trans)."""
        return self.layout.channels

    @property
    def scale(self) -> int:
        """Output pixels per packed pixel S (2 Bayer, 3 X-Trans)."""
        return self.layout.scale

    @property
    def filters(self) -> tuple[str, ...]:
        """`pattern` as strings of R, G, B, one for each row of the filters' period."""
        period = self.layout.period
        rows = range(0, len(self.pattern), period)
        return tuple(self.pattern[start : start + period] for start in rows)

    @property
    def reference_frame(self) -> str:
        """Reference of the published evaluation of this mosaic, "first" or "center"."""
        return "first" if self.mosaic == "bayer" else "center"

    @property
    def contextual_weight(self) -> float:
        """Weight of the contextual loss in the published training for this mosaic."""
        return 1.0 if self.mosaic == "bayer" else 0.1


def shown(value: object) -> str:
    """A value as JSON shows it, cut to a readable length."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:60] + "..."


def _check_number(value, key, low=None, high=None, above=None):
    # No number is larger; of a whole one with hundreds of digits, isfinite would make a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise InputError(f"{key} is a finite number, not {shown(value)}")
    for wrong, limit in (
        (above is not None and value <= above, f"has to be above {above}"),
        (low is not None and value < low, f"has to be at least {low}"),
        (high is not None and value > high, f"can be {high} at the most"),
    ):
        if wrong:
            raise InputError(f"{key} is {value:g}, but {limit}")


def _colours(values, key, low=None, high=None):
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        raise InputError(f"{key} is three numbers [R, G, B], not {shown(values)}")
    for value, colour in zip(values, "RGB", strict=True):
        _check_number(value, f"{key} of {colour}", low, high)
    return tuple(values)


def _check_name(name):
    allowed = name.isprintable() and not re.search(r'[/\\:*?"<>|]', name)
    if not allowed or not name.strip() or name != name.strip() or name.startswith((".", "-")):
        raise InputError(
            f"name is {shown(name)}, but folders are called by it: give one without / and other "
            f"signs that a file name cannot have"
        )
    size = len(name.encode())
    if size > _MOST_NAME_BYTES:
        raise InputError(
            f"name takes {size} bytes: give a shorter one, of {_MOST_NAME_BYTES} at the most"
        )


def _matrix(rows):
    key = "xyz_to_camera"
    if not isinstance(rows, Sequence) or isinstance(rows, str) or len(rows) != 3:
        raise InputError(f"{key} is three rows of three numbers, not {shown(rows)}")
    rows = tuple(
        _colours(row, f"{key}, row {number},", low=-_MOST_OF_MATRIX, high=_MOST_OF_MATRIX)
        for number, row in enumerate(rows, 1)
    )
    matrix = np.array(rows, float)
    if np.linalg.cond(matrix) > _MOST_CONDITION:
        raise InputError(f"{key} is {shown(rows)}, which cannot be inverted: it loses a colour")
    if not (matrix @ SRGB_TO_XYZ.sum(1) >= _LEAST_WHITE).all():
        raise InputError(f"{key} is {shown(rows)}, for which white light gives hardly a signal")
    return rows


def _by_iso(noise):
    if not isinstance(noise, Sequence) or isinstance(noise, str) or not noise:
        raise InputError(f"noise is a list with an entry for each ISO setting, not {shown(noise)}")
    if not all(isinstance(entry, Noise) for entry in noise):
        raise InputError(f"noise is a list of objects, not {shown(noise)}")
    noise = tuple(sorted(noise, key=lambda entry: entry.iso))
    for entry, after in itertools.pairwise(noise):
        if entry.iso == after.iso:
            raise InputError(f"noise has two entries of iso {entry.iso:g}: remove one of them")
    return noise
