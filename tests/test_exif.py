"""When and how a raw file was taken: EXIF tags in every container, read or unknown."""

import datetime
import struct

import numpy as np
import pytest

from dbp_tf import simulate
from dbp_tf.raw import exif
from dbp_tf.raw.cameras import SONY

NOON = datetime.datetime(2021, 6, 1, 12)


def test_capture_time_exposure_and_camera_are_read(tmp_path):
    captured = NOON + datetime.timedelta(seconds=1.25)
    mosaic = np.full((64, 76), 600, np.uint16)
    simulate.write_dng(tmp_path / "a.dng", mosaic, SONY, exposure=0.04, captured=captured)
    shot = exif.read_shot(tmp_path / "a.dng")
    assert shot.captured == NOON + datetime.timedelta(seconds=1)
    assert shot.subsecond == 0.25
    assert shot.exposure == pytest.approx(0.04)
    assert shot.camera == "dbp_tf Sony ILCE-7SM2 (simulated)"


def tiff_block(order, entries, exif_entries=(), signature=42, below=0x8769):
    """A TIFF header with a directory of (tag, type, value) and an EXIF (or other) one below it."""

    def directory(entries, at):
        beyond = at + 2 + 12 * len(entries) + 4
        head, tail = struct.pack(order + "H", len(entries)), b""
        for tag, kind, value in entries:
            if kind == 2:
                data, count = value.encode() + b"\0", len(value) + 1
            else:
                numbers = value if isinstance(value, tuple) else (value,)
                data = struct.pack(order + len(numbers) * {3: "H", 4: "I", 5: "I"}[kind], *numbers)
                count = len(numbers) // (2 if kind == 5 else 1)
            if len(data) > 4:
                offset = beyond + len(tail)
                tail += data
                data = struct.pack(order + "I", offset)
            head += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
        return head + bytes(4) + tail

    place = 8 + len(directory([*entries, (below, 4, 0)], 8))
    block = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", signature, 8)
    block += directory([*entries, (below, 4, place)], 8)
    return block + directory(list(exif_entries), place)


IMAGE_TAGS = [(0x010F, 2, "Maker"), (0x0110, 2, "One")]
EXIF_TAGS = [
    (0x829A, 5, (1, 30)),
    (0x829D, 5, (28, 10)),
    (0x8827, 3, 3200),
    (0x9003, 2, "2021:06:01 12:00:07"),
    (0x9291, 2, "083"),
]
WHOLE = {
    "camera": "Maker One",
    "exposure": 1 / 30,
    "f_number": 2.8,
    "iso": 3200,
    "captured": NOON + datetime.timedelta(seconds=7),
    "subsecond": 0.083,
}


def boxed(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_container_tells_the_same(tmp_path, order):
    block = tiff_block(order, IMAGE_TAGS, EXIF_TAGS)
    jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xe1" + struct.pack(">H", len(block) + 8)
    jpeg += b"Exif\0\0" + block + b"\xff\xda\0\0"
    raf = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 150, len(jpeg))
    inner = boxed(b"CMT1", tiff_block(order, IMAGE_TAGS))
    inner += boxed(b"CMT2", tiff_block(order, EXIF_TAGS))
    moov = boxed(b"moov", boxed(b"uuid", bytes(16) + boxed(b"CNCV", b"12") + inner))
    containers = {
        "plain.nef": block,
        "panasonic.rw2": tiff_block(order, IMAGE_TAGS, EXIF_TAGS, 0x55),
        "fuji.raf": raf.ljust(150, b"\0") + jpeg,
        "pi.jpg": jpeg,
        "canon.cr3": boxed(b"ftyp", b"crx \0\0\0\1") + moov,
    }
    for name, content in containers.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert exif.read_shot(path) == exif.Shot(path, **WHOLE), name


def test_what_the_tags_do_not_tell_is_unknown(tmp_path):
    path = tmp_path / "a.nef"
    tags = [(0x829A, 5, (1, 0)), (0x9003, 2, "0000:00:00 00:00:00"), (0x9291, 2, "x")]
    path.write_bytes(tiff_block("<", IMAGE_TAGS[:1], tags))
    assert exif.read_shot(path) == exif.Shot(path, camera="Maker")
    # The clock's general time stands in for that of the shot.
    path.write_bytes(tiff_block("<", [(0x0132, 2, "2021:06:01 12:00:07")]))
    assert exif.read_shot(path) == exif.Shot(path, captured=WHOLE["captured"])
    path.write_bytes(b"neither")
    for unknown in (path, tmp_path / "none"):
        assert exif.read_shot(unknown) == exif.Shot(unknown)
