"""The built-in cameras, of the See-in-the-Dark dataset, and those of JSON files.

    camera = cameras.load("mycamera.json")  # as python -m dbp_tf.calibrate writes it
    camera = cameras.camera_named("sony")  # a built-in one

The JSON file has the fields of `Camera` for keys; its "noise" is a list of objects with those of
`Noise`, whose "uncertainty" has those of `Uncertainty`. Fields that have a default may be left out.

Level and layout facts of the built-in cameras are those of the published code. Their colour
matrices are Adobe's XYZ (D65) to camera coefficients as LibRaw lists them for each model.
"""

import collections
import dataclasses
import json
import os
import pathlib
import re
from typing import Any

from dbp_tf import files
from dbp_tf.errors import InputError, printable
from dbp_tf.raw.camera import Camera, Noise, Uncertainty, shown

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
        raise InputError(f"{where or 'the file '}is an object, not {shown(content)}")
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
