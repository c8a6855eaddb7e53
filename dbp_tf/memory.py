"""Memory of the process, as the C library takes it from the kernel and gives it back."""

import ctypes
import platform

# Parameters of glibc's `mallopt`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_NEVER = -1

# Those of a stripe of the full-size networks have 52 MB. Those above are few, and kept they would
# leave gaps between them: 0.3 GB, for no time that could be measured.
_LARGEST_KEPT = 64 << 20

# The most that glibc before 2.35 takes.
_LARGEST_KEPT_BEFORE = 32 << 20


def keep_freed():
    """Keeps what is freed for the next tensor, where the C library is glibc; else does nothing.

    By itself glibc asks the kernel for every tensor above 32 MB anew and gives it back at once, and
    the kernel fills it with zeros, page by page: a tenth of a burst's time. All threads share one
    arena, as each of several would keep what another could use.

    To be called before there are other threads, which bring arenas of their own.
    """
    if _is_glibc():
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 1)
        # One must be taken: once told anything, glibc leaves it at the 128 kB it begins with.
        if not mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT):
            mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BEFORE)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def give_back():
    """Gives the kernel what was kept, before work with tensors of other sizes; takes 20 ms.

    Else the gaps that the tensors before have left stay beside it: 0.2 GB of a burst's peak.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def _is_glibc():
    return platform.libc_ver()[0] == "glibc"
