"""Flags for your own photographs, and the way from them to `photographs.restore_all`."""

import functools

from absl import flags

from dbp_tf import cli, pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.photos import bursts, photographs
from dbp_tf.raw import overrides, white_balance

# Flags that mean nothing without --burst; their defaults are those of `define`.
OWN = (
    "burst_gap",
    "black",
    "white",
    "pattern",
    "active_area",
    "white_balance",
    "align",
    "motion_mask",
    "keep_all",
    "format",
    "overwrite",
)


class RatioParser(flags.ArgumentParser):
    """ "auto" or a number."""

    syntactic_help = 'a number or "auto"'

    def __init__(self, least, most):
        self._number = flags.FloatParser(least, most)

    def parse(self, argument):
        return argument if argument == "auto" else self._number.parse(argument)

    def flag_type(self):
        return "ratio"


def define(values):
    """Defines --burst and the flags that belong to it.

    Args:
      values: `flags.FlagValues` of the script.
    """
    add = functools.partial(cli.define, values)
    text, number, switch = flags.DEFINE_string, flags.DEFINE_float, flags.DEFINE_bool
    choice, several = flags.DEFINE_enum, flags.DEFINE_list
    add(
        text,
        "burst",
        None,
        "Your own raw files of any camera: a burst's files with commas between them, or a folder, "
        "whose files are one burst and each folder in it another.",
    )
    add(
        number,
        "burst_gap",
        None,
        "With --burst: a pause of more seconds between two frames of a folder begins a new burst.",
        lower_bound=0,
    )
    add(
        several,
        "black",
        None,
        "With --burst: black level in DN instead of the file's: one number, R,G,B or, for Bayer, "
        "R,G,B,G.",
    )
    add(
        number,
        "white",
        None,
        "With --burst: white level in DN instead of the file's.",
        lower_bound=1,
        upper_bound=65535,
    )
    add(
        text,
        "pattern",
        None,
        "With --burst: colour filters of the active area instead of the file's, such as RGGB.",
    )
    add(
        several,
        "active_area",
        None,
        "With --burst: TOP,LEFT,ROWS,COLUMNS of the sensor to use instead of the file's.",
    )
    add(
        text,
        "white_balance",
        white_balance.DEFAULT,
        "With --burst: camera scales the colours from the file's multipliers to those of the "
        "camera the weights were trained on, and estimates them where the file notes none; auto "
        "always estimates them, R,G,B gives them, none leaves the colours.",
    )
    add(switch, "align", True, "With --burst: undo the shake of the hand.")
    add(
        switch,
        "motion_mask",
        True,
        "With --burst: where something moves, use the reference frame alone.",
    )
    add(switch, "keep_all", False, "With --burst: use even frames that do not match.")
    add(
        choice,
        "format",
        "png",
        "With --burst: "
        + "; ".join(f"{name}: {one.help}" for name, one in pictures.FORMATS.items())
        + ".",
        enum_values=list(pictures.FORMATS),
    )
    add(switch, "overwrite", False, "With --burst: replace pictures that are there.")


def check(values, others):
    """Checks which flags go together.

    Args:
      values: the script's flags.
      others: names of flags that mean nothing with --burst.

    Raises:
      InputError: names a flag that is of no effect.
    """
    given = [name for name in OWN if values[name].present]
    if values.burst is None and given:
        raise InputError(f"--{given[0]} belongs to --burst: give that too")
    if values.burst is None:
        for name, value in (("ratio", "auto"), ("reference_frame", "sharpest")):
            if values[name].value == value:
                raise InputError(f"--{name} {value} belongs to --burst: give that too")
        return
    if values.resume and values.overwrite:
        raise InputError("--resume keeps pictures that --overwrite replaces: give one of them")
    if values.keep_all and not values.align:
        raise InputError(
            "--keep_all means nothing with --noalign, which leaves out no frame: leave out one of "
            "them"
        )
    strange = [name for name in others if values[name].present]
    if strange:
        raise InputError(f"--{strange[0]} means nothing with --burst: leave out one of them")


def find(values, folder, problems=None):
    """The bursts that the flags name, and how to restore them.

    Args:
      values: the script's flags.
      folder: for the pictures.
      problems: see `bursts.find_bursts`.

    Returns:
      (list of `bursts.Burst`, without those that --resume leaves out; the keyword arguments of
      `photographs.restore_burst` that these flags say).

    Raises:
      InputError: a flag makes no sense, there is no burst, or a picture would be overwritten.
    """
    how = {
        "balance": white_balance.parse(values.white_balance),
        "overrides": overrides.parse(
            values.black, values.white, values.pattern, values.active_area
        ),
        "ratio": None if values.ratio in (None, "auto") else values.ratio,
        "align": values.align,
        "motion_mask": values.motion_mask,
        "keep_all": values.keep_all,
        "kind": values.format,
        "overwrite": values.overwrite,
    }
    found = bursts.find_bursts(values.burst, values.burst_gap, problems=problems)[: values.limit]
    if values.resume:
        paths = [photographs.picture_path(folder, burst, values.format) for burst in found]
        todo = [burst for burst, path in zip(found, paths, strict=True) if not path.exists()]
        progress.say(f"{len(found) - len(todo)} of {len(found)} bursts are done already.")
        found = todo
    photographs.check_paths(folder, found, values.format, values.overwrite)
    return found, how
