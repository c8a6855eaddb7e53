"""Pictures: every whole value survives the file, others are rounded and clipped, none is torn."""

import os

import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow as tf

from dbp_tf import files, pictures
from dbp_tf.errors import InputError


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


def test_a_write_that_fails_keeps_the_old_picture_and_leaves_no_scraps(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    pictures.write_png(path, np.zeros((3, 4, 3)))
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        pictures.write_png(path, np.ones((3, 4, 3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_picture_is_replaced(tmp_path):
    path = tmp_path / "picture.png"
    for level in (0.0, 1.0):
        pictures.write_png(path, np.full((3, 4, 3), level))
    assert iio.imread(path).min() == 255


def test_a_file_in_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_whole(tmp_path / "missing" / "file", b"x")
