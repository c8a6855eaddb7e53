"""White balance: grey of any sensor becomes the training camera's grey."""

import dataclasses

import numpy as np
import pytest

from dbp_tf.errors import InputError
from dbp_tf.raw import packing, white_balance
from dbp_tf.raw.cameras import FUJI, SONY
from dbp_tf.simulate import simulator

OTHER = (1.3, 1.0, 2.7)


@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
def test_grey_of_another_sensor_becomes_the_training_camera_s(camera):
    layout = packing.LAYOUTS[camera.mosaic]
    other = dataclasses.replace(camera, white_balance=OTHER)
    grey = np.full((12, 12, 3), 0.5, np.float32)
    ours, theirs = (
        packing.pack(simulator.mosaic(simulator.unprocess(grey, one), layout.colours), layout)
        for one in (camera, other)
    )
    colours = white_balance.scales("camera", OTHER, camera.white_balance, "a.dng")
    scaled = theirs * white_balance.channel_scales(colours, layout)
    # Up to a common factor: the simulator makes the smallest multiplier one.
    np.testing.assert_allclose(scaled / scaled[0, 0, 1], ours / ours[0, 0, 1], rtol=1e-5)
    assert not np.allclose(theirs / theirs[0, 0, 1], ours / ours[0, 0, 1], rtol=0.1)


def test_channels_follow_their_colours():
    assert white_balance.channel_scales((1, 2, 3), packing.BAYER) == (1, 2, 3, 2)
    assert white_balance.channel_scales((1, 2, 3), packing.XTRANS) == (1, 2, 3, 1, 3, 2, 2, 2, 2)


def test_choices():
    training = SONY.white_balance
    assert white_balance.scales("none", OTHER, training, "a") == (1, 1, 1)
    assert white_balance.scales("none", None, training, "a") == (1, 1, 1)
    assert white_balance.scales("camera", training, training, "a") == (1, 1, 1)
    given = white_balance.parse(f"{2 * training[0]},2,{training[2]}")
    assert given == pytest.approx((training[0], 1, training[2] / 2))
    assert white_balance.scales(given, None, training, "a") == pytest.approx((1, 1, 0.5))
    with pytest.raises(InputError, match="a.dng holds no white balance: give --white_balance none"):
        white_balance.scales("camera", None, training, "a.dng")


@pytest.mark.parametrize("text", ["", "auto", "1,2", "1,2,x", "0,1,1", "1,nan,1", "1,1,-2"])
def test_what_is_no_choice_is_refused(text):
    with pytest.raises(InputError, match=f"--white_balance={text}: give none, camera"):
        white_balance.parse(text)
