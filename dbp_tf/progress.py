"""Progress in the terminal: a line that is replaced there, plain lines everywhere else."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

from dbp_tf.errors import printable

# Seconds of silence after which a log, which keeps every line, gets a line of progress.
_SILENCE = 10

Item = TypeVar("Item")

_last_line = time.monotonic()


def plural(number: int, thing: str) -> str:
    """So many things in words: "1 frame", "8 frames"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def status(text: str, out: TextIO | None = None) -> None:
    """Shows a line of progress, on a terminal until the next `status` or `say`.

    Elsewhere it is a line that stays, but not within ten seconds of another one.
    """
    out = out or sys.stdout
    if out.isatty():
        out.write(f"\r\x1b[K{printable(text)}")
        out.flush()
    elif time.monotonic() - _last_line > _SILENCE:
        say(text.rstrip(), out)


def say(text: str, out: TextIO | None = None) -> None:
    """Prints text that stays; odd characters, as names of files may have, are escaped."""
    global _last_line
    _last_line = time.monotonic()
    out = out or sys.stdout
    clear = "\r\x1b[K" if out.isatty() else ""
    out.write(clear + printable(text, keep="\n\t") + "\n")
    out.flush()


def time_left(started: float, done: int, total: int) -> str:
    """The time that a job will still take if it goes on as it went, such as "12 min left".

    Args:
      started: `time.monotonic()` at the start.
      done: items done, at least 1.
      total: items in all.
    """
    seconds = (time.monotonic() - started) / done * (total - done)
    if seconds < 90:
        return f"{seconds:.0f} s left"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min left"
    return f"{seconds / 3600:.1f} h left"


def counted(items: Sequence[Item], text: str) -> Iterator[Item]:
    """Yields items and shows how many are done and how long the rest will take, see `status`.

    Args:
      items: to go through.
      text: the line to show; "{}" in it becomes the count, such as "3 of 6".
    """
    started = time.monotonic()
    for number, item in enumerate(items):
        left = f"; {time_left(started, number, len(items))}" if number else ""
        status(text.format(f"{number} of {len(items)}") + left)
        yield item
