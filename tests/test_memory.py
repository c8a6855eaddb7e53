"""What the process does with memory that it has freed."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dbp_tf import memory

IS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")

# Prints how much larger 50 MB, filled and freed, have left the process, in MB.
LEFT = """
import ctypes, resource, threading
from dbp_tf import memory
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

def fill():
    block = libc.malloc(50 << 20)
    libc.memset(block, 1, 50 << 20)
    assert resident() > at_first + 45
    libc.free(block)

def in_a_thread():
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()

at_first = resident()
{fill}()
{after}
print(resident() - at_first)
"""


@pytest.mark.skipif(not IS_GLIBC, reason="glibc is told")
@pytest.mark.parametrize("fill", ["fill", "in_a_thread"])
def test_freed_memory_is_kept_until_it_is_given_back(fill):
    def left(before="", after=""):
        script = LEFT.format(before=before, fill=fill, after=after)
        # Whoever runs the tests may have told glibc something else.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))
        }
        return float(subprocess.check_output([sys.executable, "-c", script], env=environment))

    assert left("memory.keep_freed()") > 45
    assert left("memory.keep_freed()", "memory.give_back()") < 5
    # Left to itself it goes; or glibc has learnt to keep it, and nobody needs this module any more.
    assert left() < 5


def test_nothing_is_given_back_that_was_not_kept(monkeypatch):
    """A program that uses the package and keeps nothing is not to pay for it."""
    monkeypatch.setattr(memory, "_keeps", False)
    monkeypatch.setattr(memory, "_glibc", lambda name: pytest.fail(f"{name} was called"))
    memory.give_back()


@pytest.mark.parametrize(
    "platform, library",
    [
        ("linux", lambda name: SimpleNamespace()),
        ("win32", lambda name: pytest.fail("it was asked for")),
    ],
)
def test_another_c_library_is_left_alone(monkeypatch, platform, library):
    monkeypatch.setattr(memory, "_keeps", False)
    monkeypatch.setattr(memory.sys, "platform", platform)
    monkeypatch.setattr(memory.ctypes, "CDLL", library)
    memory.keep_freed()
    memory.give_back()


def test_glibc_before_2_35_keeps_less(monkeypatch):
    settings = {}

    def mallopt(parameter, value):
        refused = parameter == memory._MMAP_THRESHOLD and value > 32 << 20
        if not refused:
            settings[parameter] = value
        return int(not refused)

    monkeypatch.setattr(memory, "_keeps", False)
    monkeypatch.setattr(memory, "_glibc", {"mallopt": mallopt}.get)
    memory.keep_freed()
    assert settings[memory._MMAP_THRESHOLD] == 32 << 20
