"""Shared by the benchmarks: dbp_tf beside this folder is found, tables are written."""

import csv
import io
import os
import pathlib
import platform
import re
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from dbp_tf import files  # noqa: E402


def processors() -> str:
    """The processor's name and how many of them this process may use."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{(names or [platform.processor()])[0]}, {count} processors"


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes.

    Not `ru_maxrss`, which is that of the process which started this one if it had more.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(kilobytes)


def write_table(path: str | os.PathLike[str], rows: Sequence[dict[str, Any]]) -> None:
    """Writes dicts with the same keys, of which there is at least one, as a CSV file."""
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_whole(path, table.getvalue().encode())
