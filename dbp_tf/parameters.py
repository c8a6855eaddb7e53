"""A parameter of a program, stated once: as a field of the program's frozen dataclass.

`config.py` makes flags and settings.json of the fields.
"""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any


def parameter(
    default: Any,
    help: str,
    *,
    topic: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    required: bool = False,
    exists: str | None = None,
    may_change: bool = False,
    flag: bool = True,
) -> Any:
    """A field of a program's dataclass.

    Its type is bool, int, float, str, Path, list[str], `cameras.Camera`, or tuple[str, ...] for the
    words that follow the flag, such as files. A subclass gives another default with a plain
    `name: type = value`; all else is inherited. Where defaults differ between mosaics, the
    dataclass has `MOSAIC_DEFAULTS`, a dict from the mosaic of the parameter "camera" to a dict from
    names to defaults; `--help` says them, too.

    Args:
      default: value without the flag.
      help: text of `--help`.
      topic: heading of `--help` under which the flag stands.
      low, high: limits of a number, both allowed. Numbers are finite in any case.
      choices: the only values allowed.
      required: whether the flag must be given.
      exists: "folder" or "file" for a path that must be there.
      may_change: whether a run may go on with another value.
      flag: False for a value that the program fixes, which has no flag.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "topic": topic,
            "low": low,
            "high": high,
            "choices": choices,
            "required": required,
            "exists": exists,
            "may_change": may_change,
            "flag": flag,
        },
    )


def parameters(cls: type) -> dict[str, dict[str, Any]]:
    """The parameters of a dataclass.

    Args:
      cls: a dataclass; fields that neither it nor a base made with `parameter` are passed over.

    Returns:
      dict from name to the keyword arguments that were given to `parameter`, and "default" and
      "type".
    """
    found = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        for base in cls.__mro__:
            stated = vars(base).get("__dataclass_fields__", {}).get(field.name)
            if stated and stated.metadata:
                kind = hints[field.name]
                if isinstance(kind, types.UnionType):
                    (kind,) = set(typing.get_args(kind)) - {types.NoneType}
                about = {"default": field.default, "type": kind}
                found[field.name] = {**stated.metadata, **about}
                break
    return found
