"""Memory of the process, as the C library takes it from the kernel and gives it back."""

import ctypes
import sys

# Parameters of glibc's `mallopt`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_NEVER = -1

# Those of a stripe of the full-size networks have 52 MB. Those above are few, and kept they would
# leave gaps between them: 0.3 GB, for no time that could be measured.
_LARGEST_KEPT = 64 << 20

# The most that glibc before 2.35 takes: half of the page faults are left, and not a third.
_LARGEST_KEPT_BEFORE = 32 << 20

_keeps = False


def keep_freed():
    """Keeps what is freed for the next tensor, where the C library is glibc; else does nothing.

    By itself glibc asks the kernel for every tensor above 32 MB anew and gives it back at once, and
    the kernel fills it with zeros, page by page: 5 to 12 % of a burst. All threads share one
    arena, as each of several would keep what another could use. The process stays large between
    two bursts, and what MALLOC_... variables say of this is overruled.

    To be called before there are other threads, which bring arenas of their own.
    """
    global _keeps
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return
    mallopt(_ARENA_MAX, 1)
    # One must be taken: once told anything, glibc leaves it at the 128 kB it begins with.
    if not mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT):
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BEFORE)
    mallopt(_TRIM_THRESHOLD, _NEVER)
    _keeps = True


def give_back():
    """Gives the kernel what `keep_freed` has kept, before work with tensors of other sizes.

    Else the gaps that the tensors before have left stay beside it: 0.25 GB of the 2.4 that two
    full-size bursts then take. It takes 20 to 60 ms and the pages come anew, which cannot be
    measured of a full-size burst, but is 5 to 14 % of the time of one below a megapixel.
    """
    if _keeps:
        _glibc("malloc_trim")(ctypes.c_size_t(0))


def _glibc(name):
    """A function that glibc alone has; None without it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
