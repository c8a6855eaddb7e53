"""VGG-19 features: file formats, colour order, the published numbers, bad files."""

import os
import sys

import h5py
import keras
import numpy as np
import pytest
import scipy.io
import tensorflow as tf

from dbp_tf.errors import InputError
from dbp_tf.training import vgg

DATA = os.path.join(os.path.dirname(__file__), "data", "losses.npz")
WIDTHS = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256)] + [(256, 256)] * 3
WIDTHS += [(256, 512), (512, 512)]
NAMES = "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv3_4 conv4_1 conv4_2".split()


@pytest.fixture(scope="module")
def weights():
    """The random weights with which losses.npz was computed."""
    random = np.random.RandomState(19)
    drawn = {}
    for name, (inputs, outputs) in zip(NAMES, WIDTHS, strict=True):
        kernel = random.standard_normal((3, 3, inputs, outputs)) * np.sqrt(2 / (9 * inputs))
        bias = 0.01 * random.standard_normal((1, outputs))
        drawn[name] = kernel.astype(np.float32), bias[0].astype(np.float32)
    return drawn


@pytest.fixture(scope="module")
def pictures():
    """Two pictures of odd size, with values on both sides of 0..1."""
    return np.random.RandomState(3).uniform(-0.2, 1.3, (2, 37, 50, 3)).astype(np.float32)


def bgr(weights):
    """As Keras stores them: the first kernel reads blue, green, red."""
    kernel, bias = weights["conv1_1"]
    return {**weights, "conv1_1": (np.stack([kernel[:, :, k] for k in (2, 1, 0)], 2), bias)}


def plain_features(pictures, weights):
    x = 255.0 * pictures - np.array([123.68, 116.779, 103.939], np.float32)
    features = {}
    for name in NAMES:
        if name in ("conv2_1", "conv3_1", "conv4_1"):
            x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
        x = tf.nn.relu(tf.nn.conv2d(x, weights[name][0], 1, "SAME") + weights[name][1])
        features[name] = x.numpy()
    return features


def write_h5(path, weights, layout):
    with h5py.File(path, "w") as file:
        for name, arrays in weights.items():
            layer = f"block{name[4]}_conv{name[6]}"
            paths = {
                "keras 1": (f"{layer}/{layer}_W_1:0", f"{layer}/{layer}_b_1:0"),
                "keras 2": (f"{layer}/{layer}/kernel:0", f"{layer}/{layer}/bias:0"),
            }[layout]
            # The bias first, so that no reader can rely on the order of writing.
            file[paths[1]], file[paths[0]] = arrays[1], arrays[0]
        file.create_group("block1_pool")
    return str(path)


def write_mat(path, weights, layout):
    layers = []
    for name, (kernel, bias) in weights.items():
        cell = np.empty((1, 2), object)
        cell[0, 0] = kernel
        cell[0, 1] = bias[:, None] if layout == "late" else bias[None]
        if layout == "late":
            layer = {"name": name, "type": "conv", "weights": cell, "size": [3.0, 3.0], "pad": 1.0}
        elif layout == "middle":
            layer = {"weights": cell, "pad": 1.0, "type": "conv", "name": name, "stride": 1.0}
        else:
            layer = {"filters": kernel, "biases": bias[None], "type": "conv", "name": name}
        layers += [layer, {"type": "relu", "name": name.replace("conv", "relu")}]
    cells = np.empty((1, len(layers)), object)
    cells[0, :] = layers
    meta = {"normalization": {"averageImage": np.zeros((2, 2, 3))}}
    scipy.io.savemat(path, {"layers": cells, "meta": meta})
    return str(path)


def test_published_features(weights):
    with np.load(DATA) as published:
        features = vgg.vgg_features(weights)(published["fake"])
        assert list(features) == ["conv3_2", "conv4_2"]
        for name, values in features.items():
            expected = published[f"fake_{name}_mean"]
            mean = values.numpy().mean((1, 2))
            assert np.abs(mean - expected).max() <= 1e-5 * expected.max()


@pytest.mark.parametrize("layout", ["keras 1", "keras 2", "late", "middle", "early"])
def test_formats_agree_with_a_plain_computation(tmp_path, weights, pictures, layout):
    if layout.startswith("keras"):
        path = write_h5(tmp_path / "weights.h5", bgr(weights), layout)
    else:
        path = write_mat(tmp_path / "weights.mat", weights, layout)
    read = vgg.read_vgg_weights(path)
    assert list(read) == NAMES
    for name in NAMES:
        for array, expected in zip(read[name], weights[name], strict=True):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, expected)
    if layout in ("keras 1", "late"):
        features = vgg.vgg_features(read)(pictures)
        plain = plain_features(pictures, weights)
        assert features["conv3_2"].shape == (2, 10, 13, 256)
        assert features["conv4_2"].shape == (2, 5, 7, 512)
        for name, values in features.items():
            np.testing.assert_allclose(values, plain[name], atol=1e-5 * plain[name].max())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_first_layer_agrees_with_keras_own_network(tmp_path, pictures):
    full = keras.applications.VGG19(weights=None, include_top=False)
    keras_vgg = keras.Model(full.input, full.get_layer("block4_conv2").output)
    path = str(tmp_path / "whole_model.h5")
    keras_vgg.save(path)
    model = vgg.vgg_features(vgg.read_vgg_weights(path))
    prepared = keras.applications.vgg19.preprocess_input(255 * pictures.astype(np.float64))
    expected = full.get_layer("block1_conv1")(prepared.astype(np.float32)).numpy()
    ours = keras.Model(model.input, model.get_layer("conv1_1").output)(pictures).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5 * expected.max())


def test_without_a_path_keras_provides_the_weights(monkeypatch, weights):
    network = keras.applications.VGG19(weights=None, include_top=False)
    for name, arrays in bgr(weights).items():
        network.get_layer(f"block{name[4]}_conv{name[6]}").set_weights(arrays)
    asked = {}
    monkeypatch.setattr(keras.applications, "VGG19", lambda **kw: asked.update(kw) or network)
    read = vgg.read_vgg_weights()
    assert asked == {"include_top": False, "weights": "imagenet"}
    for name in NAMES:
        np.testing.assert_array_equal(read[name][0], weights[name][0])
        np.testing.assert_array_equal(read[name][1], weights[name][1])


def test_no_network_says_where_to_put_the_file(monkeypatch, tmp_path):
    def fail(**_):
        raise Exception("URL fetch failure on https://example.org:\nNone -- no network")

    monkeypatch.setattr(keras.applications, "VGG19", fail)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(InputError) as error:
        vgg.read_vgg_weights()
    message = str(error.value)
    assert "no network" in message and "\n" not in message
    assert f"put {vgg.KERAS_FILE} into {tmp_path / 'models'}" in message
    assert "--vgg_weights" in message


def test_frozen_but_transparent(weights, pictures):
    model = vgg.vgg_features(weights)
    assert model.trainable_weights == []
    assert len(model.weights) == 20
    x = tf.constant(pictures)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(model(x)["conv4_2"])
    gradient = tape.gradient(total, x).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_float32_under_mixed_precision(weights, pictures, policy):
    expected = vgg.vgg_features(weights)(pictures)
    keras.config.set_dtype_policy(policy)
    try:
        features = vgg.vgg_features(weights)(pictures)
    finally:
        keras.config.set_dtype_policy("float32")
    for name, values in features.items():
        assert values.dtype == tf.float32
        np.testing.assert_array_equal(values, expected[name])


def test_float16_pictures_are_computed_in_float32(weights, pictures):
    model = vgg.vgg_features(weights)
    half = pictures.astype(np.float16)
    features, expected = model(tf.constant(half)), model(half.astype(np.float32))
    for name, values in features.items():
        assert values.dtype == tf.float32
        np.testing.assert_array_equal(values, expected[name])


def message_of(path):
    with pytest.raises(InputError) as error:
        vgg.read_vgg_weights(path)
    message = str(error.value)
    assert os.path.basename(str(path)) in message and "\n" not in message
    return message


def test_missing_file_and_folder(tmp_path):
    assert "there is no" in message_of(tmp_path / "absent.h5")
    folder = tmp_path / "folder.h5"
    folder.mkdir()
    assert "--vgg_weights" in message_of(folder)


def test_neither_format(tmp_path):
    for name, content in (("page.h5", b"<html>"), ("page.mat", b"version https://"), ("no", b"")):
        (tmp_path / name).write_bytes(content)
        assert "--vgg_weights" in message_of(tmp_path / name)


@pytest.mark.parametrize("kept", [60, 4000, 40000])
@pytest.mark.parametrize("compressed", [False, True])
def test_cut_files(tmp_path, weights, kept, compressed):
    some = {"conv1_1": weights["conv1_1"], "conv1_2": weights["conv1_2"]}
    if compressed:
        layers = np.empty((1, 1), object)
        layers[0, 0] = {"name": "conv1_2", "weights": weights["conv1_2"][0]}
        scipy.io.savemat(tmp_path / "a.mat", {"layers": layers}, do_compression=True)
    else:
        write_mat(tmp_path / "a.mat", some, "late")
    whole = (tmp_path / "a.mat").read_bytes()
    assert len(whole) > kept
    (tmp_path / "cut.mat").write_bytes(whole[:kept])
    message_of(tmp_path / "cut.mat")

    whole = open(write_h5(tmp_path / "a.h5", some, "keras 1"), "rb").read()
    (tmp_path / "cut.h5").write_bytes(whole[:kept])
    message_of(tmp_path / "cut.h5")


def test_missing_layers_are_listed(tmp_path, weights):
    some = {name: weights[name] for name in NAMES[:3]}
    h5 = message_of(write_h5(tmp_path / "some.h5", some, "keras 1"))
    mat = message_of(write_mat(tmp_path / "some.mat", some, "late"))
    for message in (h5, mat):
        assert all(name in message for name in NAMES[3:])
        assert not any(name in message for name in NAMES[:3])
    scipy.io.savemat(tmp_path / "other.mat", {"layers": np.eye(3), "x": 1.0})
    assert "conv1_1" in message_of(tmp_path / "other.mat")
    scipy.io.savemat(tmp_path / "empty.mat", {"x": 1.0})
    assert "conv1_1" in message_of(tmp_path / "empty.mat")


def test_wrong_shapes_name_the_layer(tmp_path, weights):
    small = {name: (np.zeros((1, 1), np.float32), np.zeros(1, np.float32)) for name in NAMES}
    kernel, bias = weights["conv1_1"]
    for wrong in [
        (kernel.transpose(3, 2, 0, 1), bias),
        (kernel, bias[:-1]),
        ((100 * kernel).astype(np.int32), bias),
    ]:
        layers = {**small, "conv1_1": wrong}
        assert "layer conv1_1" in message_of(write_h5(tmp_path / "w.h5", layers, "keras 1"))
        assert "layer conv1_1" in message_of(write_mat(tmp_path / "w.mat", layers, "late"))
    layers = {**small, "conv1_1": (kernel, bias)}
    assert "layer conv1_2" in message_of(write_h5(tmp_path / "w.h5", layers, "keras 1"))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file["block1_conv1/momentum"] = kernel
    assert "layer conv1_1" in message_of(tmp_path / "w.h5")


def test_without_scipy_the_extra_is_named(tmp_path, weights, monkeypatch):
    path = write_mat(tmp_path / "weights.mat", {"conv1_1": weights["conv1_1"]}, "late")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert 'pip install "dbp_tf[vgg]"' in message_of(path)
