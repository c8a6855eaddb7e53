"""What the process does with memory that it has freed."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dbp_tf import memory

# Prints the page faults of filling 50 MB for the second time.
FAULTS = """
import ctypes, resource, threading
from dbp_tf import memory
{keep}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def fill():
    block = libc.malloc(50 << 20)
    libc.memset(block, 1, 50 << 20)
    libc.free(block)

def in_a_thread():
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()

{fill}()
{between}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{fill}()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc is told")
@pytest.mark.parametrize("fill", ["fill", "in_a_thread"])
def test_freed_memory_is_kept_for_the_next_tensor(fill):
    def faults(keep, between=""):
        script = FAULTS.format(keep=keep, fill=fill, between=between)
        return int(subprocess.check_output([sys.executable, "-c", script]))

    pages = 50 * 2**20 // 4096
    assert faults("memory.keep_freed()") < 0.01 * pages
    assert faults("memory.keep_freed()", "memory.give_back()") > 0.9 * pages
    # Left to itself it does not; or it has learnt to, and nobody needs this module any more.
    assert faults("") > 0.1 * pages


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("it was asked for"))
    memory.keep_freed()
    memory.give_back()


def test_glibc_before_2_35_keeps_less(monkeypatch):
    settings = {}

    def mallopt(parameter, value):
        refused = parameter == memory._MMAP_THRESHOLD and value > 32 << 20
        if not refused:
            settings[parameter] = value
        return int(not refused)

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.34"))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    memory.keep_freed()
    assert settings[memory._MMAP_THRESHOLD] == 32 << 20
