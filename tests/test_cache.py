"""The cache of decoded raw files: what it holds, and that it never trusts a bad entry."""

import dataclasses
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from dbp_tf import files, progress, simulate
from dbp_tf.data import raw_cache
from dbp_tf.data.raw_cache import DEVELOPED, PACKED
from dbp_tf.errors import InputError, sentence
from dbp_tf.raw import cameras, reading

pytest.importorskip("tifffile")

BAYER_SIZE, XTRANS_SIZE = (68, 100), (516, 534)

# Its white level is so far from that of the files that these keep their own levels.
OTHER = dataclasses.replace(cameras.SONY, name="other", white=14000)


def write(path, seed, camera=cameras.SONY, size=BAYER_SIZE, **how):
    samples = np.random.default_rng(seed).integers(400, 16384, size).astype(np.uint16)
    simulate.write_dng(path, samples, camera, **how)
    return path


@pytest.fixture
def files_wanted(tmp_path):
    """Three dark frames and their truth, not decoded yet."""
    paths = [write(tmp_path / f"raw/00001_{i:02d}_0.1s.ARW", i) for i in range(3)]
    truth = write(tmp_path / "raw/00001_00_10s.ARW", 9)
    return [(PACKED, path) for path in (*paths, truth)] + [(DEVELOPED, truth)]


@pytest.fixture
def decoded(monkeypatch):
    """Names of the raw files decoded while the test runs."""
    names = []

    def counting(read):
        def wrapped(path, *args):
            names.append(path.name)
            return read(path, *args)

        return wrapped

    for name in ("read_raw", "read_truth_16bit"):
        monkeypatch.setattr(reading, name, counting(getattr(reading, name)))
    return names


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    ("camera", "size"), [(cameras.SONY, BAYER_SIZE), (cameras.FUJI, XTRANS_SIZE)]
)
def test_entries_hold_what_the_raw_files_do(tmp_path, camera, size, from_file):
    path = write(tmp_path / f"00001_00_10s{camera.suffix}", 3, camera, size)
    camera = dataclasses.replace(camera, name="other", white=14000) if from_file else camera
    entries = raw_cache.fill(tmp_path / "cache", [(PACKED, path), (DEVELOPED, path)], camera)
    packed, developed = entries[PACKED, path], entries[DEVELOPED, path]
    frame = reading.read_raw(path, camera)
    assert packed.open().dtype == developed.open().dtype == np.uint16
    assert packed.shape == packed.open().shape
    assert (packed.offset, packed.black, packed.white) == (frame.offset, frame.black, frame.white)
    scale = frame.layout.scale
    assert np.array_equal(packed.open()[..., 0], _first_channel(frame))
    assert packed.shape[:2] == tuple(size // scale for size in frame.mosaic.shape)
    assert np.array_equal(developed.open(), reading.read_truth_16bit(path))
    assert (developed.offset, developed.black, developed.white) == ((0, 0), (0, 0, 0), 65535)


def _first_channel(frame):
    """Red of the layout's first row, site by site, as METHOD's tables say."""
    rows, columns = (size // frame.layout.scale for size in frame.mosaic.shape)
    if frame.layout.name == "bayer":
        return frame.mosaic[::2, ::2]
    sites = ((0, 0), (0, 4)), ((3, 1), (3, 3))
    red = np.empty((rows, columns), np.uint16)
    for row in range(rows):
        for column in range(columns):
            down, right = sites[row % 2][column % 2]
            red[row, column] = frame.mosaic[row // 2 * 6 + down, column // 2 * 6 + right]
    return red


def test_black_levels_of_each_channel_and_the_offset_are_kept(tmp_path):
    path = write(
        tmp_path / "00001_00_1s.ARW", 4, pattern=("GR", "BG"), black=[[500, 510], [520, 530]]
    )
    (entry,) = raw_cache.fill(tmp_path / "cache", [(PACKED, path)], OTHER).values()
    # Red of GRBG stands in the second column, so the packed frame starts there: R G B G.
    assert entry.offset == (0, 1)
    reread = raw_cache.fill(tmp_path / "cache", [(PACKED, path)], OTHER)[PACKED, path]
    assert reread == entry
    assert reread.black == reading.read_raw(path).black
    assert len(set(reread.black)) > 1


def test_levels_are_checked_by_the_pixels_and_notes_are_said_once(tmp_path, capsys):

    def fill(name, black, said, count=1):
        rng = np.random.default_rng(0)
        for number in range(count):
            path = tmp_path / f"{name}_{number:02d}_0.1s.ARW"
            samples = np.rint(rng.normal(black + 2, 3, BAYER_SIZE).clip(0)).astype(np.uint16)
            simulate.write_dng(path, samples, cameras.SONY, black=[[said]])
        wanted = [(PACKED, path) for path in sorted(tmp_path.glob(f"{name}*"))]
        return [*raw_cache.fill(tmp_path / "cache", wanted, cameras.SONY).values()]

    # A camera that subtracts its black level before it writes.
    (entry,) = fill("00001", black=0, said=0)
    assert entry.black == (0,) * 4 and "note" not in capsys.readouterr().out
    for _ in range(2):
        entries = fill("00002", black=512, said=0, count=2)
        assert {entry.black for entry in entries} == {(512.0,) * 4}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    # Once each time that the cache is used, new or not.
    assert len(lines) == 2 and lines[0] == lines[1]
    assert lines[0].startswith("note: 00002_00_0.1s.ARW (and 1 other): the file says black level 0")
    with pytest.raises(InputError, match="00003_00_0.1s.ARW says black level 512, but .* lie at 1"):
        fill("00003", black=0, said=512)


def test_a_filled_cache_is_not_filled_again(tmp_path, files_wanted, decoded):
    first = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    assert len(decoded) == 5
    second = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    assert len(decoded) == 5
    assert first == second


def test_other_levels_are_another_entry(tmp_path, files_wanted, decoded):
    key = files_wanted[0]
    table = raw_cache.fill(tmp_path / "cache", [key], cameras.SONY)[key]
    own = raw_cache.fill(tmp_path / "cache", [key], OTHER)[key]
    assert own.array_file != table.array_file
    raw_cache.fill(tmp_path / "cache", [key], cameras.SONY)
    assert len(decoded) == 2


def cut(array_file):
    array_file.write_bytes(array_file.read_bytes()[:-1])


def lengthen(array_file):
    array_file.write_bytes(array_file.read_bytes() + b"\0")


def remove_array(array_file):
    array_file.unlink()


def remove_record(array_file):
    array_file.with_suffix(".json").unlink()


def cut_record(array_file):
    record = array_file.with_suffix(".json")
    record.write_text(record.read_text()[:-20])


def foreign_record(array_file):
    array_file.with_suffix(".json").write_text("[]")


def binary_record(array_file):
    array_file.with_suffix(".json").write_bytes(b"\xff\xfe\x00")


def older_record(array_file):
    file = array_file.with_suffix(".json")
    record = json.loads(file.read_text())
    record["origin"]["libraw"] = [0, 19, 0]
    file.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        lengthen,
        remove_array,
        remove_record,
        cut_record,
        foreign_record,
        binary_record,
        older_record,
    ],
)
def test_a_bad_entry_is_made_again(tmp_path, files_wanted, decoded, harm):
    entries = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    key = files_wanted[1]
    good = entries[key].open().copy()
    harm(entries[key].array_file)
    decoded.clear()
    again = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    assert decoded == [key[1].name]
    assert again == entries
    assert np.array_equal(again[key].open(), good)


def test_a_changed_raw_file_is_decoded_again(tmp_path, files_wanted, decoded):
    raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    _, path = key = files_wanted[0]
    kept = path.stat()
    write(path, 77)
    # As fast as a copy may be: only the time of change differs.
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))
    assert path.stat().st_size == kept.st_size
    decoded.clear()
    entry = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)[key]
    assert decoded == [path.name]
    assert np.array_equal(entry.open()[..., 0], reading.read_raw(path).mosaic[::2, ::2])


def test_only_abandoned_scratch_files_are_removed(tmp_path, files_wanted):
    folder = tmp_path / "cache"
    folder.mkdir()
    old, young = folder / ".a.npy.0123.part", folder / ".b.npy.4567.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    raw_cache.fill(folder, files_wanted[:1], cameras.SONY)
    assert not old.exists()
    # Another process may be writing it.
    assert young.exists()


FILL = """
import sys, pathlib
from dbp_tf.data import raw_cache
from dbp_tf.raw import cameras
raws = sorted(pathlib.Path(sys.argv[2]).iterdir())
wanted = [(kind, path) for path in raws for kind in ("packed", "developed")]
raw_cache.fill(sys.argv[1], wanted, cameras.SONY)
"""


def start_filling(folder, raws):
    return subprocess.Popen(
        [sys.executable, "-c", FILL, folder, raws], stderr=subprocess.PIPE, text=True
    )


def many(folder, count=10, size=(300, 400)):
    return [write(folder / f"00001_{i:02d}_0.1s.ARW", i, size=size) for i in range(count)]


def assert_complete(folder, paths, decoded):
    decoded.clear()
    keys = [(kind, path) for path in paths for kind in (PACKED, DEVELOPED)]
    entries = raw_cache.fill(folder, keys, cameras.SONY)
    assert not decoded
    for path in paths:
        first = reading.read_raw(path).mosaic[::2, ::2]
        assert np.array_equal(entries[PACKED, path].open()[..., 0], first)
    assert not [path for path in folder.iterdir() if path.suffix not in (".npy", ".json")]


def test_processes_fill_one_cache_at_once(tmp_path, decoded):
    paths = many(tmp_path / "raw")
    processes = [start_filling(tmp_path / "cache", tmp_path / "raw") for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert_complete(tmp_path / "cache", paths, decoded)


def test_a_killed_process_leaves_nothing_half_made(tmp_path, decoded):
    paths = many(tmp_path / "raw")
    folder = tmp_path / "cache"
    process = start_filling(folder, tmp_path / "raw")
    deadline = time.monotonic() + 30
    while not list(folder.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert len(list(folder.glob("*.json"))) < 2 * len(paths)
    for scratch in folder.glob(".*"):
        os.utime(scratch, (0, 0))
    keys = [(kind, path) for path in paths for kind in (PACKED, DEVELOPED)]
    raw_cache.fill(folder, keys, cameras.SONY)
    assert_complete(folder, paths, decoded)


def test_a_disk_too_small_is_refused_before_anything_is_decoded(
    tmp_path, files_wanted, decoded, monkeypatch
):
    pixels = np.prod(BAYER_SIZE)
    need = pixels * (4 * 2 + 6)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need - 1))
    with pytest.raises(InputError, match=r"--cache_dir: 5 decoded raw files take about 0\.1 MB"):
        raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    assert not decoded
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need))
    entries = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    # The estimate holds to the headers of the arrays.
    assert sum(entry.array_file.stat().st_size - 128 for entry in entries.values()) == need
    # What is replaced makes room for what replaces it.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    remove_record(entries[files_wanted[0]].array_file)
    raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)


@pytest.mark.parametrize("kind", [PACKED, DEVELOPED])
def test_the_estimate_holds_for_xtrans(tmp_path, kind, monkeypatch):
    path = write(tmp_path / "00001_00_1s.RAF", 1, cameras.FUJI, XTRANS_SIZE)
    asked = []
    monkeypatch.setattr(raw_cache, "_size", lambda count: asked.append(count) or "")
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(InputError):
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
        raw_cache.fill(tmp_path / "cache", [(kind, path)], cameras.FUJI)
    (entry,) = raw_cache.fill(tmp_path / "cache", [(kind, path)], cameras.FUJI).values()
    size = np.prod(entry.shape) * 2
    # Packing may cut off up to a period and a half of rows and columns.
    assert size <= asked[0] <= size * 1.05


def test_a_disk_that_fills_up_is_one_sentence(tmp_path, files_wanted, monkeypatch):
    folder = tmp_path / "cache"
    raw_cache.fill(folder, files_wanted[:1], cameras.SONY)
    whole, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as failure:
        raw_cache.fill(folder, files_wanted, cameras.SONY)
    assert re.match(f"{folder}/.*: the disk is full: make room", sentence(failure.value))
    assert not list(folder.glob(".*"))
    monkeypatch.undo()
    raw_cache.fill(folder, files_wanted, cameras.SONY)


def test_a_write_that_fails_is_one_sentence(tmp_path, files_wanted):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large: .*cache"):
            raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, files_wanted):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--cache_dir: .*file is a file"):
        raw_cache.fill(tmp_path / "file" / "cache", files_wanted, cameras.SONY)


def test_a_full_cache_may_be_read_only(tmp_path, files_wanted, monkeypatch):
    entries = raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)

    def refuse(path, data):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "write_whole", refuse)
    assert raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY) == entries
    entries[files_wanted[0]].array_file.unlink()
    with pytest.raises(OSError, match="Read-only file system"):
        raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)


def test_bad_raw_files_are_named(tmp_path, files_wanted):
    broken = tmp_path / "raw" / "00001_03_0.1s.ARW"
    broken.write_bytes(b"not a raw file, but long enough to look at")
    with pytest.raises(InputError, match="00001_03_0.1s.ARW is damaged or cut short"):
        raw_cache.fill(tmp_path / "cache", [*files_wanted, (PACKED, broken)], cameras.SONY)
    missing = tmp_path / "raw" / "00001_04_0.1s.ARW"
    with pytest.raises(InputError, match="00001_04_0.1s.ARW cannot be read .No such file"):
        raw_cache.fill(tmp_path / "cache", [(PACKED, missing)], cameras.SONY)
    with pytest.raises(InputError, match="has the mosaic bayer, but --camera fuji"):
        raw_cache.fill(tmp_path / "cache", files_wanted, cameras.FUJI)


def test_progress_says_how_far_it_is(tmp_path, files_wanted, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SILENCE", -1)
    raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for done, line in enumerate(lines[:-1], 1):
        assert line.startswith(f"decoded {done} of 5 raw files into {tmp_path / 'cache'}, ")
        assert line.endswith(" s left")
    assert lines[-1].startswith("decoded 5 of 5 raw files")
    raw_cache.fill(tmp_path / "cache", files_wanted, cameras.SONY)
    assert capsys.readouterr().out == ""
