"""White balance: grey of any sensor becomes the training camera's grey."""

import dataclasses

import numpy as np
import pytest

from dbp_tf import simulate
from dbp_tf.errors import InputError
from dbp_tf.raw import packing, reading, white_balance
from dbp_tf.raw.cameras import FUJI, SONY

OTHER = (1.3, 1.0, 2.7)


@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
def test_grey_of_another_sensor_becomes_the_training_camera_s(camera):
    layout = packing.LAYOUTS[camera.mosaic]
    other = dataclasses.replace(camera, white_balance=OTHER)
    grey = np.full((12, 12, 3), 0.5, np.float32)
    ours, theirs = (
        packing.pack(simulate.mosaic(simulate.unprocess(grey, one), layout.colours), layout)
        for one in (camera, other)
    )
    colours, _ = white_balance.scales("camera", OTHER, camera.white_balance)
    scaled = theirs * white_balance.channel_scales(colours, layout)
    # Up to a common factor: the simulator makes the smallest multiplier one.
    np.testing.assert_allclose(scaled / scaled[0, 0, 1], ours / ours[0, 0, 1], rtol=1e-5)
    assert not np.allclose(theirs / theirs[0, 0, 1], ours / ours[0, 0, 1], rtol=0.1)


def test_channels_follow_their_colours():
    assert white_balance.channel_scales((1, 2, 3), packing.BAYER) == (1, 2, 3, 2)
    assert white_balance.channel_scales((1, 2, 3), packing.XTRANS) == (1, 2, 3, 1, 3, 2, 2, 2, 2)


def test_choices():
    trained = SONY.white_balance
    noted = "white balance: the file notes 1.3/1/2.7"
    assert white_balance.scales("none", OTHER, trained) == (
        (1, 1, 1),
        f"{noted}; left to the network",
    )
    assert white_balance.scales("none", None, trained)[0] == (1, 1, 1)
    colours, said = white_balance.scales("camera", trained, trained)
    assert colours == (1, 1, 1) and said.endswith("colours scaled by 1/1/1")
    given = white_balance.parse(f"{2 * trained[0]},2,{trained[2]}")
    assert given == pytest.approx((trained[0], 1, trained[2] / 2))
    colours, said = white_balance.scales(given, OTHER, trained)
    assert colours == pytest.approx((1, 1, 0.5))
    assert said == f"{noted}; 2.77/1/0.715 given; colours scaled by 1/1/0.5"


@pytest.mark.parametrize(
    ("choice", "noted", "needed"),
    [
        ("camera", None, True),
        ("camera", OTHER, False),
        ("auto", OTHER, True),
        ("none", None, False),
        (OTHER, None, False),
    ],
)
def test_a_balance_is_estimated_where_the_file_notes_none_or_on_demand(choice, noted, needed):
    assert white_balance.needs_estimate(choice, noted) is needed
    if needed:
        estimated = (SONY.white_balance[0] * 2, 1.0, SONY.white_balance[2])
        colours, said = white_balance.scales(choice, noted, SONY.white_balance, estimated)
        assert colours == pytest.approx((2, 1, 1))
        assert "5.54/1/1.43 estimated from the signal" in said


@pytest.mark.parametrize("layout", packing.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_the_estimate_finds_grey_among_lamps_noise_and_black(layout):
    rng = np.random.default_rng(0)
    colours = np.array(layout.channel_colours)
    sensor = np.select([colours == "R", colours == "B"], [1 / 2.2, 1 / 1.6], 1.0)
    scene = 0.003 * rng.random((40, 50, 1)) * rng.normal(1, 0.2, (40, 50, layout.channels))
    scene[:8] = 0  # black
    blocks = scene * sensor + rng.normal(0, 3e-5, scene.shape)
    blocks[20, 20:30] = np.where(colours == "R", 1.0, 0.5)  # saturated red lamps
    blocks[21, 20:30] = np.where(colours == "B", 0.5, 0.1)  # a blue one below saturation
    found = white_balance.estimate(blocks, layout, "a.dng")
    assert found == pytest.approx((2.2, 1, 1.6), rel=0.03)
    # The exposure plays no part.
    assert white_balance.estimate(blocks / 10, layout, "a.dng") == pytest.approx(found, rel=0.03)


def test_a_scene_of_one_colour_and_one_without_light():
    blocks = np.full((4, 4, 4), 0.1) * [1, 0.1, -0.001, 0.1]
    assert white_balance.estimate(blocks, packing.BAYER, "a") == pytest.approx((0.4, 1, 5))
    saturated = np.full((4, 4, 4), 1.0)
    assert white_balance.estimate(saturated, packing.BAYER, "a") == (1, 1, 1)
    with pytest.raises(InputError, match="a.dng shows no light .* give --white_balance none"):
        white_balance.estimate(np.zeros((4, 4, 4)), packing.BAYER, "a.dng")


@pytest.mark.parametrize("text", ["", "Auto", "1,2", "1,2,x", "0,1,1", "1,nan,1", "1,1,-2"])
def test_a_value_that_is_no_choice_is_refused(text):
    with pytest.raises(InputError, match=f"--white_balance={text}: give none, camera, auto"):
        white_balance.parse(text)


class TestWeightsThatSayTheirs:
    """`channel_scales_for`, by which evaluation, training and Python scale frames."""

    def test_without_a_word_of_file_or_weights_frames_are_left(self):
        for noted, trained in ((None, OTHER), (OTHER, None), (None, None)):
            scales = white_balance.channel_scales_for(noted, trained, packing.XTRANS)
            np.testing.assert_array_equal(scales, np.ones(9))

    def test_frames_of_the_trained_light_are_left_to_the_bit(self):
        for noted in ((2.77, 1, 1.43), (2.7701, 1, 1.4299)):
            scales = white_balance.channel_scales_for(noted, SONY.white_balance, packing.BAYER)
            np.testing.assert_array_equal(scales, np.ones(4))

    def test_colours_are_scaled_from_the_file_s_multipliers(self):
        scales = white_balance.channel_scales_for((2, 1, 1.5), (4, 1, 1), packing.BAYER)
        np.testing.assert_allclose(scales, (0.5, 1, 1.5, 1))

    @pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
    def test_another_light_gives_the_same_packed_frames(self, camera, tmp_path):
        """The same colours on the sensor under two lights, written and read back."""
        balanced = np.random.default_rng(0).uniform(0, 0.3, (24, 36, 3))
        frames = []
        for number, multipliers in enumerate((camera.white_balance, OTHER)):
            light = dataclasses.replace(camera, white_balance=multipliers)
            mosaic = simulate.mosaic(balanced / multipliers, packing.LAYOUTS[camera.mosaic].colours)
            samples = np.rint(camera.black + mosaic * (camera.white - camera.black))
            simulate.write_dng(tmp_path / f"{number}.dng", samples.astype(np.uint16), light)
            frames.append(reading.read_raw(tmp_path / f"{number}.dng", camera))
            assert frames[-1].white_balance == pytest.approx(multipliers, rel=1e-4)
        trained = frames[0].white_balance
        # Brightened until nearly half of the values are cut at 1: scaled before that, not after it.
        for ratio in (1.0, 8.0):
            own, other = (frame.packed(ratio, trained) for frame in frames)
            np.testing.assert_array_equal(own, frames[0].packed(ratio))
            # But for rounding to whole raw values.
            rounding = 3 * ratio / (camera.white - camera.black)
            np.testing.assert_allclose(other, own, atol=rounding)
            assert np.abs(frames[1].packed(ratio) - own).max() > 0.05 * ratio**0.5
        assert 0.2 < np.mean(own == 1) < 0.6


@pytest.mark.parametrize(
    ("text", "expected"),
    [("none", None), ("camera", SONY.white_balance), ("4,2,3", (2.0, 1.0, 1.5))],
)
def test_what_training_data_are_scaled_to(text, expected):
    assert white_balance.trained_for(text, SONY) == expected


@pytest.mark.parametrize("text", ["auto", "warm", "1,2", "1,0,1", "1,nan,1"])
def test_training_flags_that_make_no_sense(text):
    with pytest.raises(InputError, match=f"--white_balance={text}: give none, camera"):
        white_balance.trained_for(text, SONY)
