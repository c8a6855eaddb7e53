"""Raw files as LibRaw reads them: every phase, both mosaics, levels, and what is refused."""

import dataclasses
import os
import struct

import handmade_dng
import imageio.v3 as imageio
import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image

from dbp_tf import raw, simulate
from dbp_tf.errors import InputError
from dbp_tf.raw import packing, reading
from dbp_tf.raw.cameras import FUJI, SONY
from dbp_tf.raw.overrides import OverrideFlags

SIZES = {"bayer": (64, 76), "xtrans": (516, 522)}


def random_mosaic(shape, seed=0):
    return np.random.default_rng(seed).integers(400, 16384, shape).astype(np.uint16)


def shifted_pattern(layout, row, column):
    """The layout's filters as a sensor sees them whose layout starts at (row, column)."""
    colours = np.array([list(line) for line in layout.colours])
    return tuple("".join(line) for line in np.roll(colours, (row, column), (0, 1)))


@pytest.mark.parametrize("phase", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_bayer_phase_is_cut_to_rggb(tmp_path, phase):
    mosaic = random_mosaic(SIZES["bayer"])
    pattern = shifted_pattern(packing.BAYER, *phase)
    simulate.write_dng(tmp_path / "a.dng", mosaic, SONY, pattern=pattern)
    frame = reading.read_raw(tmp_path / "a.dng", SONY)
    rows, columns = frame.mosaic.shape
    assert frame.offset == phase
    assert (rows % 4, columns % 4) == (0, 0)
    assert max(mosaic.shape[0] - phase[0] - rows, mosaic.shape[1] - phase[1] - columns) < 4
    assert frame.visible == (mosaic.shape[0] - phase[0], mosaic.shape[1] - phase[1])
    there = mosaic[phase[0] :, phase[1] :][:rows, :columns]
    np.testing.assert_array_equal(frame.mosaic, there)


@pytest.mark.parametrize("phase", [(0, 0), (1, 2), (2, 1), (5, 0)])
def test_xtrans_is_found_at_a_phase_shift(tmp_path, phase):
    mosaic = random_mosaic(SIZES["xtrans"])
    pattern = shifted_pattern(packing.XTRANS, *phase)
    simulate.write_dng(tmp_path / "a.dng", mosaic, FUJI, pattern=pattern)
    frame = reading.read_raw(tmp_path / "a.dng", FUJI)
    row, column = frame.offset
    rows, columns = frame.mosaic.shape
    assert rows % 6 == columns % 6 == 0
    np.testing.assert_array_equal(frame.mosaic, mosaic[row : row + rows, column : column + columns])
    colours = np.tile([list(line) for line in pattern], (3, 3))
    start = colours[row : row + 6, column : column + 6]
    np.testing.assert_array_equal(start, [list(line) for line in packing.XTRANS.colours])


@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
def test_the_packed_frame_is_the_method_s(tmp_path, camera):
    layout = packing.LAYOUTS[camera.mosaic]
    mosaic = random_mosaic(SIZES[layout.name])
    simulate.write_dng(tmp_path / "a.dng", mosaic, camera)
    frame = reading.read_raw(tmp_path / "a.dng", camera)
    assert frame.levels == f"black {camera.black}, white 16383 (camera table)"
    rows, columns = frame.mosaic.shape
    signal = (mosaic[:rows, :columns].astype(np.float64) - camera.black).clip(0)
    signal = (signal / (16383 - camera.black) * 2.5).clip(max=1)
    np.testing.assert_allclose(frame.packed(2.5), packing.pack(signal, layout), atol=1e-6)


def test_levels_and_white_balance_come_from_the_file_without_a_camera(tmp_path):
    other = dataclasses.replace(SONY, black=64, white=1023, white_balance=(1.5, 1.0, 2.5))
    mosaic = random_mosaic(SIZES["bayer"]) % 1024
    # Blue filter at (0, 0): the black of each site must follow its filter.
    pattern, black = ("BG", "GR"), [[60, 64], [68, 72]]
    simulate.write_dng(tmp_path / "a.dng", mosaic, other, pattern=pattern, black=black)
    frame = reading.read_raw(tmp_path / "a.dng")
    assert frame.offset == (1, 1)
    # Packed order is R, G of the red row, B, G of the blue row, at sites 11, 10, 00, 01.
    assert frame.black == (72, 68, 60, 64)
    assert frame.levels == "black 60/64/68/72, white 1023 (file)"
    np.testing.assert_allclose(frame.white_balance, (1.5, 1, 2.5), rtol=1e-4)
    # Under a SID name it is still not a file of that camera.
    assert reading.read_raw(tmp_path / "a.dng", SONY).levels == frame.levels


@pytest.mark.parametrize("phase", [(0, 0), (1, 0), (1, 2)])
@pytest.mark.parametrize("block", [(4, 4), (3, 2), (6, 6), (2, 2)], ids=str)
@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
def test_black_levels_that_repeat_come_to_their_mean_in_each_channel(
    tmp_path, camera, block, phase
):
    """Without it the least of them would be taken for all, which LibRaw tells."""
    layout = packing.LAYOUTS[camera.mosaic]
    levels = np.random.default_rng(0).integers(480, 544, block)
    # Light of 100 everywhere; twelve repeats of any block here and of both layouts.
    shape = (528, 528) if camera is FUJI else (72, 84)
    mosaic = 100 + np.tile(levels, (264, 264))[: shape[0], : shape[1]].astype(np.uint16)
    pattern = shifted_pattern(layout, *phase)
    simulate.write_dng(tmp_path / "a.dng", mosaic, camera, pattern=pattern, black=levels)
    frame = reading.read_raw(tmp_path / "a.dng")
    whole = packing.pack(frame.mosaic, layout)[:24, :24]
    np.testing.assert_allclose(frame.black, whole.mean((0, 1)) - 100, rtol=1e-12)
    exact = camera is SONY and block == (2, 2)
    assert ("whose mean is taken" in frame.levels) is not exact
    given = reading.read_raw(tmp_path / "a.dng", overrides=OverrideFlags(black=["500"]).overrides)
    assert given.levels == "black 500, white 16383 (--black, else file)"


def test_black_levels_of_each_colour_of_an_xtrans_mosaic_are_kept_whole(tmp_path):
    of_colour = {"R": 1000, "G": 1020, "B": 1030}
    levels = [[of_colour[colour] for colour in row] for row in packing.XTRANS.colours]
    mosaic = random_mosaic(SIZES["xtrans"])
    simulate.write_dng(tmp_path / "a.dng", mosaic, FUJI, black=levels)
    frame = reading.read_raw(tmp_path / "a.dng")
    assert frame.black == (1000, 1020, 1030, 1000, 1030, 1020, 1020, 1020, 1020)
    assert frame.levels == "black 1000/1020/1030, white 16383 (file)"


def test_the_truth_is_what_libraw_develops(tmp_path):
    mosaic = random_mosaic(SIZES["bayer"])
    simulate.write_dng(tmp_path / "a.dng", mosaic, SONY, orientation=6)
    truth = reading.read_truth(tmp_path / "a.dng", offset=(1, 0))
    assert truth.dtype == np.float32
    assert truth.shape == (63, 76, 3)
    with rawpy.imread(str(tmp_path / "a.dng")) as opened:
        expected = opened.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, user_flip=0
        )
    np.testing.assert_allclose(truth, expected[1:] / 65535, atol=1e-7)


def write_linear(path):
    tifffile.imwrite(
        path,
        random_mosaic((64, 64, 3)),
        photometric=34892,
        extratags=[
            (50706, "B", 4, (1, 4, 0, 0), True),
            (50708, "s", 0, "linear", True),
            (50721, "2i", 9, [n for v in np.eye(3, dtype=int).ravel() for n in (v, 1)], True),
        ],
    )


def write_mosaic(pattern):
    return lambda path: simulate.write_dng(path, random_mosaic((64, 64)), SONY, pattern=pattern)


def write_jpeg(path):
    imageio.imwrite(path, np.zeros((64, 64, 3), np.uint8), extension=".jpg")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no raw file"),
        (lambda path: path.touch(), "is empty"),
        (
            lambda path: path.write_text("not a raw file\n" * 999),
            "is not a raw file that LibRaw can read, or it is damaged or cut short",
        ),
        (write_jpeg, "is a finished picture.*already lost"),
        (write_linear, "holds no colour-filter mosaic"),
        (write_mosaic(("RG", "RB")), "neither Bayer nor X-Trans"),
        (lambda path: path.mkdir(), "there is no raw file"),
    ],
)
def test_what_cannot_be_restored_is_refused_by_name(tmp_path, write, message):
    path = tmp_path / "10003_00_0.1s.ARW"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        reading.read_raw(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "a.dng"
    simulate.write_dng(path, random_mosaic((256, 256)), SONY)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 3000, 300, 20):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="a.dng is .*cut short .*copy it from the camera"):
            reading.read_raw(path)
        with pytest.raises(InputError, match="a.dng"), reading.open_raw(path, unpack=False):
            pass


def test_libraw_prints_nothing_before_the_sentence(tmp_path, capfd):
    # No DNG, so that LibRaw itself has to find out.
    path = handmade_dng.write(tmp_path / "a.nef", random_mosaic((64, 76)), {50706: None})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="a.nef is damaged or cut short .Input/output error"):
        reading.read_raw(path)
    assert capfd.readouterr().err == ""
    with rawpy.RawPy() as opened, pytest.raises(rawpy.LibRawIOError):
        opened.open_file(str(path))
        opened.unpack()
    assert "a.nef: Unexpected end of file" in capfd.readouterr().err


def test_what_others_print_meanwhile_is_kept(tmp_path, capfd, monkeypatch):
    simulate.write_dng(tmp_path / "a.dng", random_mosaic((64, 76)), SONY)

    class Chatty(rawpy.RawPy):
        def open_file(self, path):
            os.write(2, b"important\nfile.nef: data corrupted at 12\n")
            super().open_file(path)

    monkeypatch.setattr(rawpy, "RawPy", Chatty)
    reading.read_raw(tmp_path / "a.dng")
    assert capfd.readouterr().err == "important\n"


def raspberry_pi(path, behind):
    exif = Image.Exif()
    exif[271], exif[272] = "RaspberryPi", "RP_ov5647"
    Image.new("RGB", (64, 64)).save(path, "JPEG", exif=exif)
    path.write_bytes(path.read_bytes() + behind)


def test_the_raw_samples_behind_a_raspberry_pi_s_jpeg_are_read(tmp_path):
    """Camera module 1: 2592 x 1944 samples of 10 bits, four in five bytes, rows padded."""
    rows, columns = 1944, 2592
    values = np.random.default_rng(0).integers(12, 60, (rows, columns)).astype(np.uint16)
    five = np.zeros((rows, columns // 4, 5), np.uint8)
    five[..., :4] = (values >> 2).reshape(rows, -1, 4)
    for place in range(4):
        five[..., 4] |= ((values[:, place::4] & 3) << 2 * place).astype(np.uint8)
    lines = np.zeros((rows, 3264), np.uint8)
    lines[:, : columns * 5 // 4] = five.reshape(rows, -1)
    header = bytearray(0x8000)
    header[:5] = b"BRCMo"
    format_and_filters = struct.pack("<HHHH24xHHBB", columns, rows, 0, 0, 0, 33, 0, 3)
    header[0xB0 : 0xB0 + 32 + len(format_and_filters)] = b"ov5647".ljust(32, b"\0") + (
        format_and_filters
    )
    samples = (bytes(header) + lines.tobytes()).ljust(6404096, b"\0")
    raspberry_pi(tmp_path / "a.jpg", samples)
    frame = reading.read_raw(tmp_path / "a.jpg")
    assert frame.levels == "black 16, white 1023 (file)"
    assert frame.layout is packing.BAYER and frame.offset == (0, 0)
    # LibRaw's order of the samples within their five bytes is its own.
    assert frame.mosaic.shape == (rows, columns)
    assert sorted(frame.mosaic[100]) == sorted(values[100])


def test_a_jpeg_whose_raw_samples_libraw_does_not_know(tmp_path):
    raspberry_pi(tmp_path / "a.jpg", b"BRCMo" + bytes(5000))
    with pytest.raises(InputError, match="a.jpg is the JPEG of a Raspberry Pi .* shoot DNG"):
        reading.read_raw(tmp_path / "a.jpg")


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif", b"hevc", b"isom"])
def test_other_finished_pictures_stay_refused(tmp_path, brand):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(500))
    with pytest.raises(InputError, match="a.heic is a finished picture"):
        reading.read_raw(tmp_path / "a.heic")


def test_a_dump_without_a_header_is_remarked_on(tmp_path):
    # LibRaw takes a file of so many bytes for an AVT F-080C's.
    values = np.random.default_rng(0).integers(0, 64, 1024 * 768).astype(np.uint8)
    (tmp_path / "a.raw").write_bytes(values.tobytes())
    frame = reading.read_raw(tmp_path / "a.raw")
    (note,) = frame.notes
    assert "no header that names its camera" in note
    assert "(white level 255, brightest pixel 63)" in note and "give --black, --white" in note


def test_the_readme_s_way(tmp_path):
    simulate.write_dng(tmp_path / "a.dng", random_mosaic(SIZES["bayer"]), SONY)
    frame = raw.read_raw(tmp_path / "a.dng")
    assert isinstance(frame, raw.RawFrame)
    assert frame.packed(100).shape == (32, 38, 4)
    assert all(hasattr(raw, name) for name in raw.__all__)


def test_the_other_camera_and_levels_without_room_are_refused(tmp_path):
    simulate.write_dng(tmp_path / "a.dng", random_mosaic(SIZES["bayer"]), SONY)
    with pytest.raises(InputError, match="mosaic bayer, but --camera fuji has xtrans"):
        reading.read_raw(tmp_path / "a.dng", FUJI)
    simulate.write_dng(
        tmp_path / "b.dng",
        random_mosaic(SIZES["bayer"]),
        dataclasses.replace(SONY, white=1000),
        black=[[1000]],
    )
    with pytest.raises(InputError, match="b.dng has black level 1000 and white level 1000 .file."):
        reading.read_raw(tmp_path / "b.dng")
