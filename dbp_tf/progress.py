"""Progress in the terminal: a line that is replaced there, plain lines everywhere else."""

import sys
import time


def status(text, out=None):
    """Shows what is being done, on a terminal only, until the next `status` or `say`."""
    out = out or sys.stdout
    if out.isatty():
        out.write(f"\r\x1b[K{text}")
        out.flush()


def say(text, out=None):
    """Prints a line that stays."""
    out = out or sys.stdout
    clear = "\r\x1b[K" if out.isatty() else ""
    out.write(f"{clear}{text}\n")
    out.flush()


def time_left(started, done, total):
    """What is left of a job, as text, if it goes on as it went: "12 min left".

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
