"""Shared by all commands: flags and their help, errors in one sentence."""

import io
import math
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from dbp_tf import files, progress
from dbp_tf.errors import MENDABLE, InputError, printable, sentence
from dbp_tf.raw import cameras

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

# How a flag holds its topic and whether it must be given.
_TOPIC, _REQUIRED = "topic: ", "is_required"

# How a flag holds that words which follow it are its own.
_TAKES_WORDS = "takes_words"

_HELP_OF_ALL = {
    "--help": "Print this text.",
    "--traceback": "When something fails, print where in the program, for a bug report.",
}


def run(
    main: Callable[..., int | None],
    flag_values: flags.FlagValues,
    argv: Sequence[str] | None = None,
    words: bool = False,
) -> int:
    """Parses the flags, runs a command and turns the user's mistakes into one sentence.

    Each command keeps its flags in a `flags.FlagValues` of its own and not in absl's global one,
    so that several commands, whose flags share names, can be imported side by side.

    Args:
      main: function without arguments, see `words`; returns an exit code, None for 0.
      flag_values: the command's flags; `--help` prints them after the docstring of its module.
      argv: the command line, its own name first; `sys.argv` by default.
      words: whether `main` takes the words that are not flags, as a list; else they are a mistake.

    Returns:
      The exit code: 0, what `main` returns, 2 after bad flags or input (`error: ...` on standard
      error, with `--traceback` behind the traceback), 130 after Ctrl-C.
    """
    argv = list(sys.argv if argv is None else argv)
    with_traceback = "--traceback" in argv
    argv = [argument for argument in argv if argument != "--traceback"]
    for stream in (sys.stdout, sys.stderr):
        # A terminal's encoding may lack the letters of a name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    flag_values.unparse_flags()
    try:
        if "--help" in argv[1:] or "-h" in argv[1:]:
            print(f"{(main.__globals__.get('__doc__') or '').strip()}\n\n{help_text(flag_values)}")
            code = 0
        else:
            rest = _parse(flag_values, argv)
            if rest and not words:
                raise InputError(f"{rest[0]!r} is not a flag: flags look like --name=value")
            code = (main(rest) if words else main()) or 0
        sys.stdout.flush()
        return code
    except (flags.Error, *MENDABLE) as error:
        if with_traceback:
            traceback.print_exc()
        if isinstance(error, BrokenPipeError):
            # Python would complain again when it flushes the rest at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_BAD_INPUT
        said = sentence(error) if isinstance(error, MENDABLE) else " ".join(str(error).split())
        print(f"error: {printable(said)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parse(values, argv):
    """Parses the command line into the flags; returns the words that are none."""
    _, *rest = values(_with_own_words(values, argv))
    all_flags = [flag for some in values.flags_by_module_dict().values() for flag in some]
    for flag in all_flags:
        if flag.present > 1 and not isinstance(flag, flags.MultiFlag):
            raise InputError(f"--{flag.name} is given {flag.present} times: give it once")
    missing = [flag for flag in all_flags if _is_required(flag) and flag.value is None]
    if missing:
        about = {f"--{flag.name}": flag.help.split(". ")[0].rstrip(".") for flag in missing}
        if len(about) == 1:
            ((name, text),) = about.items()
            raise InputError(f"{name} is missing ({text}): give it; --help tells more")
        names = " and ".join(f"{name} ({text})" for name, text in about.items())
        raise InputError(f"{names} are missing: give them; --help tells more")
    return rest


def _with_own_words(values, argv):
    """The command line in which each word of a flag of `DEFINE_words` has the flag before it."""
    given, owner = [], None
    for argument in argv:
        if argument.startswith("-"):
            _check_has_words(owner, given)
            name, equals, _ = argument.lstrip("-").partition("=")
            takes_words = name in values and getattr(values[name], _TAKES_WORDS, False)
            owner = f"--{name}" if takes_words else None
            if owner and not equals:
                given.append(owner)
                continue
        elif owner:
            if given[-1] == owner:
                given.pop()
            argument = f"{owner}={argument}"
        given.append(argument)
    _check_has_words(owner, given)
    return given


def _check_has_words(owner, given):
    if owner and given[-1] == owner:
        raise InputError(f"{owner}: no word follows it: give one or more, or leave the flag out")


def _is_required(flag):
    return getattr(flag, _REQUIRED, False)


def report_failures(failures: list[str], bursts: int, problems: list[str]) -> int:
    """Lists the bursts and files that --keep_going passed over.

    Args:
      failures: a sentence for each burst that could not be restored.
      bursts: how many there were.
      problems: a sentence for each file that belongs to no burst.

    Returns:
      The exit code, 1 if anything was passed over.
    """
    if failures:
        lines = [f"{len(failures)} of {bursts} bursts could not be restored:", *failures]
        progress.say("\n" + "\n".join(lines), sys.stderr)
    if problems:
        progress.say("\n" + "\n".join(["Left out from the start:", *problems]), sys.stderr)
    return 1 if failures or problems else 0


def define(
    values: flags.FlagValues,
    kind: Callable[..., Any],
    name: str,
    default: Any,
    text: str,
    *,
    topic: str = "Flags",
    required: bool = False,
    **limits: Any,
) -> None:
    """Defines a flag; numbers must be finite: nan and inf pass absl's bounds.

    Args:
      values: the command's flags.
      kind: one of absl's DEFINE functions, `DEFINE_path` or `DEFINE_words`.
      name: of the flag.
      default: its value if it is not given.
      text: help, a sentence or more.
      topic: heading under which `--help` lists it; topics stand in the order of their first flag.
      required: whether `run` refuses a command line without it.
      **limits: what `kind` takes besides, such as `lower_bound`.
    """
    kind(
        name=name,
        default=default,
        help=text,
        flag_values=values,
        module_name=_TOPIC + topic,
        **limits,
    )
    setattr(values[name], _REQUIRED, required)
    if kind is flags.DEFINE_float:
        flags.register_validator(
            name,
            lambda value: value is None or math.isfinite(value),
            "give a finite number",
            values,
        )


class _PathParser(flags.ArgumentParser):
    """A path with `~` expanded; an empty one is as good as none."""

    def __init__(self, must_be):
        self._must_be = must_be
        self.syntactic_help = f"a {must_be or 'path'}"

    def parse(self, argument):
        if not argument:
            return None
        if os.fspath(argument).startswith("--"):
            raise ValueError("a path is missing")
        path = files.expand(argument)
        if self._must_be == "folder" and not path.is_dir():
            raise ValueError("there is no such folder")
        if self._must_be == "file" and not path.is_file():
            raise ValueError("there is no such file")
        return path


def DEFINE_path(*, must_be: str | None = None, **options: Any) -> None:  # noqa: N802
    """Defines a flag for a path; its value is a Path or None.

    Args:
      must_be: "folder" or "file" if there has to be one; None for anything.
      **options: see `flags.DEFINE`.
    """
    flags.DEFINE(_PathParser(must_be), **options)


def DEFINE_words(  # noqa: N802
    *, name: str, help: str, flag_values: flags.FlagValues, **options: Any
) -> None:
    """Defines a flag that all words up to the next flag belong to, as a list of str.

    So the shell may expand a pattern: `--files a/*.dng --out x`. The flag may be repeated.

    Args:
      name, help, flag_values, **options: see `flags.DEFINE`.
    """
    flags.DEFINE_multi_string(name=name, help=help, flag_values=flag_values, **options)
    flag = flag_values[name]
    setattr(flag, _TAKES_WORDS, True)
    # absl adds that the flag can be repeated.
    flag.help = help


class _CameraParser(flags.ArgumentParser):
    """A built-in camera's name or the path of a camera's JSON file, as a `cameras.Camera`."""

    syntactic_help = f"{', '.join(cameras.CAMERAS)} or a camera's JSON file"

    def parse(self, argument):
        # absl parses the default, too.
        is_camera = isinstance(argument, cameras.Camera)
        return argument if is_camera else cameras.camera_named(argument)


class _CameraSerializer(flags.ArgumentSerializer):
    def serialize(self, value):
        return value.name


def DEFINE_camera(**options: Any) -> None:  # noqa: N802
    """Defines a flag for a camera; its value is a `Camera`. For **options see `flags.DEFINE`."""
    flags.DEFINE(_CameraParser(), serializer=_CameraSerializer(), **options)


def help_text(flag_values: flags.FlagValues) -> str:
    """The flags with their help, by topic; absl's own, such as --flagfile, are left out."""
    topics: dict[str, list[str]] = {}
    for module, of_topic in flag_values.flags_by_module_dict().items():
        topic = module.removeprefix(_TOPIC) if module.startswith(_TOPIC) else "Flags"
        topic = topic[:1].upper() + topic[1:] or "Flags"
        topics.setdefault(topic, []).extend(map(_help_of, of_topic))
    topics["Help"] = [_wrapped(f"{name}: {text}") for name, text in _HELP_OF_ALL.items()]
    return "\n\n".join("\n".join([f"{topic}:", *lines]) for topic, lines in topics.items())


def _help_of(flag):
    notes = []
    if getattr(flag, _TAKES_WORDS, False):
        notes.append("one word or several")
    elif flag.parser.syntactic_help and not flag.boolean:
        notes.append(flag.parser.syntactic_help)
    if _is_required(flag):
        notes.append("required")
    elif flag.default is not None:
        switch = {True: "on", False: "off"}
        default = switch[flag.default] if flag.boolean else flag.default_as_str.strip("'")
        notes.append(f"default: {default}")
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    return _wrapped(f"{name}: {flag.help}" + (f" ({'; '.join(notes)})" if notes else ""))


def _wrapped(text):
    columns = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(
        " ".join(text.split()),
        max(columns, 40),
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )
