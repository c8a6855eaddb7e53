"""Pictures: every whole value survives the file, others are rounded and clipped, none is torn."""

import importlib.util
import io
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import rawpy
import tensorflow as tf
import tifffile
from PIL import Image, ImageCms

from dbp_tf import pictures, simulate
from dbp_tf.errors import InputError
from dbp_tf.raw.cameras import SONY


def read(path, bits):
    """[rows, columns, 3] whole numbers of a PNG file."""
    if bits == 8:
        return iio.imread(path)
    return tf.io.decode_png(tf.io.read_file(str(path)), dtype=tf.uint16).numpy()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_value_comes_back(tmp_path, bits, dtype):
    top = 2**bits - 1
    values = np.arange(top + 1)
    whole = np.stack([values, values[::-1], np.roll(values, 7)], axis=-1)
    whole = whole.reshape(2 ** (bits // 2 - 1), -1, 3)
    path = tmp_path / "picture.png"
    pictures.write_png(path, (whole / top).astype(dtype), bits)
    back = read(path, bits)
    assert back.dtype == {8: np.uint8, 16: np.uint16}[bits]
    np.testing.assert_array_equal(back, whole)


@pytest.mark.parametrize("bits", [8, 16])
def test_values_are_rounded_to_the_nearest(bits):
    top = 2**bits - 1
    steps = np.array([0.49, 0.51, 7.49, 7.51, top - 0.51, top - 0.49]).reshape(1, 2, 3)
    wanted = np.array([0, 1, 7, 8, top - 1, top]).reshape(1, 2, 3)
    np.testing.assert_array_equal(pictures.quantised(steps / top, bits), wanted)


@pytest.mark.parametrize("bits", [8, 16])
def test_values_beyond_the_range_are_clipped(bits):
    values = np.array([[[-0.2, 1.3, -1e9], [1e9, 0.0, 1.0]]], np.float32)
    top = 2**bits - 1
    np.testing.assert_array_equal(
        pictures.quantised(values, bits), np.array([[[0, top, 0], [top, 0, top]]])
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_16_bit_pictures_give_what_they_give_as_floats(bits):
    every = np.arange(2**16, dtype=np.uint16)[: 3 * 21845].reshape(-1, 5, 3)
    expected = np.rint(every * ((2**bits - 1) / 65535))
    np.testing.assert_array_equal(pictures.quantised(every, bits), expected)


def test_the_picture_handed_over_stays_as_it_is():
    values = np.array([[[-0.2, 1.3, 0.5]]], np.float32)
    before = values.copy()
    pictures.quantised(values)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("bits", [8, 16])
def test_values_that_are_no_numbers_are_refused_and_nothing_is_written(tmp_path, bad, bits):
    values = np.full((5, 4, 3), 0.5)
    values[3, 2, 1] = bad
    with pytest.raises(InputError, match=r"picture\.png.*not finite numbers.*row 3"):
        pictures.write_png(tmp_path / "picture.png", values, bits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 4), (1, 4, 5, 3), (0, 5, 3)])
def test_other_shapes_are_refused(tmp_path, shape):
    with pytest.raises(InputError, match=r"\[rows, columns, 3\]"):
        pictures.write_png(tmp_path / "picture.png", np.zeros(shape))


def test_an_existing_picture_is_replaced(tmp_path):
    path = tmp_path / "picture.png"
    for level in (0.0, 1.0):
        pictures.write_png(path, np.full((3, 4, 3), level))
    assert iio.imread(path).min() == 255


def random_picture(rows, columns):
    return np.random.default_rng(rows).random((rows, columns, 3), np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (37, 53), (410, 1025)])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_is_read_back_by_others(shape, bits):
    picture = random_picture(*shape)
    data = pictures.tiff_bytes(picture, bits)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        np.testing.assert_array_equal(page.asarray(), pictures.quantised(picture, bits))
        assert page.tags["Orientation"].value == 1
        assert page.tags["InterColorProfile"].value == pictures.srgb_profile()
    if bits == 8:
        # Pillow, which holds no 16-bit colour, reads with libtiff.
        read = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(read, pictures.quantised(picture))


def test_without_tifffile_tiff_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        pictures.tiff_bytes(random_picture(4, 5))
    pictures.check_kind("png16")


def test_jpeg_is_close_and_of_full_colour_resolution():
    picture = np.zeros((32, 48, 3))
    picture[::2, :, 0] = 1  # Stripes of one pixel, which halved colours would lose.
    read = iio.imread(pictures.jpeg_bytes(picture))
    np.testing.assert_allclose(read / 255, picture, atol=0.12)


@pytest.mark.parametrize("kind", list(pictures.FORMATS))
def test_every_format_says_srgb(tmp_path, kind):
    path = tmp_path / ("picture" + pictures.FORMATS[kind].suffix)
    pictures.write_picture(path, random_picture(20, 30), kind)
    with Image.open(path) as image:
        image.load()  # Checks the checksums of a PNG's chunks.
        assert image.size == (30, 20)
        info = image.info
    if path.suffix == ".png":
        assert info["srgb"] == 0
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileName(profile)
    # One picture, one file.
    before = path.read_bytes()
    pictures.write_picture(path, random_picture(20, 30), kind)
    assert path.read_bytes() == before


def test_the_profile_leaves_srgb_as_it_is():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(pictures.srgb_profile()))
    picture = Image.fromarray(pictures.quantised(random_picture(16, 16)))
    same = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"))
    np.testing.assert_allclose(np.asarray(same), np.asarray(picture), atol=1)


@pytest.mark.parametrize("kind", list(pictures.FORMATS))
def test_no_format_is_overwritten_unasked_or_left_half_written(tmp_path, kind):
    path = tmp_path / "picture"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="picture exists already: give --overwrite"):
        pictures.write_picture(path, random_picture(4, 5), kind, overwrite=False)
    with pytest.raises(InputError, match="not finite numbers"):
        pictures.write_picture(path, np.full((4, 5, 3), np.nan), kind)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
    pictures.write_picture(path, random_picture(4, 5), kind)
    assert path.read_bytes() != b"precious"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_libraw_turns_it(tmp_path, orientation):
    mosaic = np.random.default_rng(0).integers(512, 16384, (64, 92)).astype(np.uint16)
    simulate.write_dng(tmp_path / "a.dng", mosaic, SONY, orientation=orientation)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        flip = raw.sizes.flip
        turned = raw.postprocess()
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        as_taken = raw.postprocess(user_flip=0)
    np.testing.assert_array_equal(pictures.upright(as_taken, flip), turned)
    assert turned.shape == ((64, 92, 3) if orientation < 5 else (92, 64, 3))
