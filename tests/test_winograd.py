"""Fast convolutions of many channels against TensorFlow's own."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dbp_tf.models import networks
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.restore import winograd
from dbp_tf.restore.pretrained import untrained

SPEC = NetworkSpec(width=4, residual_blocks=1)


@pytest.fixture
def for_all(monkeypatch):
    """Also narrow networks and small pictures, of six pixels at level 5 and more, are fast."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 1)
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 6)


@contextlib.contextmanager
def dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def small_bottleneck():
    """One whose weights all matter to its result."""
    network = networks.fine_bottleneck(2, 1, squeeze_excite=True)
    rng = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(rng.normal(0.2, 0.2, weight.shape))
    return network


@pytest.fixture(scope="module")
def bottleneck():
    return small_bottleneck()


# A single pixel, whole tiles, and one pixel more or less than whole tiles.
@pytest.mark.parametrize(
    ("rows", "columns", "inputs", "outputs"), [(1, 1, 3, 2), (8, 8, 4, 4), (9, 15, 5, 7)]
)
def test_it_is_a_convolution(rows, columns, inputs, outputs):
    rng = np.random.default_rng(rows)
    features = rng.standard_normal((1, rows, columns, inputs))
    kernel = rng.standard_normal((3, 3, inputs, outputs))
    expected = tf.nn.conv2d(features, kernel, 1, "SAME")
    features, kernel = (tf.constant(values, tf.float32) for values in (features, kernel))
    np.testing.assert_allclose(winograd.convolution(features, kernel), expected, atol=1e-4)


def test_the_network_gives_the_same(for_all, bottleneck):
    fast = winograd.faster(bottleneck)
    assert fast is not bottleneck
    fast = tf.function(fast)
    for rows, columns in ((9, 15), (1, 5)):  # The latter is too small.
        level5 = np.random.default_rng(rows).random((1, rows, columns, 32), np.float32)
        expected = bottleneck(level5)
        assert np.std(expected) > 1
        np.testing.assert_allclose(fast(level5), expected, rtol=1e-5, atol=1e-4)
        # Weights that are loaded later count.
        kernel = bottleneck.get_layer("g_res_fine").kernel
        kernel.assign(-kernel)
        np.testing.assert_allclose(fast(level5), bottleneck(level5), rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("eagerly")
def test_a_small_picture_is_not_compiled(for_all, monkeypatch):
    def nothing(features, kernel):
        return np.nan * tf.nn.conv2d(features, kernel, 1, "SAME")

    monkeypatch.setattr(winograd, "convolution", nothing)
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 100)  # Level 3 has 9 x 12 and 9 x 4.
    model, frames = untrained(SPEC), np.full((1, 34, 46, 4), 0.5, np.float32)
    assert np.isnan(model.enhance(frames)).all()
    assert np.isfinite(model.enhance(frames[:, :, :16])).all()


def test_a_network_keeps_its_precision_whatever_keras_makes_others_of(for_all, bottleneck):
    with dtype_policy("mixed_bfloat16"):
        fast = winograd.faster(bottleneck)
    level5 = np.random.default_rng(1).random((1, 9, 15, 32), np.float32)
    np.testing.assert_allclose(fast(level5), bottleneck(level5), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("reason", ["narrow", "bfloat16", "GPU", "system"])
def test_the_network_stays_where_it_would_gain_nothing(for_all, monkeypatch, bottleneck, reason):
    assert winograd.faster(bottleneck) is not bottleneck
    if reason == "narrow":
        monkeypatch.setattr(winograd, "LEAST_CHANNELS", 65)
    elif reason == "GPU":
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    elif reason == "system":
        monkeypatch.setattr("sys.platform", "win32")
    else:
        with dtype_policy("bfloat16"):
            bottleneck = small_bottleneck()
    assert winograd.faster(bottleneck) is bottleneck


def test_all_convolutions_of_the_published_width_are_fast():
    for network, direct in (
        (networks.fine_bottleneck(32, 2, squeeze_excite=True), 0),
        (networks.fine_encoder(4, 32, noise_map=True), 9),  # All but the second one of level 5.
    ):
        fast = winograd.faster(network)
        assert len(fast.layers) == len(network.layers)
        assert sum(isinstance(layer, keras.layers.Conv2D) for layer in fast.layers) == direct
