"""The networks against the golden results of the published graphs, and their invariants."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import dbp_tf
from dbp_tf.errors import InputError
from dbp_tf.models import fusions, layers, networks, released
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.restore import modes
from dbp_tf.restore.enhancer import empty
from dbp_tf.restore.pretrained import untrained

# The published graphs, rebuilt with plain ops, give these to the last bit on one machine.
TOLERANCE = 1e-5

BURST_FAMILIES = ["sony_v1", "sony_v2", "sony_v2_nonoise", "fuji_v2", "drv_v2"]
CASES = ["single", "burst3", "burst8_odd"]


@pytest.fixture(scope="module")
def family(data):
    """Loads a golden family once: (model, its golden arrays)."""
    loaded = {}

    def load(name):
        if name not in loaded:
            folder = data / f"{name}_d2"
            loaded[name] = dbp_tf.load_pretrained(folder), np.load(folder / "golden.npz")
        return loaded[name]

    return load


def distance(a, b):
    return np.abs(np.asarray(a) - np.asarray(b)).max()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", BURST_FAMILIES)
def test_burst_families_agree_with_the_published_graphs(family, name, case):
    model, golden = family(name)
    frames, low = golden[f"{case}/frames"], golden[f"{case}/frames_low"]
    assert distance(networks.half_size(frames), low) < 1e-6
    coarse = model.coarse(low)
    assert distance(coarse, golden[f"{case}/coarse"]) < TOLERANCE
    outputs = [key for key in golden if key.startswith(f"{case}/rgb")]
    assert len(outputs) == (1 if name == "sony_v1" else 2)
    for key in outputs:
        reference = key.split("_")[-1].replace("max", "first")
        restored = model.enhance(frames, reference_frame=reference)
        assert distance(restored, golden[key][0]) < TOLERANCE, key


def test_the_whole_graph_agrees_too(family, monkeypatch):
    model, golden = family("sony_v2")
    for reference in ("first", "center"):
        monkeypatch.setattr(model.fine.get_layer("fusion"), "reference_frame", reference)
        restored = model.fine([golden["burst8_odd/frames"], golden["burst8_odd/coarse"]])
        assert distance(restored, golden[f"burst8_odd/rgb_{reference}"]) < TOLERANCE


@pytest.mark.parametrize("case", ["single", "odd"])
def test_the_sid_baseline_agrees(family, case):
    model, golden = family("sid_sony")
    assert distance(model.enhance(golden[f"{case}/frames"]), golden[f"{case}/rgb"][0]) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sony_v1", dict(fusion="max")),
        ("sony_v2", {}),
        ("sony_v2_nonoise", dict(noise_map=False)),
        ("fuji_v2", dict(channels=9, scale=3)),
        ("drv_v2", dict(scale=1, depth_to_space=False)),
        ("sid_sony", dict(family="sid")),
    ],
)
def test_the_spec_is_read_off_the_shapes(family, name, expected):
    assert family(name)[0].spec == NetworkSpec(**{"width": 2, **expected})


def published_shapes(data, name):
    shapes = json.loads((data / f"released_{name}_variables.json").read_text())
    slots = ("/Adam", "/Adam_1", "beta1_power", "beta2_power")
    return {key: tuple(shape) for key, shape in shapes.items() if not key.endswith(slots)}


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        (
            "burst_l1_cx",
            NetworkSpec(fusion="max"),
        ),
        ("sid_sony", NetworkSpec(family="sid")),
    ],
)
def test_names_and_shapes_equal_those_of_the_released_files(data, name, spec):
    published = published_shapes(data, name)
    variables = released.published_variables(empty(spec).models)
    assert {key: tuple(variable.shape) for key, variable in variables.items()} == published
    assert released.spec_of(published, name) == spec


def test_the_revised_network_has_the_published_number_of_parameters():
    models = empty(NetworkSpec()).models
    assert sum(model.count_params() for model in models.values()) == 93_978_928
    assert len(released.published_variables(models)) == 250


@pytest.fixture(scope="module")
def small():
    """Makes small networks once for each reference frame: small() or small("center")."""

    @functools.cache
    def make(reference_frame):
        spec = NetworkSpec(width=2, residual_blocks=1, reference_frame=reference_frame)
        return untrained(spec, seed=3)

    return lambda reference_frame="first": make(reference_frame)


@pytest.mark.parametrize("size", [(2, 2), (6, 10), (34, 50)])
def test_any_even_size_and_any_number_of_frames(small, size):
    model = small()
    for frames in (1, 2, 5):
        burst = np.random.default_rng(frames).random((frames, *size, 4), np.float32)
        assert model.enhance(burst).shape == (2 * size[0], 2 * size[1], 3)


def test_the_order_of_frames_matters_only_for_the_reference(small):
    model = small()
    burst = np.random.default_rng(0).random((4, 12, 20, 4), np.float32)
    restored = model.enhance(burst, reference_frame="first")
    np.testing.assert_array_equal(restored, model.enhance(burst[[0, 3, 1, 2]]))
    np.testing.assert_array_equal(
        restored, model.enhance(burst[[3, 1, 0, 2]], reference_frame="center")
    )
    assert distance(restored, model.enhance(burst[[1, 0, 2, 3]])) > 1e-4
    np.testing.assert_array_equal(restored, model.enhance(iter(burst), reference_frame=0))


@pytest.mark.usefixtures("eagerly")
def test_a_fusion_is_one_entry_of_the_table(monkeypatch, tmp_path):
    smallest = dataclasses.replace(
        fusions.FUSIONS["max"],
        merge=lambda level: tf.reduce_min(level, 0, keepdims=True),
        before=np.inf,
        add=tf.minimum,
    )
    monkeypatch.setitem(fusions.FUSIONS, "min", smallest)
    model = untrained(NetworkSpec(width=2, fusion="min"), seed=3)
    frames = np.random.default_rng(0).random((3, 16, 16, 4), np.float32)
    picture = networks.restore_burst(model.coarse, model.fine, frames)
    assert distance(model.enhance(frames), picture) < TOLERANCE
    dbp_tf.save_pretrained(model, tmp_path)
    assert dbp_tf.load_pretrained(tmp_path).spec.fusion == "min"
    monkeypatch.setattr(model.fine.get_layer("fusion"), "fusion", "max")
    largest = networks.restore_burst(model.coarse, model.fine, frames)
    assert distance(largest, picture) > 1e-4


@pytest.mark.parametrize("said", ["first", "center"])
def test_graph_and_enhance_agree_on_the_reference_frame(small, said):
    model = small(said)
    frames = np.random.default_rng(0).random((5, 16, 16, 4), np.float32)
    picture = networks.restore_burst(model.coarse, model.fine, frames)
    index = {"center": 2}.get(said, 0)
    assert distance(model.enhance(frames), picture) < TOLERANCE
    np.testing.assert_array_equal(model.enhance(frames), model.enhance(frames, index))
    np.testing.assert_array_equal(model.enhance(frames), modes.restore(model, list(frames)))
    assert distance(model.enhance(frames), model.enhance(frames, 1)) > 1e-3


def test_odd_sizes_say_so(small):
    model = small()
    with pytest.raises(InputError, match="11 x 12 packed pixels, an odd number"):
        model.enhance(np.zeros((1, 11, 12, 4), np.float32))
    with pytest.raises(InputError, match="odd width of 13"):
        small().fine([np.zeros((1, 12, 13, 4)), np.zeros((1, 6, 6, 4))])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 8, 8, 9)), r"shape \[8, 8, 9\].*\[H, W, 4\]"),
        ([np.zeros((8, 8, 4)), np.zeros((8, 10, 4))], "frame 1 has the shape .*of one size"),
        ([], "at least one frame"),
    ],
)
def test_frames_that_do_not_fit_are_refused(small, frames, message):
    with pytest.raises(InputError, match=message):
        small().enhance(frames)


def test_the_reference_frame_is_checked(small):
    burst = np.zeros((2, 8, 8, 4))
    with pytest.raises(InputError, match="reference frame is one of first, center"):
        small().enhance(burst, reference_frame="last")
    with pytest.raises(InputError, match="reference frame 2 is not one of the 2"):
        small().enhance(burst, reference_frame=2)
    with pytest.raises(InputError, match="first, center or a whole number, not 1.5"):
        small().enhance(burst, reference_frame=1.5)
    with pytest.raises(InputError, match="needs to know how many"):
        small().enhance(iter(burst), reference_frame="center")


def test_the_video_variant_has_one_pixel_a_packed_pixel():
    with pytest.raises(InputError, match="not scale 2"):
        networks.fine_decoder(width=2, scale=2, depth_to_space=False)


def test_enlarging_is_the_resize_of_tensorflow_1():
    coarse = np.random.default_rng(1).random((2, 3, 5, 4), np.float32)
    enlarged = layers.EnlargeTwice()(coarse).numpy()
    below = np.concatenate([coarse[:, 1:], coarse[:, -1:]], 1)
    rows = np.stack([coarse, (coarse + below) / 2], 2).reshape(2, 6, 5, 4)
    right = np.concatenate([rows[:, :, 1:], rows[:, :, -1:]], 2)
    expected = np.stack([rows, (rows + right) / 2], 3).reshape(2, 6, 10, 4)
    np.testing.assert_allclose(enlarged, expected, atol=1e-7)


def test_instance_norm_against_numpy():
    features = np.random.default_rng(2).normal(3, 2, (1, 7, 5, 3)).astype(np.float32)
    features[..., 2] *= 1e-3  # whose variance is of epsilon's size
    layer = layers.InstanceNorm()
    layer.build(features.shape)
    layer.gamma.assign([1, 2, 3])
    layer.beta.assign([0, -1, 1])
    mean, variance = features.mean((1, 2), keepdims=True), features.var((1, 2), keepdims=True)
    expected = (features - mean) / np.sqrt(variance + 1e-6) * [1, 2, 3] + [0, -1, 1]
    np.testing.assert_allclose(layer(features), expected, atol=1e-5)
    half = layers.InstanceNorm(dtype="mixed_bfloat16")
    half.build(features.shape)
    half.set_weights(layer.get_weights())
    np.testing.assert_allclose(tf.cast(half(features), tf.float32), expected, atol=0.05)
    others = features[:, ::-1] ** 2
    both = layer(np.concatenate([features, others]))
    np.testing.assert_allclose(both, np.concatenate([layer(features), layer(others)]), atol=1e-5)


def test_squeeze_excite_gates_lie_between_a_half_and_one():
    bottleneck = networks.fine_bottleneck(width=2, residual_blocks=1, squeeze_excite=True)
    before, after = (
        bottleneck.get_layer(name).output
        for name in ("g_res0_conv2_fine_norm", "g_conv_fine_0_se_scale")
    )
    deepest = np.random.default_rng(0).normal(size=(3, 6, 4, 32)).astype(np.float32)
    values, gated = keras.Model(bottleneck.input, [before, after])(deepest)
    gates = gated.numpy() / values.numpy()
    assert gates.min() >= 0.5 - 1e-6
    assert gates.max() < 1
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:, :1, :1], gates.shape), rtol=1e-4)


def test_gradients_reach_every_weight_and_are_finite(small):
    models = small().models
    frames = tf.constant(np.random.default_rng(5).random((3, 16, 32, 4)), tf.float32)
    variables = [v for model in models.values() for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        picture = networks.restore_burst(models["coarse"], models["fine"], frames)
        loss = tf.reduce_mean(tf.abs(picture - 0.5))
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
