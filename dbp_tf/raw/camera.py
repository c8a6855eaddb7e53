"""Cameras: mosaic, levels, colour and noise, as the method needs them and a JSON file holds them.

    camera = cameras.load("mycamera.json")  # as python -m dbp_tf.calibrate writes it
    camera = cameras.camera_named("sony")  # a built-in one, of the See-in-the-Dark dataset

The JSON file has the fields of `Camera` for keys; its "noise" is a list of objects with those of
`Noise`, whose "uncertainty" has those of `Uncertainty`. Fields that have a default may be left out.

Level and layout facts of the built-in cameras are those of the published code. Their colour
matrices are Adobe's XYZ (D65) to camera coefficients as LibRaw lists them for each model.
"""

import collections
import dataclasses
import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbp_tf import files
from dbp_tf.errors import InputError, printable
from dbp_tf.raw import packing

Colours = tuple[float, float, float]

# Raw files hold 16 bits at the most.
_MOST_DN = 65535

# Tukey's lambda distribution has no standard deviation from this shape on down; from 1 on up it is
# one without tails, which no sensor has.
_LEAST_SHAPE, _MOST_SHAPE = -0.5, 1.0

# Real sensors' matrices lie below 10; a matrix that loses a colour reaches many millions.
_MOST_CONDITION = 1e4

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
        _check_number(self.iso, "iso", above=0)
        _check_number(self.gain_dn_per_electron, "gain_dn_per_electron", above=0, high=_MOST_DN)
        for name in ("read_noise_dn", "row_noise_dn", "column_noise_dn", "fixed_pattern_dn"):
            _check_number(getattr(self, name), name, low=0, high=_MOST_DN)
        _check_number(
            self.read_noise_shape, "read_noise_shape", above=_LEAST_SHAPE, high=_MOST_SHAPE
        )
        black_error = _colours(self.black_error_dn, "black_error_dn", low=-_MOST_DN, high=_MOST_DN)
        object.__setattr__(self, "black_error_dn", black_error)
        _check_number(self.black_error_spread_dn, "black_error_spread_dn", low=0, high=_MOST_DN)
        if not isinstance(self.uncertainty, Uncertainty):
            raise InputError(f"uncertainty is an object, not {_shown(self.uncertainty)}")


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
                raise InputError(f"{name} is a text, not {_shown(value)}")
        _check_name(self.name)
        if self.mosaic not in packing.LAYOUTS:
            raise InputError(
                f"mosaic is one of {', '.join(packing.LAYOUTS)}, not {_shown(self.mosaic)}"
            )
        _check_number(self.black, "black", low=0)
        _check_number(self.white, "white", above=0, high=_MOST_DN)
        if self.white <= self.black:
            raise InputError(f"white is {self.white:g}, which is not above black {self.black:g}")
        object.__setattr__(self, "xyz_to_camera", _matrix(self.xyz_to_camera))
        red, green, blue = _colours(self.white_balance, "white_balance", low=0.01, high=100_000)
        balance = red / green, 1.0, blue / green
        object.__setattr__(self, "white_balance", balance)
        object.__setattr__(self, "noise", _by_iso(self.noise))
        if not re.fullmatch(r"\.\w{1,10}", self.suffix):
            raise InputError(f"suffix is like .ARW, not {_shown(self.suffix)}")
        object.__setattr__(self, "model", self.model or self.name)
        object.__setattr__(self, "pattern", self.pattern or "".join(self.layout.colours))
        if packing.phase_of([list(row) for row in self.filters], self.layout) is None:
            raise InputError(
                f"pattern is {_shown(self.pattern)}, but the filters of a {self.mosaic} mosaic are "
                + (
                    "RGGB, GRBG, GBRG or BGGR"
                    if self.layout is packing.BAYER
                    else f"the 36 letters {''.join(self.layout.colours)}, or these moved along"
                )
            )
        if type(self.padded_columns) is not int or self.padded_columns not in range(0, 1025, 2):
            raise InputError(
                f"padded_columns is an even number, 0 to 1024, not {_shown(self.padded_columns)}"
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


def _shown(value):
    """A value as JSON shows it, cut to a readable length."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:60] + "..."


def _check_number(value, key, low=None, high=None, above=None):
    # No number is larger; of a whole one with hundreds of digits, isfinite would make a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise InputError(f"{key} is a finite number, not {_shown(value)}")
    for wrong, limit in (
        (above is not None and value <= above, f"has to be above {above}"),
        (low is not None and value < low, f"has to be at least {low}"),
        (high is not None and value > high, f"can be {high} at the most"),
    ):
        if wrong:
            raise InputError(f"{key} is {value:g}, but {limit}")


def _colours(values, key, low=None, high=None):
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        raise InputError(f"{key} is three numbers [R, G, B], not {_shown(values)}")
    for value, colour in zip(values, "RGB", strict=True):
        _check_number(value, f"{key} of {colour}", low, high)
    return tuple(values)


def _check_name(name):
    allowed = name.isprintable() and not re.search(r'[/\\:*?"<>|]', name)
    if not allowed or not name.strip() or name != name.strip() or name.startswith((".", "-")):
        raise InputError(
            f"name is {_shown(name)}, but folders are called by it: give one without / and other "
            f"signs that a file name cannot have"
        )
    if len(name.encode()) > 100:
        raise InputError(f"name has {len(name)} letters: give one with less than 100")


def _matrix(rows):
    key = "xyz_to_camera"
    if not isinstance(rows, Sequence) or isinstance(rows, str) or len(rows) != 3:
        raise InputError(f"{key} is three rows of three numbers, not {_shown(rows)}")
    rows = tuple(_colours(row, f"{key}, row {number},") for number, row in enumerate(rows, 1))
    matrix = np.array(rows, float)
    if np.linalg.cond(matrix) > _MOST_CONDITION:
        raise InputError(f"{key} is {_shown(rows)}, which cannot be inverted: it loses a colour")
    if not (matrix @ SRGB_TO_XYZ.sum(1) > 0).all():
        raise InputError(f"{key} is {_shown(rows)}, for which white light gives no signal")
    return rows


def _by_iso(noise):
    if not isinstance(noise, Sequence) or isinstance(noise, str) or not noise:
        raise InputError(f"noise is a list with an entry for each ISO setting, not {_shown(noise)}")
    if not all(isinstance(entry, Noise) for entry in noise):
        raise InputError(f"noise is a list of objects, not {_shown(noise)}")
    noise = tuple(sorted(noise, key=lambda entry: entry.iso))
    for entry, after in itertools.pairwise(noise):
        if entry.iso == after.iso:
            raise InputError(f"noise has two entries of iso {entry.iso:g}: remove one of them")
    return noise


def load(path: str | os.PathLike) -> Camera:
    """Reads a camera's JSON file.

    Raises:
      InputError: there is no such file, it is not JSON, or a key is missing, unknown, of a wrong
        type or impossible; the sentence names file and key.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a camera's JSON file")
    if not path.is_file():
        raise InputError(f"there is no camera file {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return _camera_of(json.loads(text, object_pairs_hook=_without_twice))
    except InputError as error:
        raise InputError(f"{path}: {printable(str(error))}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a JSON file ({printable(str(error))}): python -m dbp_tf.calibrate "
            f"writes one"
        ) from None


def _without_twice(pairs):
    """A dict of a JSON object's pairs; of a key that is there twice, one would be lost."""
    for key, count in collections.Counter(key for key, _ in pairs).items():
        if count > 1:
            raise InputError(f"{key} is there {count} times: leave one of them")
    return dict(pairs)


def _camera_of(content):
    keys = _checked_keys(Camera, content, "")
    if isinstance(content["noise"], list):
        keys["noise"] = tuple(
            _noise_of(entry, f"noise, entry {number}, ")
            for number, entry in enumerate(content["noise"], 1)
        )
    camera = Camera(**keys)
    built_in = CAMERAS.get(camera.name)
    if built_in not in (None, camera):
        raise InputError(
            f"name is {camera.name}, as that of a built-in camera, but other keys differ from it: "
            f"give it a name of its own"
        )
    return camera


def _noise_of(entry, where):
    keys = _checked_keys(Noise, entry, where)
    inside = f"{where}uncertainty, "
    uncertainty = _checked_keys(Uncertainty, keys["uncertainty"], inside)
    keys["uncertainty"] = _made(Uncertainty, uncertainty, inside)
    return _made(Noise, keys, where)


def _made(cls, keys, where):
    try:
        return cls(**keys)
    except InputError as error:
        raise InputError(f"{where}{error}") from None


def _checked_keys(cls, content, where) -> dict[str, Any]:
    """The keys of a JSON object, which are fields of the dataclass."""
    if not isinstance(content, dict):
        raise InputError(f"{where or 'the file '}is an object, not {_shown(content)}")
    fields = dataclasses.fields(cls)
    missing = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.name not in content
    ]
    if missing:
        raise InputError(f"{where}{missing[0]} is missing")
    known = [field.name for field in fields]
    for key in content:
        if key not in known:
            raise InputError(f"{where}{key} is no key of a camera: known are {', '.join(known)}")
    return dict(content)


def as_json(camera: Camera) -> dict[str, Any]:
    """The camera as a JSON file holds it, of dicts, lists, texts, numbers and None."""
    return json.loads(json.dumps(dataclasses.asdict(camera), allow_nan=False))


def save(camera: Camera, path: str | os.PathLike) -> None:
    """Writes the camera's JSON file, whole or not at all; `load` gives the same camera again.

    Raises:
      OSError: it cannot be written.
    """
    text = json.dumps(as_json(camera), indent=2, ensure_ascii=False)
    # Three numbers read better in one line.
    text = re.sub(r"\[([^][{}]+)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    files.write_whole(path, text.encode() + b"\n")


# Of the Sony A7S II, after the noise model "ELD" (Wei et al., A Physics-based Noise Formation Model
# for Extreme Low-light Raw Denoising, CVPR 2020).
_ISO_800 = Noise(
    iso=800,
    gain_dn_per_electron=0.765,
    read_noise_dn=3.55,
    read_noise_shape=-0.008,
    row_noise_dn=0.57,
    black_error_dn=(0.61, 0.58, 0.61),
    uncertainty=Uncertainty(),
)

SONY = Camera(
    name="sony",
    model="Sony ILCE-7SM2",
    suffix=".ARW",
    mosaic="bayer",
    black=512,
    white=16383,
    xyz_to_camera=(
        (0.5838, -0.1430, -0.0246),
        (-0.3497, 1.1477, 0.2297),
        (-0.0748, 0.1885, 0.5778),
    ),
    white_balance=(2.77, 1.0, 1.43),
    noise=(_ISO_800,),
    source="noise: Feng et al., Learnability Enhancement for Low-light Raw Denoising, ACM MM 2022; "
    "black error: ELD's calibration; colour matrix: Adobe, by LibRaw",
)

FUJI = Camera(
    name="fuji",
    model="Fujifilm X-T2",
    suffix=".RAF",
    mosaic="xtrans",
    black=1024,
    white=16383,
    xyz_to_camera=(
        (1.1434, -0.4948, -0.1210),
        (-0.3746, 1.2042, 0.1903),
        (-0.0666, 0.1479, 0.5235),
    ),
    white_balance=(2.29, 1.0, 1.61),
    noise=(_ISO_800,),
    # 2010 packed columns of the X-T2 become 2048, which four poolings divide evenly.
    padded_columns=38,
    source="noise: not calibrated, that of the Sony A7S II; colour matrix: Adobe, by LibRaw",
)

CAMERAS = {camera.name: camera for camera in (SONY, FUJI)}


def camera_named(name: str) -> Camera:
    """The built-in camera of that name, or the one of a JSON file.

    Args:
      name: a key of `CAMERAS`, or the path of a file that `save` or a user wrote.

    Raises:
      InputError: it is neither, or see `load`.
    """
    if name in CAMERAS:
        return CAMERAS[name]
    path = files.expand(name)
    if not path.exists() and not name.lower().endswith(".json"):
        raise InputError(
            f"there is no camera {name!r}: give {', '.join(CAMERAS)} or a camera's JSON file, as "
            f"python -m dbp_tf.calibrate writes it"
        )
    return load(path)
