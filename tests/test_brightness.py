"""The exposure ratio found in the signal: near the true one, never black, never blown out."""

import numpy as np
import pytest

from dbp_tf import simulate
from dbp_tf.photos import brightness
from dbp_tf.raw import packing, white_balance
from dbp_tf.raw.cameras import FUJI, SONY

skimage_data = pytest.importorskip("skimage.data")

# Photographs of usual brightness; see `brightness.MEAN`.
MID_KEY = ("astronaut", "brick", "chelsea", "coffee", "coins", "grass", "gravel")


def samples_of(name, camera=SONY):
    """[rows, columns] mosaic in 0..1 of a photograph that scikit-image brings."""
    photo = getattr(skimage_data, name)()
    if photo.ndim == 2:
        photo = np.stack([photo] * 3, axis=-1)
    photo = (photo[..., :3] / 255).astype(np.float32)
    (tile,) = simulate.tiles(photo, camera)
    return simulate.mosaic(simulate.unprocess(tile, camera), camera.filters)


def signals(samples, ratio, camera=SONY, frames=2, seed=0):
    """Packed dark frames, black level subtracted, as `reading.RawFrame.signal` gives them."""
    rng = np.random.default_rng([seed, int(ratio)])
    noise = camera.noise[0]
    offset = simulate.draw_offset(noise, rng)
    layout = packing.LAYOUTS[camera.mosaic]
    for _ in range(frames):
        dark = simulate.expose(samples, ratio, camera, noise, offset, rng).astype(np.float32)
        yield packing.pack(dark - camera.black, layout) / (camera.white - camera.black)


def multipliers(camera):
    return white_balance.channel_scales(camera.white_balance, packing.LAYOUTS[camera.mosaic])


def found(frames, camera=SONY):
    return brightness.auto_ratio(brightness.block_means(frames), multipliers(camera))


@pytest.mark.parametrize("name", MID_KEY)
def test_mid_key_scenes_are_within_half_a_stop(name):
    samples = samples_of(name)
    for ratio in (20, 60, 150, 300):
        stops = np.log2(found(signals(samples, ratio)) / ratio)
        assert abs(stops) < 0.5, f"ratio {ratio}: {stops:+.2f} stops"


def test_the_fuji_agrees(ratio=100):
    samples = samples_of("astronaut", FUJI)
    assert abs(np.log2(found(signals(samples, ratio, FUJI), FUJI) / ratio)) < 0.5


@pytest.mark.parametrize("name", ["rocket", "hubble_deep_field", "moon", "camera"])
@pytest.mark.parametrize("ratio", [20, 300])
def test_dark_and_bright_scenes_come_out_neither_black_nor_blown_out(name, ratio):
    blocks = brightness.block_means(signals(samples_of(name), ratio))
    light = blocks * multipliers(SONY) * brightness.auto_ratio(blocks, multipliers(SONY))
    picture = np.minimum(light, 1).mean(-1)
    # At 300, the limit, the deep field stays as dark as its truth.
    assert picture.mean() > 0.1 or ratio == 300
    assert picture.mean() < 0.35
    assert (light.max(-1) > 1).mean() < 0.1


def test_a_night_sky_is_lifted_to_grey():
    # As the docstring says.
    stops = np.log2(found(signals(samples_of("hubble_deep_field"), 20)) / 20)
    assert 2.5 < stops < 3.3


def test_a_few_lamps_do_not_sink_the_street():
    samples = samples_of("chelsea") / 100
    plain = found(signals(samples, 1))
    lamps = samples.copy()
    lamps[:40, :40] = 1
    assert abs(np.log2(found(signals(lamps, 1)) / plain)) < 0.25
    # A tenth of the picture takes half of the mean, and is then spared by one stop at the most.
    many = samples.copy()
    many[:100, :150] = 0.05
    assert plain / 5 < found(signals(many, 1)) < plain / 3


def test_the_ratio_scales_with_the_light_and_stays_within_its_limits():
    blocks = np.random.default_rng(0).random((9, 7, 4)) * 0.02
    one = brightness.auto_ratio(blocks, np.ones(4))
    assert brightness.auto_ratio(blocks / 4, np.ones(4)) == pytest.approx(4 * one)
    assert brightness.auto_ratio(blocks / 3, 3 * np.ones(4)) == pytest.approx(one)
    assert brightness.auto_ratio(blocks * 100, np.ones(4)) == 1
    for nothing in (0 * blocks, -blocks, blocks * 1e-9):
        assert brightness.auto_ratio(nothing, np.ones(4)) == 300


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_is_met_exactly_where_lamps_are_cut_off(seed):
    light = np.random.default_rng(seed).exponential(0.001, (40, 50, 1)) - 1e-5
    light[20, :10] = 1
    blocks = light.repeat(4, -1)
    ratio = brightness.auto_ratio(blocks, np.ones(4))
    # Fewer than would lower the ratio, each of another brightness or at the limit.
    assert 15 < (ratio * light > 1).sum() < brightness.BLOWN * light.size
    assert np.minimum(ratio * light, 1).mean() == pytest.approx(brightness.MEAN, rel=1e-9)


def test_blocks_are_means_over_frames_and_pixels():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(3, 18, 21, 4)).astype(np.float32)
    blocks = brightness.block_means(iter(frames))
    assert blocks.shape == (3, 3, 4)
    np.testing.assert_allclose(blocks[1, 0], frames[:, 8:16, :8].mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(blocks[2, 2], frames[:, 16:, 16:].mean((0, 1, 2)), atol=1e-6)
