"""Damaged and foreign files: every one is read or refused in a sentence; none crashes or hangs."""

import datetime
import pathlib
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from dbp_tf import simulate
from dbp_tf.errors import InputError
from dbp_tf.raw import exif, reading
from dbp_tf.raw.cameras import FUJI, SONY

ROOT = pathlib.Path(__file__).parents[1]
SEED = 6

# Seconds for a batch: hundreds of times what it takes, and little for a hang.
PATIENCE = 300

# A 64 x 76 picture and LibRaw take 60 MB; more would be a damaged size believed.
MOST_MEGABYTES = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    for name, camera, shape in (("bayer", SONY, (64, 76)), ("xtrans", FUJI, (516, 516))):
        mosaic = rng.integers(camera.black, camera.black + 200, shape).astype(np.uint16)
        captured = datetime.datetime(2020, 1, 2, 3, 4, 5, 600000)
        simulate.write_dng(folder / f"{name}.dng", mosaic, camera, captured=captured)
    return folder


def run_batch(folder, first, last):
    """Runs cases in a process of their own; returns what came of each."""
    numbers = map(str, (SEED, first, last))
    command = [sys.executable, "-m", "tests.fuzz_raw", str(folder), *numbers]
    try:
        # LibRaw writes its own remarks to standard error.
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        code, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        code, out, err = "time ran out", expired.stdout.decode(), ""
    running = re.findall(r"^case .*", out, re.M)
    assert code == 0, f"seed {SEED}, {running[-1:]}: {code}\n{err[-2000:]}"
    finished = re.findall(r"^done (\d+): ([\d.]+) s; (.*)", out, re.M)
    assert [int(number) for number, _, _ in finished] == list(range(first, last))
    (peak,) = re.findall(r"^peak (\d+) MB", out, re.M)
    assert int(peak) < MOST_MEGABYTES
    return [said.split(" | ") for _, _, said in finished]


def test_damaged_files_are_read_or_refused(folder):
    said = run_batch(folder, 0, 60)
    # The damage is such that both happens often.
    refused = sum(sentences[0] != "read" for sentences in said)
    assert 12 <= refused <= 48


@pytest.mark.slow
def test_a_thousand_damaged_files(folder):
    said = [s for first in range(60, 1060, 100) for s in run_batch(folder, first, first + 100)]
    sentences = [re.sub(r"^\S+ |[\d.]+", "", s[0])[:40] for s in said]
    print({sentence: sentences.count(sentence) for sentence in sorted(set(sentences))})


def test_a_size_the_file_cannot_hold_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.dng"
    simulate.write_dng(path, np.full((64, 76), 600, np.uint16), SONY)
    data = bytearray(path.read_bytes())
    (count,) = struct.unpack_from("<H", data, 8)
    for entry in range(10, 10 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in (256, 257):  # width and height
            struct.pack_into("<HII", data, entry + 2, 4, 1, 30000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.dng is damaged.*900000000 pixels in \d+ bytes"):
        reading.read_raw(path)


def test_the_tag_reader_survives_anything(tmp_path):
    whole = tmp_path / "whole.dng"
    simulate.write_dng(whole, np.full((64, 76), 600, np.uint16), SONY)
    whole = whole.read_bytes()[:1600]
    path = tmp_path / "a.dng"
    rng = np.random.default_rng(SEED)
    for _ in range(500):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=10):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data))])
        assert isinstance(exif.read_shot(path), exif.Shot)
