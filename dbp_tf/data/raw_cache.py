"""Decoded raw files on disk: each raw file is decoded once and then read crop by crop.

An entry is two files: an array (.npy) that is memory-mapped, and beside it a record (.json) of
its raw file. An entry whose raw file has another size or time, whose camera levels or decoder
changed, or whose array is cut short, counts as missing and is made again. A folder of entries holds
nothing that cannot be made again: it may be deleted at any time.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import time
from collections.abc import Iterable

import numpy as np
import rawpy

from dbp_tf import files, progress
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, packing, reading

PACKED = "packed"
DEVELOPED = "developed"

# Bytes of an entry for each visible pixel: packing keeps as many uint16 samples as there are
# pixels, in both mosaics; a developed picture has three.
_BYTES_PER_PIXEL = {PACKED: 2, DEVELOPED: 6}

# Part of every record: raise it when entries made before must not be used any more. Version 1 took
# the camera's black level for files that say 0.
_VERSION = 2

# LibRaw takes up to 370 MB for one 24-megapixel picture.
_MOST_DECODERS = 4

_SECONDS_UNTIL_ABANDONED = 3600


@dataclasses.dataclass(frozen=True)
class Entry:
    """A decoded raw file.

    Attributes:
      source: the raw file.
      array_file: uint16 array: [H, W, C] raw values in DN as `packing.pack` gives them, or
        [rows, columns, 3] sRGB as `reading.read_truth_16bit` gives it, the whole visible area.
      shape: of the array.
      offset: (row, column) of the array's first sample in the visible area.
      black: value of no light, one for each channel.
      white: value of saturation.
      notes: sentences about oddities of the raw file, see `RawFrame.notes`.
    """

    source: pathlib.Path
    array_file: pathlib.Path
    shape: tuple[int, int, int]
    offset: tuple[int, int]
    black: tuple[float, ...]
    white: float
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def white_balance(self) -> tuple[float, float, float] | None:
        """Multipliers (R, G, B) the camera noted in the file, green 1; None if it noted none."""
        return reading.read_white_balance(self.source)

    def open(self) -> np.ndarray:
        """The array, memory-mapped and read-only: only the parts that are used are read."""
        return np.load(self.array_file, mmap_mode="r")


def fill(
    folder: str | os.PathLike[str],
    wanted: Iterable[tuple[str, pathlib.Path]],
    camera: cameras.Camera,
) -> dict[tuple[str, pathlib.Path], Entry]:
    """Makes the entries that are missing, several at a time, and shows how far it is.

    Several processes may fill one folder at once; they share the work. A process that is killed
    leaves no entry half made.

    Args:
      folder: of the cache; made if missing. When nothing is missing it may be read-only.
      wanted: iterable of (`PACKED` or `DEVELOPED`, path of a raw file).
      camera: of the files.

    Returns:
      dict from each of `wanted` to its `Entry`.

    Raises:
      InputError: a raw file is missing, damaged or of another camera; the folder cannot be
        written, or its disk has too little space.
      OSError: the disk got full or failed all the same.
    """
    folder = pathlib.Path(folder)
    entries = {key: _find(folder, *key, camera) for key in wanted}
    missing = [key for key, entry in entries.items() if entry is None]
    if missing:
        _prepare(folder)
        _check_space(folder, missing, camera)
        entries |= _make_all(folder, missing, camera)
    _say_notes(entries.values())
    return entries


def _say_notes(entries):
    """Prints every kind of note once, with the first file that it is about."""
    kinds = {}
    for entry in entries:
        for note in entry.notes:
            kinds.setdefault(re.sub(r"[\d.]+", "", note), []).append((entry.source, note))
    for found in kinds.values():
        source, note = found[0]
        more = len(found) - 1
        others = f" (and {more} other{'s' if more > 1 else ''})" if more else ""
        progress.say(f"note: {source.name}{others}: {note}")


def _array_file(folder, kind, source, camera):
    origin = f"{os.path.abspath(source)} {kind} {camera.name}"
    digest = hashlib.sha256(origin.encode()).hexdigest()[:12]
    return folder / f"{source.stem}.{kind}.{digest}.npy"


def _origin(kind, source, camera):
    """The facts on which an entry depends, as its record has them."""
    try:
        status = source.stat()
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror})") from None
    return {
        "version": _VERSION,
        "libraw": list(rawpy.libraw_version),
        "kind": kind,
        "source": os.path.abspath(source),
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "camera": [camera.name, camera.black, camera.white],
    }


def _entry(source, array_file, record):
    return Entry(
        source=source,
        array_file=array_file,
        shape=tuple(record["shape"]),
        offset=tuple(record["offset"]),
        black=tuple(record["black"]),
        white=record["white"],
        notes=tuple(record["notes"]),
    )


def _find(folder, kind, source, camera):
    """The `Entry` of a raw file, or None if there is none that can be trusted."""
    array_file, origin = _array_file(folder, kind, source, camera), _origin(kind, source, camera)
    try:
        record = json.loads(array_file.with_suffix(".json").read_bytes())
        if record["origin"] == origin and record["bytes"] == array_file.stat().st_size:
            return _entry(source, array_file, record)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _make(folder, kind, source, camera):
    """Decodes a raw file and writes its entry, unless another process just did."""
    found = _find(folder, kind, source, camera)
    if found:
        return found
    # Noted before the file is read: a change meanwhile makes the entry stale.
    record = {"origin": _origin(kind, source, camera)}
    if kind == PACKED:
        frame = reading.read_raw(source, camera)
        array = packing.pack(frame.mosaic, frame.layout)
        levels = {name: getattr(frame, name) for name in ("offset", "black", "white", "notes")}
    else:
        array = reading.read_truth_16bit(source)
        levels = {"offset": (0, 0), "black": (0.0, 0.0, 0.0), "white": 65535.0, "notes": ()}
    file = io.BytesIO()
    np.save(file, array)
    array_file = _array_file(folder, kind, source, camera)
    files.write_whole(array_file, file.getbuffer())
    record |= {"bytes": file.tell(), "shape": array.shape, **levels}
    files.write_whole(array_file.with_suffix(".json"), json.dumps(record, indent=1).encode())
    return _entry(source, array_file, record)


def _make_all(folder, missing, camera):
    entries, started = {}, time.monotonic()
    # Each process has its own order, so that several divide the work between them.
    missing = random.Random(os.getpid()).sample(missing, len(missing))
    decoders = concurrent.futures.ThreadPoolExecutor(min(_MOST_DECODERS, os.cpu_count() or 1))
    try:
        jobs = {decoders.submit(_make, folder, *key, camera): key for key in missing}
        for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            entries[jobs[job]] = job.result()
            text = f"decoded {done} of {len(missing)} raw files into {folder}"
            left = progress.time_left(started, done, len(missing))
            progress.status(f"{text}, {left}")
    finally:
        decoders.shutdown(cancel_futures=True)
    progress.say(f"{text} in {time.monotonic() - started:.0f} s")
    return entries


def _prepare(folder):
    """Makes the folder, checks that it can be written, removes scratch files of killed runs."""
    files.check_writable(folder, "--cache_dir")
    folder.mkdir(parents=True, exist_ok=True)
    for scratch in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - scratch.stat().st_mtime > _SECONDS_UNTIL_ABANDONED:
                scratch.unlink()


def _check_space(folder, missing, camera):
    """Raises InputError if the disk is too small; all files are taken to be of one size."""
    with reading.open_raw(missing[0][1]) as raw:
        pixels = raw.sizes.height * raw.sizes.width
    need = sum(pixels * _BYTES_PER_PIXEL[kind] for kind, _ in missing)
    space = shutil.disk_usage(folder).free
    for kind, source in missing:
        with contextlib.suppress(FileNotFoundError):
            # A stale entry gives its place to the new one.
            space += _array_file(folder, kind, source, camera).stat().st_size
    if need > space:
        raise InputError(
            f"--cache_dir: {len(missing)} decoded raw files take about {_size(need)}, but "
            f"{folder} has room for {_size(space)}: free some or give a folder on another disk"
        )


def _size(count):
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
