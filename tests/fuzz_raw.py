"""Damaged raw files, one after another, through everything that reads them.

    python -m tests.fuzz_raw FOLDER SEED FIRST LAST

Each case depends on the seed and its own number only, so that any can be run again alone. Before
a case is run its number is printed, and after it what came of it: a crash names its case.
"""

import pathlib
import re
import struct
import sys
import time
import warnings

import numpy as np

from dbp_tf import files
from dbp_tf.errors import InputError
from dbp_tf.photos import bursts, photographs
from dbp_tf.photos.settings import Settings
from dbp_tf.raw import reading
from dbp_tf.raw.cameras import FUJI, SONY

FOREIGN = {
    "empty": b"",
    "text": b"Dear diary, today the camera fell into the lake.\n" * 50,
    "zeros": bytes(5000),
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)) * 8,
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(500),
    "heic": b"\0\0\0\x18ftypheic" + bytes(500),
    "cr3": b"\0\0\0\x18ftypcrx " + bytes(8) + struct.pack(">I4s", 0xFFFFFFF0, b"moov") * 9,
    "raf": b"FUJIFILMCCD-RAW 0201" + b"\xff" * 400,
    "zip": b"PK\3\4" + bytes(range(256)) * 4,
    "tiff": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    "loop": b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + bytes(400),
}


class OneFrame:
    """In place of a network: the picture is the frame's red, thrice, enlarged."""

    coarse = white_balance = None

    def __init__(self, scale):
        self.scale = scale

    def enhance(self, frames):
        red = frames[0][..., :1].repeat(self.scale, 0).repeat(self.scale, 1)
        return red.repeat(3, 2)


def damaged(whole, rng):
    """(what was done, bytes) of a raw file gone bad."""
    kind = rng.choice(["cut", "bits", "header", "bytes", "field", "hole", "foreign", "spliced"])
    data = bytearray(whole)
    # The first kilobyte and a half holds the tags and what they point to.
    header = min(1500, len(data))
    if kind == "cut":
        data = data[: int(len(data) * rng.random() ** 2)]
    elif kind == "bits":
        for at in rng.integers(len(data), size=rng.integers(1, 50)):
            data[at] ^= 1 << rng.integers(8)
    elif kind == "header":
        for at in rng.integers(header, size=rng.integers(1, 40)):
            data[at] ^= 1 << rng.integers(8)
    elif kind == "bytes":
        for at in rng.integers(header, size=rng.integers(1, 20)):
            data[at] = rng.choice([0, 1, 127, 128, 255])
    elif kind == "field":
        # A whole number of one of the tags: a type, a count, a size, an offset.
        count = struct.unpack_from("<H", data, 8)[0]
        entry = 10 + 12 * int(rng.integers(count))
        code, at = [("<H", 2), ("<I", 4), ("<I", 8)][rng.integers(3)]
        number = int(rng.choice([0, 1, 7, 255, 65535, 2**31 - 1, 2**32 - 1, len(data)]))
        struct.pack_into(code, data, entry + at, number % 2 ** (8 * struct.calcsize(code)))
    elif kind == "hole":
        start = int(rng.integers(len(data)))
        end = min(start + int(rng.integers(1, 600)), len(data))
        data[start:end] = bytes([rng.choice([0, 255])]) * (end - start)
    elif kind == "spliced":
        at = int(rng.integers(len(data)))
        data = data[:at] + data[int(rng.integers(len(data))) :]
    else:
        name = rng.choice(list(FOREIGN))
        return name, FOREIGN[name]
    return kind, bytes(data)


def outcome(function):
    """ "read", or the error's sentence; anything but an `InputError` is raised."""
    try:
        function()
    except InputError as error:
        return str(error)
    return "read"


def restore(folder, path, camera):
    """The whole way of a photograph."""
    found, _ = bursts.find_bursts([path])
    settings = Settings(
        camera=camera,
        mode="single",
        reference_frame="first",
        result_dir=folder,
        overwrite=True,
    )
    model = OneFrame(2 if camera is SONY else 3)
    photographs.restore_all(lambda: model, found, settings)


def run_case(folder, path, camera):
    """Every way in which a raw file is read; what `outcome` says of each."""
    return [
        outcome(lambda: reading.read_raw(path)),
        outcome(lambda: reading.read_raw(path, camera)),
        outcome(lambda: reading.read_truth(path)),
        outcome(lambda: restore(folder, path, camera)),
    ]


def check_folder(folder):
    """Raises AssertionError unless the folder holds a whole picture or nothing; empties it."""
    for path in folder.iterdir():
        data = path.read_bytes()
        assert path.suffix == ".png" and data.endswith(b"IEND\xaeB\x60\x82"), f"{path} is torn"
        path.unlink()


def peak_megabytes():
    """Most memory this process had; 0 where only Linux would tell.

    Not `resource.getrusage`, which counts what the parent had when it started this process.
    """
    status = pathlib.Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) // 1024 if found else 0


def main(folder, seed, first, last):
    folder = pathlib.Path(folder)
    whole = [(folder / name).read_bytes() for name in ("bayer.dng", "xtrans.dng")]
    results, path = folder / f"results-{first}", folder / f"case-{first}.dng"
    results.mkdir()
    for number in range(first, last):
        rng = np.random.default_rng([seed, number])
        # An X-Trans file is large, for LibRaw develops no small ones, and slow.
        which = int(rng.random() < 0.1)
        kind, data = damaged(whole[which], rng)
        files.write_whole(path, data)
        print(f"case {number}: {kind}", flush=True)
        started = time.monotonic()
        said = run_case(results, path, (SONY, FUJI)[which])
        check_folder(results)
        for sentence in said:
            assert sentence == "read" or path.name in sentence, sentence
            assert "\n" not in sentence, sentence
        print(f"done {number}: {time.monotonic() - started:.2f} s; {' | '.join(said)}", flush=True)
    print(f"peak {peak_megabytes()} MB", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1], *map(int, sys.argv[2:]))
