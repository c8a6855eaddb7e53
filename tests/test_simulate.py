"""The simulator: physics against the stated model, files against LibRaw's reading of them."""

import dataclasses
import datetime
import re
import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest
import rawpy
import scipy.ndimage
import skimage.color

from dbp_tf import cli, simulate
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.raw import packing
from dbp_tf.raw.cameras import CAMERAS, FUJI, SONY, Uncertainty
from dbp_tf.simulate import Noise, command

USUAL = SONY.noise[0]
SILENT = Noise(
    iso=100,
    gain_dn_per_electron=1e-6,
    read_noise_dn=0,
    read_noise_shape=0,
    row_noise_dn=0,
    black_error_dn=(0, 0, 0),
    black_error_spread_dn=0,
    uncertainty=Uncertainty(),
)
BOTH = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)


def light_of(photo, camera):
    """What the filters get of a photograph, through the lens."""
    return simulate.soften(simulate.unprocess(photo, camera))


def random_photo(rows, columns, seed=0):
    return np.random.default_rng(seed).random((rows, columns, 3), np.float32)


def phase(pattern, row, column):
    """The pattern as it starts `row` rows and `column` columns further on."""
    letters = np.array([list(line) for line in pattern])
    return tuple("".join(line) for line in np.roll(letters, (-row, -column), (0, 1)))


def run(*words):
    return cli.run(command.main, command.FLAGS, ["simulate", *map(str, words)], words=True)


# Un-processing


@BOTH
def test_unprocess_agrees_with_colorimetry(camera):
    # scikit-image takes sRGB to XYZ; the camera's matrix and white point do the rest.
    photo = 0.15 + 0.6 * random_photo(40, 30)
    matrix = np.array(camera.xyz_to_camera).T
    white = skimage.color.rgb2xyz(np.ones((1, 1, 3))) @ matrix
    expected = skimage.color.rgb2xyz(photo) @ matrix / white / camera.white_balance
    np.testing.assert_allclose(simulate.unprocess(photo, camera), expected, atol=1e-4)


@BOTH
def test_unprocess_then_camera_processing_returns_the_photograph(camera):
    photo = 0.1 + 0.7 * random_photo(50, 34)
    to_xyz = skimage.color.rgb2xyz(np.eye(3)[np.newaxis])[0].T
    to_camera = np.array(camera.xyz_to_camera) @ to_xyz
    to_camera /= to_camera.sum(1, keepdims=True)
    balanced = simulate.unprocess(photo, camera) * camera.white_balance
    linear = np.clip(balanced @ np.linalg.inv(to_camera).T, 0, 1)
    processed = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    np.testing.assert_allclose(processed, photo, atol=1e-3)


@BOTH
def test_white_saturates_every_colour_and_black_none(camera):
    raw = simulate.unprocess(np.array([[[1, 1, 1], [0, 0, 0]]], np.float32), camera)
    np.testing.assert_allclose(raw[0], [[1, 1, 1], [0, 0, 0]], atol=1e-6)


@BOTH
def test_unprocess_stays_in_range_and_rises_with_brightness(camera):
    assert simulate.unprocess(random_photo(64, 64), camera).min() >= 0
    assert simulate.unprocess(random_photo(64, 64), camera).max() <= 1
    greys = np.linspace(0, 1, 1001)[np.newaxis, :, np.newaxis].repeat(3, axis=2)
    assert (np.diff(simulate.unprocess(greys, camera), axis=1) >= 0).all()


@BOTH
def test_highlights_go_white_without_a_tint(camera):
    photo = np.linspace(0.9, 1, 101)[np.newaxis, :, np.newaxis] * [1, 0.99, 0.98]
    # As LibRaw develops: multiplied, and cut off where the first colour saturates.
    developed = np.minimum(simulate.unprocess(photo, camera) * camera.white_balance, 1)
    spread = developed.max(-1) - developed.min(-1)
    assert spread.max() <= (simulate.srgb_to_linear(photo) @ [1, 0, -1]).max()
    assert spread[photo[..., 2] > 0.975].max() < 1e-6


def test_multipliers_count_by_their_ratio_only():
    scaled = dataclasses.replace(SONY, white_balance=(5.54, 2.0, 2.86))
    photo = random_photo(8, 8)
    np.testing.assert_allclose(
        simulate.unprocess(photo, scaled), simulate.unprocess(photo, SONY), atol=1e-6
    )


def test_srgb_curves():
    # 18 % grey is code value 0.4614; the curve's linear piece has slope 12.92.
    np.testing.assert_allclose(simulate.linear_to_srgb(np.array([0.18])), 0.4614, atol=5e-5)
    np.testing.assert_allclose(simulate.srgb_to_linear(np.array([0.01292])), 0.001, rtol=1e-9)
    values = np.linspace(0, 1, 257)
    there_and_back = simulate.linear_to_srgb(simulate.srgb_to_linear(values))
    np.testing.assert_allclose(there_and_back, values, atol=1e-7)


# Lens


def test_soften_is_a_blur_of_a_fifth_of_the_finest_contrast():
    light = random_photo(13, 18)
    expected = light
    for axis in (0, 1):
        expected = scipy.ndimage.convolve1d(expected, [0.2, 0.6, 0.2], axis, mode="reflect")
    np.testing.assert_allclose(simulate.soften(light), expected, atol=1e-6)
    stripes = np.zeros((8, 8, 1))
    stripes[::2] = 1
    assert np.ptp(simulate.soften(stripes)[2:-2]) == pytest.approx(0.2)


@BOTH
def test_grey_photographs_stay_grey(tmp_path, camera):
    (tile,) = simulate.tiles(simulate.load_photo(simulate.SAMPLE), camera)
    light = simulate.unprocess(tile.mean(-1, keepdims=True).repeat(3, axis=-1), camera)
    colour = []
    for name, through in {"soft": simulate.soften(light), "sharp": light}.items():
        samples = simulate.mosaic(through, camera.filters)
        simulate.write_dng(tmp_path / name, simulate.expose_long(samples, camera), camera)
        picture = developed(tmp_path / name)
        colour.append(psnr(picture, picture.mean(-1, keepdims=True)))
    # Measured: 42 and 35 dB from grey.
    assert colour[0] > 41 and colour[0] > colour[1] + 6


# The mosaic


@pytest.mark.parametrize(
    "pattern", [("RG", "GB"), ("BG", "GR"), ("GR", "BG"), packing.XTRANS.colours]
)
def test_mosaic_takes_each_sample_from_its_colour(pattern):
    linear = random_photo(17, 23)
    samples = simulate.mosaic(linear, pattern)
    for row in range(17):
        for column in range(23):
            letter = pattern[row % len(pattern)][column % len(pattern)]
            assert samples[row, column] == linear[row, column, "RGB".index(letter)]


def test_shifted_moves_content_and_mirrors_the_edge():
    picture = np.arange(12 * 15).reshape(12, 15)
    down_left = simulate.shifted(picture, (3, -4))
    np.testing.assert_array_equal(down_left[3:, :-4], picture[:-3, 4:])
    np.testing.assert_array_equal(down_left[:3, :-4], picture[3:0:-1, 4:])
    up_right = simulate.shifted(picture, (-5, 2))
    np.testing.assert_array_equal(up_right[:-5, 2:], picture[5:, :-2])
    np.testing.assert_array_equal(simulate.shifted(picture, (0, 0)), picture)


# Noise


def flat_frame(level, noise, camera=SONY, ratio=100, offset=(0, 0, 0), shape=(600, 900), seed=1):
    samples = np.full(shape, level, np.float32)
    rng = np.random.default_rng(seed)
    frame = simulate.expose(samples, ratio, camera, noise, offset, rng)
    assert frame.dtype == np.uint16
    return frame.astype(float)


@BOTH
@pytest.mark.parametrize("ratio", [100, 300])
@pytest.mark.parametrize("level", [0.0, 0.05, 0.3, 1.0])
def test_mean_and_variance_follow_the_model(camera, level, ratio):
    noise = dataclasses.replace(
        USUAL, gain_dn_per_electron=0.8, read_noise_dn=3.5, row_noise_dn=0.5
    )
    frame = flat_frame(level, noise, camera, ratio)
    signal = level * (camera.white - camera.black) / ratio
    # Rows share their offset, so the mean is as sure as 600 rows make it.
    assert frame.mean() == pytest.approx(camera.black + signal, abs=5 * 0.5 / 600**0.5 + 0.03)
    # 1/12 is the variance of rounding to whole DN.
    variance = 0.8 * signal + 3.5**2 + 0.5**2 + 1 / 12
    assert frame.var() == pytest.approx(variance, rel=0.02)


def test_shot_noise_is_poisson():
    # At gain 1 DN, 3 electrons on average: the counts themselves are seen.
    level = 3 * 100 / (SONY.white - SONY.black)
    noise = dataclasses.replace(SILENT, gain_dn_per_electron=1)
    counts = np.bincount(flat_frame(level, noise).astype(int).ravel() - SONY.black, minlength=8)
    expected = [0.049787, 0.149361, 0.224042, 0.224042, 0.168031, 0.100819, 0.050409, 0.021604]
    np.testing.assert_allclose(counts[:8] / counts.sum(), expected, atol=0.003)


def test_read_noise_is_logistic():
    noise = dataclasses.replace(SILENT, read_noise_dn=20)
    error = flat_frame(0, noise) - SONY.black
    assert error.mean() == pytest.approx(0, abs=0.15)
    assert error.std() == pytest.approx(20, rel=0.01)
    # Excess kurtosis 6/5, against a Gaussian's 0.
    assert (error**4).mean() / error.var() ** 2 - 3 == pytest.approx(1.2, abs=0.15)


def test_row_noise_is_shared_by_a_row_and_by_nothing_else():
    noise = dataclasses.replace(SILENT, row_noise_dn=5)
    frame = flat_frame(0, noise, shape=(2000, 30))
    np.testing.assert_array_equal(frame, frame[:, :1].repeat(30, axis=1))
    offsets = frame[:, 0] - SONY.black
    assert offsets.std() == pytest.approx(5, rel=0.06)
    assert abs(np.corrcoef(offsets[1:], offsets[:-1])[0, 1]) < 0.07


@BOTH
def test_each_colour_has_its_own_offset(camera):
    frame = flat_frame(0.02, SILENT, camera, offset=(1.0, -2.0, 3.0), shape=(36, 48))
    letters = simulate.mosaic(
        np.broadcast_to(np.array([1.0, -2.0, 3.0]), (36, 48, 3)), camera.filters
    )
    bare = flat_frame(0.02, SILENT, camera, shape=(36, 48))
    np.testing.assert_array_equal(frame - bare, letters)


def test_offsets_are_drawn_about_their_mean():
    rng = np.random.default_rng(0)
    noise = dataclasses.replace(USUAL, black_error_dn=(0.5, -1.0, 2.0), black_error_spread_dn=0.4)
    drawn = np.array([simulate.draw_offset(noise, rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), (0.5, -1.0, 2.0), atol=0.03)
    np.testing.assert_allclose(drawn.std(0), 0.4, rtol=0.05)
    assert abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06


def test_raw_values_fall_below_black_but_not_below_zero_or_above_white():
    assert flat_frame(0, USUAL).min() < SONY.black - 5
    assert flat_frame(0, dataclasses.replace(SILENT, read_noise_dn=2000)).min() == 0
    assert (
        flat_frame(1, dataclasses.replace(SILENT, read_noise_dn=2000), ratio=1).max() == SONY.white
    )


def test_a_long_exposure_reaches_from_black_to_white():
    samples = np.array([[0, 0.5], [1, 1]], np.float32)
    middle = np.rint((SONY.black + SONY.white) / 2)
    wanted = [[SONY.black, middle], [SONY.white, SONY.white]]
    np.testing.assert_array_equal(simulate.expose_long(samples, SONY), wanted)


# Scenes


@BOTH
def test_truth_is_the_mosaic_between_black_and_white(camera):
    photo = random_photo(24, 36)
    scene = simulate.simulate_scene(photo, camera, np.random.default_rng(0), frames=1)
    samples = simulate.mosaic(light_of(photo, camera), camera.filters)
    expected = camera.black + samples.astype(float) * (camera.white - camera.black)
    np.testing.assert_allclose(scene.truth, expected, atol=0.501)


def test_frames_are_shaken_as_the_scene_says():
    photo = random_photo(64, 80)
    scene = simulate.simulate_scene(
        photo, SONY, np.random.default_rng(3), frames=40, ratio=1, shake=6, noise=SILENT
    )
    assert isinstance(scene, simulate.Scene)
    assert scene.shifts.shape == (40, 2)
    assert tuple(scene.shifts[0]) == (0, 0)
    assert scene.shifts.min() == -6 and scene.shifts.max() == 6
    linear = light_of(photo, SONY)
    for frame, (down, right) in zip(scene.frames, scene.shifts, strict=True):
        # The scene moves behind the filters: the mosaic's phase stays.
        inside = linear[10 - down : 50 - down, 10 - right : 70 - right]
        wanted = SONY.black + simulate.mosaic(inside, ("RG", "GB")) * (SONY.white - SONY.black)
        np.testing.assert_allclose(frame[10:50, 10:70], wanted, atol=1)


def test_a_short_burst_is_the_start_of_a_long_one():
    photo = random_photo(64, 64)
    scenes = [
        simulate.simulate_scene(photo, SONY, np.random.default_rng(5), frames=frames, shake=4)
        for frames in (2, 5)
    ]
    np.testing.assert_array_equal(scenes[0].frames, scenes[1].frames[:2])
    assert (scenes[1].frames[0] != scenes[1].frames[1]).mean() > 0.5


def test_the_offset_stays_through_a_burst():
    # A mean over frames cannot remove what all of them share.
    noise = dataclasses.replace(SILENT, black_error_spread_dn=50)
    scene = simulate.simulate_scene(
        np.zeros((16, 16, 3)), SONY, np.random.default_rng(0), frames=3, noise=noise
    )
    expected = np.rint(SONY.black + scene.offset[[0, 1, 1, 2]])
    for frame in scene.frames:
        np.testing.assert_array_equal(frame[:2, :2].ravel(), expected)


# Photographs and tiles


def test_load_photo_reduces_in_linear_light(tmp_path):
    picture = np.full((7, 9, 3), 51, np.uint8)
    picture[::2] = 204
    imageio.imwrite(tmp_path / "stripes.png", picture)
    whole = simulate.load_photo(tmp_path / "stripes.png")
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, picture / np.float32(255))
    half = simulate.load_photo(tmp_path / "stripes.png", reduce=2)
    # Code values 0.2 and 0.8 are 3.31 and 60.38 % of the light; 31.85 % is 0.5999, not 0.5.
    np.testing.assert_allclose(half, np.full((3, 4, 3), 0.5999), atol=1e-4)


def test_load_photo_takes_grey_and_transparent_and_turned_pictures(tmp_path):
    imageio.imwrite(tmp_path / "grey.png", np.full((4, 6), 51, np.uint8))
    np.testing.assert_allclose(simulate.load_photo(tmp_path / "grey.png"), np.full((4, 6, 3), 0.2))
    imageio.imwrite(tmp_path / "alpha.png", np.full((4, 6, 4), 51, np.uint8))
    assert simulate.load_photo(tmp_path / "alpha.png").shape == (4, 6, 3)
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6  # the camera was held on its side
    Image.new("RGB", (6, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert simulate.load_photo(tmp_path / "turned.jpg").shape == (6, 4, 3)
    assert simulate.photo_shape(tmp_path / "turned.jpg") == (6, 4)
    assert simulate.photo_shape(tmp_path / "grey.png", reduce=3) == (1, 2)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    import tifffile
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 65536, (4, 6)).astype(np.uint16)
    exif = Image.Exif()
    exif[274] = 3  # upside down
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    tifffile.imwrite(tmp_path / "b.tif", picture[::-1, ::-1], byteorder=">")
    expected = picture[::-1, ::-1, np.newaxis].repeat(3, axis=2) / 65535
    for name in ("a.png", "b.tif"):
        photo = simulate.load_photo(tmp_path / name)
        assert photo.dtype == np.float32
        np.testing.assert_allclose(photo, expected, atol=1e-7)


def test_pictures_of_unknown_white_and_monstrous_ones_are_refused(tmp_path, monkeypatch):
    from PIL import Image

    for mode in "IF":
        Image.new(mode, (70, 80)).save(tmp_path / f"{mode}.tif")
        with pytest.raises(InputError, match=f"{mode}.tif holds 32-bit numbers"):
            simulate.load_photo(tmp_path / f"{mode}.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="astronaut.jpg has more pixels"):
        simulate.load_photo(simulate.SAMPLE)


def test_whole_photographs_are_cut_to_what_packs_evenly():
    assert [tile.shape[:2] for tile in simulate.tiles(random_photo(87, 101), SONY)] == [(84, 100)]
    (tile,) = simulate.tiles(random_photo(87, 101), SONY)
    np.testing.assert_array_equal(tile, random_photo(87, 101)[1:85, :100])
    (tile,) = simulate.tiles(random_photo(512, 620), FUJI)
    assert tile.shape == (516, 612, 3)
    np.testing.assert_array_equal(tile[:512], random_photo(512, 620)[:, 4:616])
    np.testing.assert_array_equal(tile[512:], tile[510:506:-1])


def test_tiles_come_from_the_centre_outwards_without_overlap():
    photo = np.arange(3 * 64 + 10)[:, None, None] * 1000 + np.arange(3 * 64)[None, :, None]
    photo = photo.repeat(3, axis=2)
    everything = simulate.tiles(photo, SONY, size=64, count=0)
    assert [tile.shape for tile in everything] == [(64, 64, 3)] * 9
    assert tuple(tile[0, 0, 0] for tile in everything[:1]) == ((64 + 5) * 1000 + 64,)
    assert len(np.unique(np.stack(everything)[..., 0])) == 9 * 64 * 64
    (middle,) = simulate.tiles(photo, SONY, size=64)
    np.testing.assert_array_equal(middle, everything[0])
    assert simulate.tiles(photo, SONY, size=65)[0].shape == (68, 68, 3)
    assert simulate.tiles(random_photo(512, 512), FUJI, size=512)[0].shape == (516, 516, 3)


@pytest.mark.parametrize(
    "camera, shape, size, words",
    [
        (FUJI, (511, 900), None, "511 rows.*at least 512"),
        (SONY, (900, 63), None, "63 columns.*at least 64"),
        (SONY, (300, 400), 301, "at least 301"),
        (SONY, (300, 400), 32, "--size 32 is too small"),
        (FUJI, (900, 900), 511, "--size 511 is too small"),
    ],
)
def test_too_small(camera, shape, size, words):
    with pytest.raises(InputError, match=words):
        simulate.tiles(random_photo(*shape), camera, size)


# Files


@BOTH
def test_libraw_reads_back_what_was_written(tmp_path, camera):
    samples = np.random.default_rng(0).integers(0, 16384, (516, 624)).astype(np.uint16)
    path = tmp_path / f"frame{camera.suffix}"
    simulate.write_dng(path, samples, camera, exposure=0.04)
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, samples)
        assert raw.raw_type == rawpy.RawType.Flat
        assert raw.color_desc == b"RGBG"
        letters = np.array(list("RGBG"))[raw.raw_pattern]
        assert ["".join(row) for row in letters] == list(camera.filters)
        assert raw.black_level_per_channel == [camera.black] * 4
        assert raw.white_level == camera.white
        np.testing.assert_allclose(raw.camera_whitebalance[:3], camera.white_balance, rtol=1e-5)
        assert raw.sizes.flip == 0
        assert raw.other.shutter_speed == pytest.approx(0.04)


@pytest.mark.parametrize("row, column", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_bayer_phase_with_its_black_levels(tmp_path, row, column):
    pattern = phase(("RG", "GB"), row, column)
    black = np.array([[500, 510], [520, 530]])
    samples = np.random.default_rng(0).integers(0, 16384, (70, 94)).astype(np.uint16)
    path = tmp_path / "frame.dng"
    simulate.write_dng(path, samples, SONY, pattern=pattern, black=black)
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, samples)
        letters = np.array(list("RGBG"))[raw.raw_pattern]
        assert ["".join(line) for line in letters] == list(pattern)
        levels = np.array(raw.black_level_per_channel)[raw.raw_pattern]
        np.testing.assert_array_equal(levels, black)


@pytest.mark.parametrize("row, column", [(0, 2), (3, 0), (5, 1)])
def test_xtrans_phases(tmp_path, row, column):
    pattern = phase(packing.XTRANS.colours, row, column)
    samples = np.full((512, 516), 2000, np.uint16)
    simulate.write_dng(tmp_path / "frame.dng", samples, FUJI, pattern=pattern)
    with rawpy.imread(str(tmp_path / "frame.dng")) as raw:
        letters = np.array(list("RGBG"))[raw.raw_pattern]
        assert ["".join(line) for line in letters] == list(pattern)


def test_other_cameras_and_their_capture_data(tmp_path):
    phone = dataclasses.replace(SONY, black=64, white=1023, white_balance=(1.5, 1.0, 2.25))
    samples = np.full((64, 96), 100, np.uint16)
    captured = datetime.datetime(2021, 2, 3, 4, 5, 6, 789000)
    path = tmp_path / "frame.dng"
    simulate.write_dng(path, samples, phone, captured=captured, orientation=6)
    with rawpy.imread(str(path)) as raw:
        assert raw.black_level_per_channel == [64] * 4
        assert raw.white_level == 1023
        np.testing.assert_allclose(raw.camera_whitebalance[:3], (1.5, 1.0, 2.25), rtol=1e-5)
        assert raw.sizes.flip == 6
        assert raw.other.timestamp == captured.replace(microsecond=0)
    import tifffile

    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        assert tags["DateTimeOriginal"].value == "2021:02:03 04:05:06"
        assert tags["SubsecTimeOriginal"].value == "789"
        assert tags["Orientation"].value == 6
        assert tags["CalibrationIlluminant1"].value == 21  # D65
        assert tags["ColorMatrix1"].value[:4] == (5838, 10000, -1430, 10000)
        assert tags["UniqueCameraModel"].value == "Sony ILCE-7SM2 (simulated)"


def developed(path):
    with rawpy.imread(str(path)) as raw:
        picture = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16)
    return picture / 65535


def bt709(photo):
    """An sRGB photograph with LibRaw's default tone curve, that of BT.709, in sRGB's place."""
    linear = simulate.srgb_to_linear(photo)
    return np.where(linear < 0.018054, 4.5 * linear, 1.099297 * linear**0.45 - 0.099297)


def psnr(one, other):
    return -10 * np.log10(np.mean((one - other) ** 2))


@pytest.mark.parametrize("other_colours", [False, True])
@BOTH
def test_developed_truth_is_the_photograph(tmp_path, camera, other_colours):
    if other_colours:
        # The matrix of one camera with the mosaic of the other: the file's own must be used.
        other = FUJI if camera is SONY else SONY
        camera = dataclasses.replace(
            camera, xyz_to_camera=other.xyz_to_camera, white_balance=(1.3, 1.0, 2.6)
        )
    photo = simulate.load_photo(simulate.SAMPLE)
    (tile,) = simulate.tiles(photo, camera)
    samples = simulate.mosaic(light_of(tile, camera), camera.filters)
    simulate.write_dng(tmp_path / "truth.dng", simulate.expose_long(samples, camera), camera)
    picture = developed(tmp_path / "truth.dng")[:512, :512]
    expected = bt709(simulate.linear_to_srgb(simulate.soften(simulate.srgb_to_linear(photo))))
    # Interpolated colours cost fine detail, measured 39 dB, and no colour at all.
    assert psnr(picture, expected) > 38
    np.testing.assert_allclose(picture.mean((0, 1)), expected.mean((0, 1)), atol=0.002)
    coarse = [p.reshape(32, 16, 32, 16, 3).mean((1, 3)) for p in (picture, expected)]
    assert psnr(*coarse) > 43


def test_simulated_tree_is_the_datasets(tmp_path, capsys):
    assert run("--out", tmp_path, "--ratio", "100,300", "--frames", 3) == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert sorted(path.name for path in (tmp_path / "short").iterdir()) == [
        f"1000{scene}_0{frame}_0.1s.ARW" for scene in (0, 1) for frame in (0, 1, 2)
    ]
    assert sorted(path.name for path in (tmp_path / "long").iterdir()) == [
        "10000_00_10s.ARW",
        "10001_00_30s.ARW",
    ]
    bursts = sid.find_bursts(tmp_path / "short", tmp_path / "long", SONY, "test")
    assert [burst.ratio for burst in bursts] == [100, 300]
    assert [len(burst.frames) for burst in bursts] == [3, 3]
    for burst in bursts:
        with rawpy.imread(str(burst.frames[0])) as raw:
            dark = raw.raw_image_visible.astype(float) - SONY.black
        with rawpy.imread(str(burst.truth)) as raw:
            bright = raw.raw_image_visible.astype(float) - SONY.black
        # 0.6 DN is the mean error of the black level.
        assert dark.mean() - 0.6 == pytest.approx(bright.mean() / burst.ratio, abs=0.6)


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_whatever_else_is_simulated(tmp_path):
    imageio.imwrite(tmp_path / "a.png", (255 * random_photo(64, 64)).astype(np.uint8))
    imageio.imwrite(tmp_path / "b.png", (255 * random_photo(80, 72, seed=1)).astype(np.uint8))
    both = ["--frames", 2, "--shake", 3, "--seed", 7, "--out"]
    assert run(tmp_path / "a.png", tmp_path / "b.png", *both, tmp_path / "1") == 0
    assert run(tmp_path / "a.png", tmp_path / "b.png", *both, tmp_path / "2") == 0
    assert run(tmp_path / "b.png", "--scene", 10001, *both, tmp_path / "3") == 0
    first, second, third = (tree(tmp_path / name) for name in "123")
    assert len(first) == 6 and first == second
    assert len(third) == 3 and third.items() <= first.items()


def test_seed_and_scene_number_change_the_noise(tmp_path):
    imageio.imwrite(tmp_path / "a.png", (255 * random_photo(64, 64)).astype(np.uint8))
    frames = ["--frames", 1, "--ratio", "100,100", "--out", tmp_path / "out"]
    assert run(tmp_path / "a.png", *frames) == 0
    assert run(tmp_path / "a.png", *frames, "--seed", 1, "--scene", 20000) == 0
    assert run(tmp_path / "a.png", "--scene", 20000, "--out", tmp_path / "other") == 0
    shots = [path / "short" for path in (tmp_path / "out", tmp_path / "other")]
    pixels = []
    for path in (
        shots[0] / "10000_00_0.1s.ARW",
        shots[0] / "10001_00_0.1s.ARW",
        shots[0] / "20000_00_0.1s.ARW",
        shots[1] / "20000_00_0.1s.ARW",
    ):
        with rawpy.imread(str(path)) as raw:
            pixels.append(raw.raw_image_visible.copy())
    for one in range(4):
        for other in range(one):
            assert (pixels[one] != pixels[other]).mean() > 0.5


def read_back(folder):
    """{name of the file: (mosaic, multipliers)} of all raw files of a tree."""
    found = {}
    for path in sorted(folder.glob("*/*")):
        with rawpy.imread(str(path)) as raw:
            found[path.name] = raw.raw_image_visible.copy(), raw.camera_whitebalance[:3]
    return found


def test_the_light_changes_multipliers_and_mosaic_alike(tmp_path):
    grey = np.full((64, 64, 3), 128, np.uint8)
    imageio.imwrite(tmp_path / "a.png", grey)
    frames = [tmp_path / "a.png", "--frames", 2, "--out"]
    assert run(*frames, tmp_path / "own") == 0
    assert run(*frames, tmp_path / "named", "--white_balance", "2.77,1,1.43") == 0
    assert run(*frames, tmp_path / "lamp", "--white_balance", "1.6,1,2.4") == 0
    own, named, lamp = (read_back(tmp_path / name) for name in ("own", "named", "lamp"))
    for name in own:
        np.testing.assert_array_equal(own[name][0], named[name][0])
    truth, multipliers = lamp["10000_00_10s.ARW"]
    np.testing.assert_allclose(multipliers, (1.6, 1, 2.4), rtol=1e-5)
    signal = truth - 512.0
    np.testing.assert_allclose(signal[1::2, 1::2] * 2.4, signal[::2, 1::2], atol=2)
    np.testing.assert_allclose(signal[::2, ::2] * 1.6, signal[::2, 1::2], atol=2)


def test_varied_light_is_of_seed_and_scene_alone(tmp_path):
    imageio.imwrite(tmp_path / "a.png", (255 * random_photo(64, 64)).astype(np.uint8))
    varied = [tmp_path / "a.png", "--frames", 1, "--white_balance", "varied", "--out"]
    assert run(*varied, tmp_path / "many", "--ratio", "100,200,300") == 0
    assert run(*varied, tmp_path / "one", "--ratio", "200", "--scene", 10001) == 0
    many, one = (read_back(tmp_path / name) for name in ("many", "one"))
    for name in one:
        np.testing.assert_array_equal(many[name][0], one[name][0])
        assert many[name][1] == one[name][1]
    assert len({tuple(multipliers) for _, multipliers in many.values()}) == 3
    rng = np.random.default_rng(0)
    drawn = np.array([simulate.draw_white_balance(SONY, rng) for _ in range(2000)])
    assert (drawn[:, 1] == 1).all()
    assert 1.45 < drawn[:, 0].min() < 1.6 and 3.0 < drawn[:, 0].max() < 3.25
    assert 1.2 < drawn[:, 2].min() < 1.35 and 2.4 < drawn[:, 2].max() < 2.65
    # Warm light needs little red and much blue.
    assert np.corrcoef(np.log(drawn[:, [0, 2]]).T)[0, 1] < -0.95


def test_misaligned_numbers_are_passed_over_unless_asked_for():
    assert simulate.scene_numbers(10033, 3) == [10033, 10035, 10036]
    assert simulate.scene_numbers(10034, 1) == [10034]
    assert simulate.scene_numbers(99998, 2) == [99998, 99999]
    with pytest.raises(InputError, match="--scene 99998 leaves 2 of the 3 numbers"):
        simulate.scene_numbers(99998, 3)


@pytest.mark.parametrize(
    "words, fit",
    [
        # The photographs hold 6 tiles and 1 tile of 64 pixels.
        (["--size", 64, "--tiles", 0], 7),
        (["--size", 64, "--tiles", 4], 5),
        (["--size", 64], 2),
        ([], 2),
        (["--ratio", "100,200,300"], 6),
    ],
)
def test_too_few_numbers_are_found_before_anything_is_written(tmp_path, capsys, words, fit):
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    imageio.imwrite(photos[0], np.zeros((140, 200, 3), np.uint8))
    imageio.imwrite(photos[1], np.zeros((64, 70, 3), np.uint8))
    words = [*photos, "--frames", 1, *words, "--out", tmp_path / "out"]
    assert run(*words, "--scene", 100001 - fit) == 2
    assert f"leaves {fit - 1} of the {fit} numbers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(*words, "--scene", 100000 - fit) == 0
    assert capsys.readouterr().out.count(" ISO 800, 1 frame\n") == fit


def test_an_existing_scene_is_replaced_whole_or_not_at_all(tmp_path, capsys):
    imageio.imwrite(tmp_path / "a.png", (255 * random_photo(64, 64)).astype(np.uint8))
    out = tmp_path / "out"
    assert run(tmp_path / "a.png", "--out", out, "--frames", 3) == 0
    before = tree(out)
    assert run(tmp_path / "a.png", "--out", out, "--frames", 1, "--ratio", 300) == 2
    assert "10000_00_0.1s.ARW exists already: give --overwrite" in capsys.readouterr().err
    assert tree(out) == before
    assert run(tmp_path / "a.png", "--out", out, "--frames", 1, "--ratio", 300, "--overwrite") == 0
    assert set(tree(out)) == {"10000_00_0.1s.ARW", "10000_00_30s.ARW"}


def test_bad_input_is_one_sentence(tmp_path, capsys):
    (tmp_path / "words.jpg").write_text("no picture")
    whole = simulate.SAMPLE.read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "file").write_text("in the way")
    out = ["--out", tmp_path / "out"]
    cases = [
        ([tmp_path / "none.jpg", *out], "there is no photograph .*none.jpg"),
        ([tmp_path / "words.jpg", *out], "words.jpg is not a picture"),
        ([tmp_path / "half.jpg", *out], "half.jpg is not a picture, or a damaged one"),
        ([tmp_path, *out], "there is no photograph"),
        (["--out", tmp_path / "file"], "file.*cannot be written"),
        ([], "--out is missing"),
        ([simulate.SAMPLE, tmp_path / "none.jpg", *out], "there is no photograph .*none.jpg"),
        (["--size", "513", *out], "astronaut.jpg comes to 512 rows"),
        (["--camera", "fuji", "--reduce", "2", *out], "astronaut.jpg comes to 256 rows"),
        (["--camera", "canon", *out], "--camera=canon"),
        (["--ratio", "100,x", *out], "--ratio=100,x: give numbers"),
        (["--ratio", "0.5", *out], "--ratio=0.5: give numbers from 1"),
        (["--black_offset", "1,2", *out], "--black_offset: give three numbers"),
        (["--frames", "0", *out], "--frames=0"),
        (["--tiles", "1", *out], "--tiles belongs to --size"),
        (["--white_balance", "2,1", *out], "--white_balance: give three numbers, R,G,B, not 2"),
        (["--white_balance", "0,1,1", *out], "--white_balance=0,1,1: give numbers from 0.1"),
        (["--white_balance", "camera", *out], "--white_balance=camera: give numbers"),
        (["--gain", "nan", *out], "--gain=nan: give a finite number"),
        (["--gain", "inf", *out], "--gain=inf: give a finite number"),
        (["--read_noise", "inf", *out], "--read_noise=inf: give a finite number"),
        (["--row_noise", "nan", *out], "--row_noise=nan: give a finite number"),
        (["--offset_spread", "nan", *out], "--offset_spread=nan: give a finite number"),
        (["--black_offset", "1,nan,1", *out], "--black_offset=1,nan,1: give numbers"),
        (["--brightness", "2", *out], "brightness"),
    ]
    for words, sentence in cases:
        assert run(*words) == 2, words
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert re.search(sentence, line), line
    assert not (tmp_path / "out").exists()


def test_without_tifffile_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=r"dbp_tf\[simulate\]"):
        simulate.write_dng(tmp_path / "x.dng", np.zeros((64, 64), np.uint16), SONY)
    assert list(tmp_path.iterdir()) == []


def test_runs_as_a_module_without_tensorflow(tmp_path):
    program = (
        "import runpy, sys\n"
        "sys.modules['tensorflow'] = None\n"
        "runpy.run_module('dbp_tf.simulate', run_name='__main__', alter_sys=True)"
    )
    words = ["--out", str(tmp_path), "--camera=fuji", "--frames=1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "516 x 516" in done.stdout
    with rawpy.imread(str(tmp_path / "long" / "10000_00_10s.RAF")) as raw:
        assert raw.raw_image_visible.shape == (516, 516)
