"""Checkpoints on disk: what is found, what is refused, and that saving loses nothing."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_checkpoint

import dbp_tf
from dbp_tf.errors import InputError
from dbp_tf.models import released
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.restore.pretrained import SPEC_FILE, WEIGHTS_FILE, untrained

pytestmark = pytest.mark.usefixtures("built_once")


@pytest.fixture
def v1(data, tmp_path):
    """A copy of the first version's golden checkpoint that a test may damage."""
    return shutil.copytree(data / "sony_v1_d2", tmp_path / "burst_l1_cx")


def values_of(folder):
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def weights_of(model):
    """{published name: array}; of bfloat16 as float32."""
    variables = released.published_variables(model.models)
    return {name: np.asarray(tf.cast(v, tf.float32)) for name, v in variables.items()}


def assert_holds(model, expected):
    """The model's weights are these, {published name: array}."""
    found = weights_of(model)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def frames(channels=4):
    return np.random.default_rng(0).random((2, 8, 12, channels), np.float32)


def test_folder_and_prefix_load_the_same_weights(v1):
    for path in (v1, str(v1 / "model.ckpt")):
        assert_holds(dbp_tf.load_pretrained(path), values_of(v1))


@pytest.mark.parametrize("path", ["/home/author/x/model.ckpt", "C:\\\\nets\\\\model.ckpt"])
def test_the_authors_absolute_path_does_not_matter(v1, path):
    (v1 / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    shutil.copy(v1 / "model.ckpt.index", v1 / "older.ckpt.index")
    shutil.copy(v1 / "model.ckpt.data-00000-of-00001", v1 / "older.ckpt.data-00000-of-00001")
    assert dbp_tf.load_pretrained(v1).spec.fusion == "max"


def test_several_checkpoints_and_no_word_which(v1):
    shutil.copy(v1 / "model.ckpt.index", v1 / "older.ckpt.index")
    (v1 / "checkpoint").unlink()
    with pytest.raises(InputError, match="several checkpoints .model.ckpt, older.ckpt."):
        dbp_tf.load_pretrained(v1)


def test_optimizer_slots_are_ignored(v1, tmp_path):
    values = values_of(v1)
    slots = {f"{name}/Adam": value for name, value in values.items()}
    slots |= {f"{name}/Adam_1": value for name, value in values.items()}
    powers = {"beta1_power": np.float32(0.9), "beta2_power": np.float32(0.999)}
    folder = write_checkpoint(tmp_path / "slots", values | slots | powers)
    assert_holds(dbp_tf.load_pretrained(folder), values)


def test_a_missing_folder_and_one_without_weights(tmp_path):
    with pytest.raises(InputError, match="there is no checkpoint .*nowhere"):
        dbp_tf.load_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no weights: neither a TensorFlow checkpoint"):
        dbp_tf.load_pretrained(tmp_path)


def test_missing_halves_of_a_checkpoint(v1):
    data_file = v1 / "model.ckpt.data-00000-of-00001"
    (v1 / "model.ckpt.index").rename(v1 / "away")
    with pytest.raises(InputError, match=".data file but no .index"):
        dbp_tf.load_pretrained(v1)
    (v1 / "away").rename(v1 / "model.ckpt.index")
    data_file.unlink()
    with pytest.raises(InputError, match="has no model.ckpt.data-00000-of-00001 beside it"):
        dbp_tf.load_pretrained(v1)


def test_a_garbled_index(v1):
    (v1 / "model.ckpt.index").write_bytes(b"not a table" * 100)
    with pytest.raises(InputError, match="model.ckpt.index is not a readable TensorFlow"):
        dbp_tf.load_pretrained(v1)


def test_a_truncated_data_file(v1):
    data_file = v1 / "model.ckpt.data-00000-of-00001"
    data_file.write_bytes(data_file.read_bytes()[:5000])
    with pytest.raises(InputError, match="model.ckpt.* is damaged or cut short"):
        dbp_tf.load_pretrained(v1)


def test_missing_unknown_and_misshaped_variables_are_listed(v1, tmp_path):
    values = values_of(v1)
    del values["g_conv3_1_fine/biases"], values["Variable_2"]
    values["g_extra/weights"] = np.zeros((1, 1), np.float32)
    values["g_conv5_1/biases"] = np.zeros(7, np.float32)
    folder = write_checkpoint(tmp_path / "broken", values)
    with pytest.raises(InputError) as caught:
        dbp_tf.load_pretrained(folder)
    text = str(caught.value)
    assert "2 missing: Variable_2, g_conv3_1_fine/biases" in text
    assert "1 unknown: g_extra/weights" in text
    assert "1 of another shape: g_conv5_1/biases [7] instead of [32]" in text


def test_families_do_not_mix(v1, data, tmp_path):
    fine = {name: value for name, value in values_of(v1).items() if "fine" in name}
    mixed = values_of(data / "sid_sony_d2") | fine
    with pytest.raises(InputError, match="mixes families: g_conv10 gives 12 channels"):
        dbp_tf.load_pretrained(write_checkpoint(tmp_path / "sid", mixed))
    coarse = {name: v for name, v in values_of(data / "fuji_v2_d2").items() if "fine" not in name}
    with pytest.raises(InputError, match="mixes families: 9 packed channels"):
        dbp_tf.load_pretrained(write_checkpoint(tmp_path / "fuji", coarse | fine))


def test_another_network_altogether(tmp_path):
    folder = write_checkpoint(tmp_path / "other", {"dense/kernel": np.zeros((2, 2), np.float32)})
    with pytest.raises(InputError, match="not a checkpoint of the published networks.*dense/kern"):
        dbp_tf.load_pretrained(folder)


def test_a_coarse_network_alone(data, tmp_path):
    golden = data / "fuji_v2_d2"
    values = {name: value for name, value in values_of(golden).items() if "fine" not in name}
    values = {name: value for name, value in values.items() if not name.startswith("g_res")}
    model = dbp_tf.load_pretrained(write_checkpoint(tmp_path / "coarse_fuji", values))
    assert model.spec == NetworkSpec(family="coarse", channels=9, width=2, scale=1)
    arrays = np.load(golden / "golden.npz")
    np.testing.assert_allclose(
        model.coarse(arrays["burst3/frames_low"]), arrays["burst3/coarse"], atol=1e-5
    )
    with pytest.raises(InputError, match="coarse network alone"):
        model.enhance(frames(9))


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(width=2, residual_blocks=2),
        NetworkSpec(width=2, residual_blocks=1, squeeze_excite=False, noise_map=False),
        NetworkSpec(width=3, fusion="max", channels=9, scale=3),
        NetworkSpec(family="sid", width=2),
        NetworkSpec(family="coarse", width=2, scale=1),
    ],
    ids=lambda spec: f"{spec.family}-{spec.fusion}",
)
def test_saving_and_loading_is_exact(spec, tmp_path):
    model = untrained(spec)
    saved = weights_of(model)
    dbp_tf.save_pretrained(model, tmp_path)
    loaded = dbp_tf.load_pretrained(tmp_path)
    assert loaded.spec == spec
    assert_holds(loaded, saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == [WEIGHTS_FILE, SPEC_FILE]


def test_keras_saves_and_clones_loaded_networks(tmp_path):
    dbp_tf.save_pretrained(untrained(NetworkSpec(width=2, residual_blocks=2)), tmp_path)
    model = dbp_tf.load_pretrained(tmp_path).fine
    model.save(tmp_path / "fine.keras")
    again = keras.models.load_model(tmp_path / "fine.keras")
    assert len(again.weights) == len(keras.models.clone_model(model).weights)
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("eagerly")
def test_loaded_in_bfloat16_weights_are_rounded_to_it(v1, tmp_path):
    full = dbp_tf.load_pretrained(v1)
    picture = full.enhance(frames()[:1])
    dbp_tf.save_pretrained(full, tmp_path / "own")
    for path in (v1, tmp_path / "own"):
        half = dbp_tf.load_pretrained(path, "bfloat16")
        assert {variable.dtype for variable in half.fine.weights} == {"bfloat16", "float32"}
        rounded = {
            name: np.float32(tf.cast(values_of(v1)[name], variable.dtype))
            for name, variable in released.published_variables(half.models).items()
        }
        assert_holds(half, rounded)
    assert np.abs(half.enhance(frames()[:1]) - picture).max() > 1e-4
    with pytest.raises(InputError, match="precision is one of float32, bfloat16, not 'half'"):
        dbp_tf.load_pretrained(v1, "half")


def test_half_precision_files_are_half_as_large_and_close(tmp_path):
    model = untrained(NetworkSpec(width=3, fusion="max", channels=9, scale=3))
    saved = weights_of(model)
    dbp_tf.save_pretrained(model, tmp_path / "full")
    dbp_tf.save_pretrained(model, tmp_path / "half", bits=16)
    sizes = [(tmp_path / kind / WEIGHTS_FILE).stat().st_size for kind in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    loaded = dbp_tf.load_pretrained(tmp_path / "half")
    assert_holds(loaded, {name: np.float16(values) for name, values in saved.items()})
    assert {variable.dtype for variable in loaded.fine.weights} == {"float32"}
    with pytest.raises(InputError, match="16 or 32 bits, not 4"):
        dbp_tf.save_pretrained(model, tmp_path, bits=4)


@pytest.mark.parametrize("old, new", [("burst", "fine"), ("single", "sid"), ("coarse", "coarse")])
def test_the_families_of_older_files_load(tmp_path, old, new):
    fine = {"fusion": "max"} if new == "fine" else {}
    spec = NetworkSpec(family=new, width=2, scale=1 if new == "coarse" else 2, **fine)
    model = untrained(spec)
    dbp_tf.save_pretrained(model, tmp_path)
    description = json.loads((tmp_path / SPEC_FILE).read_text())
    assert description["network"]["family"] == new
    description["network"]["family"] = old
    (tmp_path / SPEC_FILE).write_text(json.dumps(description))
    loaded = dbp_tf.load_pretrained(tmp_path)
    assert loaded.spec == spec and loaded.models.keys() == model.models.keys()


def test_the_reference_frame_is_stored_with_the_weights(tmp_path):
    spec = NetworkSpec(width=2, residual_blocks=1, reference_frame="center")
    dbp_tf.save_pretrained(untrained(spec), tmp_path)
    model = dbp_tf.load_pretrained(tmp_path)
    assert model.spec == spec and model.reference_frame == "center"
    description = json.loads((tmp_path / SPEC_FILE).read_text())
    description["network"].pop("reference_frame")  # As version 0.1 wrote it.
    (tmp_path / SPEC_FILE).write_text(json.dumps(description))
    assert dbp_tf.load_pretrained(tmp_path).reference_frame == "first"


def test_older_files_of_the_first_version_may_tell_of_a_bottleneck(tmp_path):
    spec = NetworkSpec(width=2, fusion="max")
    assert (spec.residual_blocks, spec.squeeze_excite) == (0, False)
    dbp_tf.save_pretrained(untrained(spec), tmp_path)
    description = json.loads((tmp_path / SPEC_FILE).read_text())
    description["network"] |= {"residual_blocks": 16, "squeeze_excite": True}
    (tmp_path / SPEC_FILE).write_text(json.dumps(description))
    assert dbp_tf.load_pretrained(tmp_path).spec == spec


def test_weights_say_the_white_balance_they_were_trained_for(tmp_path, data):
    assert dbp_tf.load_pretrained(data / "sony_v1_d2").white_balance is None
    model = untrained(NetworkSpec(width=2, fusion="max"))
    dbp_tf.save_pretrained(model, tmp_path)
    assert "white_balance" not in json.loads((tmp_path / SPEC_FILE).read_text())
    assert dbp_tf.load_pretrained(tmp_path).white_balance is None
    model.white_balance = (2.77, 1.0, 1.43)
    dbp_tf.save_pretrained(model, tmp_path)
    description = json.loads((tmp_path / SPEC_FILE).read_text())
    assert description["white_balance"] == [2.77, 1, 1.43]
    assert dbp_tf.load_pretrained(tmp_path).white_balance == (2.77, 1, 1.43)
    (tmp_path / SPEC_FILE).write_text(json.dumps(description | {"white_balance": [4, 2, 3]}))
    assert dbp_tf.load_pretrained(tmp_path).white_balance == (2, 1, 1.5)
    for wrong in ([2.77, 1], [2.77, 0, 1.43], "warm", [], 2):
        (tmp_path / SPEC_FILE).write_text(json.dumps(description | {"white_balance": wrong}))
        with pytest.raises(InputError, match=f"{SPEC_FILE} says white_balance .* three mult"):
            dbp_tf.load_pretrained(tmp_path)


def test_any_file_of_the_weights_may_be_given(v1, tmp_path):
    expected = values_of(v1)
    (v1 / "model.ckpt.meta").write_bytes(b"a graph")
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.ckpt.meta"):
        assert_holds(dbp_tf.load_pretrained(v1 / name), expected)
    model = dbp_tf.load_pretrained(v1 / "checkpoint")
    assert_holds(model, expected)
    dbp_tf.save_pretrained(model, tmp_path / "own")
    for name in (SPEC_FILE, WEIGHTS_FILE):
        assert_holds(dbp_tf.load_pretrained(tmp_path / "own" / name), expected)
    (tmp_path / "picture.png").write_bytes(b"no weights")
    with pytest.raises(InputError, match="picture.png holds no weights"):
        dbp_tf.load_pretrained(tmp_path / "picture.png")


@pytest.mark.parametrize("name", ["run [1]", "a*b?", "back\\slash"])
def test_signs_in_paths_are_no_patterns(v1, tmp_path, name):
    expected = values_of(v1)
    folder = tmp_path / name
    dbp_tf.save_pretrained(dbp_tf.load_pretrained(v1), folder / "own")
    assert_holds(dbp_tf.load_pretrained(folder / "own"), expected)
    shutil.copytree(v1, folder / "released")
    assert_holds(dbp_tf.load_pretrained(folder / "released"), expected)
    for path in (folder / "released").glob("model.ckpt.*"):
        path.rename(path.with_name(path.name.replace("model", name)))
    (folder / "released" / "checkpoint").unlink()
    for path in (folder / "released", folder / "released" / f"{name}.ckpt"):
        assert_holds(dbp_tf.load_pretrained(path), expected)


def test_a_frozen_graph(v1, tmp_path):
    graph = tf.compat.v1.GraphDef()
    for name, value in values_of(v1).items():
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        graph.node.add(name=f"{name}/read", op="Identity", input=[name])
    # Graphs are full of others.
    for name in ("resize/size", "g_conv1_1/Conv2D/dilation", "LeakyRelu/alpha"):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([1, 2]))
    path = tmp_path / "frozen_model.pb"
    path.write_bytes(graph.SerializeToString())
    for given in (path, tmp_path):
        loaded = dbp_tf.load_pretrained(given)
        assert loaded.spec == NetworkSpec(width=2, fusion="max")
        assert_holds(loaded, values_of(v1))
    del graph.node[0]
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match="frozen_model.pb does not fit its network: 1 missing"):
        dbp_tf.load_pretrained(path)
    path.write_bytes(b"not a graph")
    with pytest.raises(InputError, match="frozen_model.pb is damaged or no frozen graph"):
        dbp_tf.load_pretrained(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="it has no convolution g_conv1_1/weights"):
        dbp_tf.load_pretrained(path)


def test_damage_to_the_projects_own_format(tmp_path):
    dbp_tf.save_pretrained(untrained(NetworkSpec(width=2, residual_blocks=2)), tmp_path)
    spec_file, weights_file = tmp_path / SPEC_FILE, tmp_path / WEIGHTS_FILE
    description = json.loads(spec_file.read_text())

    for text in ("{", '{"format": 1' + "0" * 5000 + "}", "[" * 100_000):
        spec_file.write_text(text)
        with pytest.raises(InputError, match=f"{SPEC_FILE} does not describe a network"):
            dbp_tf.load_pretrained(tmp_path)
    unknown = description["network"] | {"fusion": "median"}
    spec_file.write_text(json.dumps(description | {"network": unknown}))
    with pytest.raises(InputError, match=f"{SPEC_FILE}: a network's fusion is one of reference, "):
        dbp_tf.load_pretrained(tmp_path)
    spec_file.write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(InputError, match="is of format 99"):
        dbp_tf.load_pretrained(tmp_path)
    other = NetworkSpec(width=3, fusion="max", channels=9, scale=3)
    spec_file.write_text(json.dumps(description | {"network": dataclasses.asdict(other)}))
    with pytest.raises(InputError, match=f"{WEIGHTS_FILE} does not fit its network"):
        dbp_tf.load_pretrained(tmp_path)
    spec_file.write_text(json.dumps(description))
    weights_file.write_bytes(weights_file.read_bytes()[:3000])
    with pytest.raises(InputError, match=f"{WEIGHTS_FILE} is damaged"):
        dbp_tf.load_pretrained(tmp_path)
    weights_file.unlink()
    with pytest.raises(InputError, match=f"holds {SPEC_FILE} but no {WEIGHTS_FILE}"):
        dbp_tf.load_pretrained(tmp_path)


def test_a_spec_that_cannot_be_is_refused():
    wrong = [("family", "burst"), ("fusion", "mean"), ("width", 0), ("width", 2.5)]
    wrong += [("residual_blocks", -1), ("noise_map", "no"), ("reference_frame", "last")]
    for options in ({field: value} for field, value in wrong):
        with pytest.raises(InputError, match=next(iter(options))):
            NetworkSpec(**options)
    for field, value in (
        ("residual_blocks", 16),
        ("squeeze_excite", True),
        ("reference_frame", "first"),
    ):
        with pytest.raises(InputError, match=f"fusion max has no {field}"):
            NetworkSpec(fusion="max", **{field: value})
