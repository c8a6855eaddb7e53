"""On what a benchmark ran."""

import os
import pathlib
import platform


def processors():
    """The processor's name and how many of them this process may use."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{(names or [platform.processor()])[0]}, {count} processors"
