"""Packing against the golden results of the published code, every phase, and inverses."""

import numpy as np
import pytest
import skimage.transform

from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, packing


@pytest.fixture(scope="module")
def golden(data):
    return np.load(data / "packing_metrics.npz")


@pytest.mark.parametrize(("name", "camera"), [("bayer", cameras.SONY), ("xtrans", cameras.FUJI)])
def test_packing_equals_the_published_code_exactly(golden, name, camera):
    samples = packing.pack(golden[name], packing.LAYOUTS[name])
    packed = packing.normalise(samples, camera.black, camera.white)
    assert packed.dtype == np.float32
    np.testing.assert_array_equal(packed, golden[f"{name}_packed"])


@pytest.mark.parametrize("layout", packing.LAYOUTS.values(), ids=str)
def test_every_channel_holds_one_colour(layout):
    colours = np.array([list(row) for row in layout.colours])
    packed = packing.pack(np.tile(colours, (2, 3)), layout)
    found = ["".join(set(packed[..., channel].ravel())) for channel in range(layout.channels)]
    assert found == {"bayer": list("RGBG"), "xtrans": list("RGBRBGGGG")}[layout.name]


def test_unpacking_returns_every_bayer_sample():
    mosaic = np.arange(24 * 36, dtype=np.uint16).reshape(24, 36)
    packed = packing.pack(mosaic, packing.BAYER)
    np.testing.assert_array_equal(packing.unpack(packed, packing.BAYER), mosaic)


def test_unpacking_returns_every_xtrans_sample_of_whole_periods():
    mosaic = np.arange(26 * 40, dtype=np.int32).reshape(26, 40) + 1
    packed = packing.pack(mosaic, packing.XTRANS)
    restored = packing.unpack(packed, packing.XTRANS)
    np.testing.assert_array_equal(restored, mosaic[:24, :36])


def test_halving_is_the_mean_of_two_by_two():
    frame = np.random.default_rng(7).random((10, 14, 4), np.float32)
    expected = skimage.transform.downscale_local_mean(frame, (2, 2, 1))
    np.testing.assert_allclose(packing.halve(frame), expected, rtol=1e-6)
    assert packing.halve(frame).dtype == np.float32


@pytest.mark.parametrize("shape", [(3, 4, 4), (4, 1, 4), (2, 4, 3, 4)])
def test_odd_sizes_are_not_halved(shape):
    with pytest.raises(InputError, match="cannot be halved: cut or pad"):
        packing.halve(np.ones(shape, np.float32))


def test_unclipped_values_differ_above_1_alone():
    samples = np.random.default_rng(8).integers(0, 4096, (8, 12, 4)).astype(np.uint16)
    scales = (0.8, 1.0, 40.0, 2.5)
    whole = packing.normalise(samples, 128, 4095, scales, clip=False)
    assert whole.max() > 10
    np.testing.assert_array_equal(
        np.minimum(whole, 1), packing.normalise(samples, 128, 4095, scales)
    )


@pytest.mark.parametrize("layout", packing.LAYOUTS.values(), ids=str)
def test_the_phase_of_every_shift_is_found(layout):
    colours = np.array([list(row) for row in layout.colours])
    tall = np.tile(colours, (3, 3))
    for row in range(layout.period):
        for column in range(layout.period):
            shifted = tall[row : row + layout.period, column : column + layout.period]
            start = packing.phase_of(shifted, layout)
            again = tall[row + start[0] :, column + start[1] :]
            np.testing.assert_array_equal(again[: layout.period, : layout.period], colours)


def test_another_mosaic_has_no_phase():
    assert packing.phase_of(np.array([["R", "G"], ["B", "G"]]), packing.BAYER) is None
    assert packing.phase_of(np.full((6, 6), "G"), packing.XTRANS) is None


def test_normalising_clips_below_black_and_above_one_after_the_ratio():
    samples = np.array([[[500, 512, 612, 16383]]], np.uint16)
    signal = packing.normalise(samples, 512, 16383, ratio=100)
    np.testing.assert_allclose(signal[0, 0], [0, 0, 100 * 100 / 15871, 1], rtol=1e-6)


def test_normalising_takes_a_black_level_for_each_channel():
    samples = np.full((2, 3, 4), 1000, np.uint16)
    signal = packing.normalise(samples, (0, 200, 400, 1200), 2000)
    np.testing.assert_allclose(signal[1, 2], [0.5, 800 / 1800, 600 / 1600, 0], rtol=1e-6)


def test_what_is_saturated_stays_white_under_any_white_balance():
    samples = np.array([[[4090, 4095, 4090, 4095], [2000, 4095, 4090, 1000], [0, 90, 200, 3000]]])
    scales = np.array([0.38, 1.0, 1.13, 1.0])
    frame = packing.normalise(samples, 128, 4095, scales)
    signal = (samples - 128) / (4095 - 128)
    np.testing.assert_array_equal(frame[0, 0], 1)
    np.testing.assert_allclose(frame[0, 1], np.minimum(signal[0, 1] * scales, 1), rtol=1e-6)
    np.testing.assert_allclose(frame[0, 2], np.maximum(signal[0, 2], 0) * scales, rtol=1e-6)
    # With a ratio of 1 or more nothing is to be done.
    bright = packing.normalise(samples, 128, 4095, 3 * scales)
    np.testing.assert_allclose(bright, np.clip(signal * 3 * scales, 0, 1), rtol=1e-6)
