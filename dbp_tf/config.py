"""Flags and settings.json, made of the parameters of a program.

A program describes its parameters in a frozen dataclass, see `parameters.py`. `define_flags`
makes the command-line flags from its fields, `from_flags` makes the dataclass from the parsed
flags, and `as_json` gives what settings.json holds. No TensorFlow is needed for it.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from absl import flags

from dbp_tf import cli
from dbp_tf.parameters import parameters
from dbp_tf.raw import cameras

Config = TypeVar("Config")

# absl's DEFINE function, or one of `cli`, for each type of a parameter.
_DEFINE: dict[Any, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    list[str]: flags.DEFINE_list,
    tuple[str, ...]: cli.DEFINE_words,
    pathlib.Path: cli.DEFINE_path,
    cameras.Camera: cli.DEFINE_camera,
}


def defaults(cls: type) -> dict[str, Any]:
    """{name: default} of the parameters that are flags, as settings.json holds them."""
    return {
        name: _as_json(about["default"]) for name, about in parameters(cls).items() if about["flag"]
    }


def define_flags(values: flags.FlagValues, cls: type) -> None:
    """Defines a flag for each parameter of the dataclass.

    Args:
      values: `flags.FlagValues` of the program.
      cls: see `parameters`.
    """
    for name, about in parameters(cls).items():
        if about["flag"]:
            _define_flag(values, cls, name, about)


def _define_flag(values, cls, name, about):
    default, kind = about["default"], about["type"]
    text = about["help"]
    for mosaic, other in _mosaic_defaults(cls, name).items():
        shown = f"{other:.5g}" if isinstance(other, float) else str(other).lower()
        text += f" With a camera of {mosaic} mosaic: {shown} by default."
    define, limits = _DEFINE[kind], {}
    if about["choices"]:
        define, limits = flags.DEFINE_enum, {"enum_values": list(about["choices"])}
    elif kind in (int, float):
        limits = {"lower_bound": about["low"], "upper_bound": about["high"]}
    elif kind is pathlib.Path:
        limits = {"must_be": about["exists"]}
    elif kind == tuple[str, ...]:
        # An empty list would pass for a flag that was given.
        default = default or None
    cli.define(
        values,
        define,
        name,
        default,
        text,
        topic=about["topic"],
        required=about["required"],
        **limits,
    )


def _mosaic_defaults(cls, name):
    mosaics = getattr(cls, "MOSAIC_DEFAULTS", {})
    return {mosaic: others[name] for mosaic, others in mosaics.items() if name in others}


def from_flags(values: flags.FlagValues, cls: type[Config]) -> Config:
    """The dataclass with the values of the parsed flags.

    Args:
      values: `flags.FlagValues` that `define_flags` has filled and that are parsed.
      cls: the dataclass.
    """
    given = {}
    for name, about in parameters(cls).items():
        if not about["flag"]:
            continue
        flag = values[name]
        given[name] = flag.value
        others = _mosaic_defaults(cls, name)
        if others and not flag.present:
            camera: Any = values["camera"].value
            given[name] = others.get(camera.mosaic, flag.value)
        if about["type"] == tuple[str, ...]:
            given[name] = tuple(flag.value or ())
    return cls(**given)


def as_json(config: Any) -> dict[str, Any]:
    """All fields of a dataclass as settings.json holds them.

    Paths are absolute texts; a built-in camera is its name, another one its whole description, so
    that a run notices when the camera's file has changed.
    """
    fields = dataclasses.fields(config)
    return {field.name: _as_json(getattr(config, field.name)) for field in fields}


def _as_json(value):
    if isinstance(value, pathlib.Path):
        return str(value.resolve())
    if isinstance(value, cameras.Camera):
        return value.name if value in cameras.CAMERAS.values() else cameras.as_json(value)
    return value


def shown(before: Any, now: Any) -> tuple[str, str]:
    """Two different values of settings.json as a message tells them apart.

    Of two descriptions of one camera it is the first key that differs.
    """
    if isinstance(before, dict) and isinstance(now, dict) and before.get("name") == now.get("name"):
        key = next(key for key in now if before.get(key) != now[key])
        return f"{now['name']} with {key} {before.get(key)}", f"{key} {now[key]}"
    before, now = (one["name"] if isinstance(one, dict) else one for one in (before, now))
    return str(before), str(now)
