"""Adam steps of each stage, against the original really run on TensorFlow 1.15.

Three steps are there of each. Adam shows in those of the coarse network; the first loss and its
gradient tell of the others, whose steps are left to `make test-slow`.
"""

import dataclasses
import json
import zlib

import numpy as np
import pytest
import tensorflow as tf

from dbp_tf.models import released
from dbp_tf.training import training_step, vgg
from dbp_tf.training.config import Optimisation

# Of each run: stage, weight of the contextual loss, order in which VGG-19 sees the colours.
RUNS = {
    "coarse": ("coarse", 0.0, None),
    "fine": ("fine", 1.0, "rgb"),
    "burst": ("burst", 1.0, "rgb"),
    "fuji_burst": ("burst", 0.1, "bgr"),
    "v1_fine": ("fine", 1.0, "bgr"),
    "v1_fine_rgb": ("fine", 1.0, "rgb"),
}

STEPS = ["coarse"]
FIRST_LOSS = ["fine", "fuji_burst", "v1_fine"]


def start_of(name, shape):
    """A start weight, drawn as for the original's run."""
    seed = (zlib.crc32(name.encode()) + 7919 * 7) % 2**32
    value = np.random.RandomState(seed).standard_normal(shape)
    last = name.startswith("g_conv10")
    if name.endswith("biases"):
        value = 0.05 * value + (0.35 if name == "g_conv10_fine/biases" else 0)
    elif name.endswith("gamma"):
        value = 1 + 0.2 * value
    elif name.endswith("beta"):
        value = 0.1 * value
    elif name.endswith("weights"):
        value = value * np.sqrt(2 / np.prod(shape[:-1]))
        value = value * (0.1 if last else 0.5 if "_se_fc_" in name else 1)
    else:
        value = value * np.sqrt(1 / shape[3])
    return value.astype(np.float32)


def sampled(arrays, most):
    """Of {name: array}, names sorted, at most `most` values each, in one row."""
    rows = []
    for name in sorted(arrays):
        values = np.ravel(arrays[name])
        if values.size > most:
            order = np.random.RandomState(zlib.crc32(name.encode())).permutation(values.size)
            values = values[order[:most]]
        rows.append(values)
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def golden(data):
    """{run: {name: array}}; what runs share is there for each."""
    found = {}
    with np.load(data / "training_steps.npz") as arrays:
        for key in arrays.files:
            run, name = key.split("/")
            found.setdefault(run, {})[name] = arrays[key]
    shared = found.pop("sony")
    for run in ("fine", "burst", "v1_fine"):
        found[run] |= shared
    found["v1_fine_rgb"] = {**found["v1_fine"], **found["v1_fine_rgb"]}
    return found


@pytest.fixture(scope="module")
def features(vgg_weights):
    """VGG-19 by the order of colours; None without."""
    orders = {channels for _, _, channels in RUNS.values() if channels}
    return {None: None} | {order: vgg.vgg_features(vgg_weights, order) for order in orders}


def start(run, name, features):
    """The networks of a run with their start weights, its objective, and its batch."""
    stage, weight, channels = RUNS[name]
    kind = channels and "contextual"
    objective = training_step.Objective(stage, kind, weight, features[channels])
    batch = {"frames": run["x"], "clean_low": run["gtraw"], "lengths": np.array([len(run["x"])])}
    if stage != "coarse":
        batch |= {"low": run["low"], "truth": run["gt"] / np.float32(65535)}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    batch["step"] = tf.constant(0, tf.int64)

    weights = {n: start_of(n, shape) for n, shape in json.loads(str(run["names"])).items()}
    spec = released.spec_of({n: w.shape for n, w in weights.items()}, "the original")
    if spec.refers:
        spec = dataclasses.replace(spec, reference_frame="center")
    models = training_step.build_models(spec)
    variables = released.published_variables(models)
    assert variables.keys() == weights.keys()
    for name, value in weights.items():
        variables[name].assign(value)
    learned = training_step.trainable_variables(stage, models)
    trained = json.loads(str(run["trained"]))
    assert {id(variables[name]) for name in trained} == {id(v) for v in learned}
    return models, objective, batch


def assert_is_the_gradient(run, gradients):
    """{published name: array} against Adam's first moment, which is a tenth of the gradient."""
    expected = run["m1"]
    got = sampled({name: 0.1 * gradient for name, gradient in gradients.items()}, run["most"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", FIRST_LOSS)
def test_the_first_loss_and_its_gradient_are_those_of_the_original(golden, features, name):
    run = golden[name]
    models, objective, batch = start(run, name, features)
    variables = released.published_variables(models)
    trained = {name: variables[name].value for name in json.loads(str(run["trained"]))}
    with tf.GradientTape() as tape:
        loss = training_step.batch_losses(models, batch, objective)[0]
    assert float(loss) == pytest.approx(json.loads(str(run["losses"]))[0]["loss"], rel=2e-6)
    gradients = tape.gradient(loss, trained)
    assert_is_the_gradient(run, {name: g.numpy() for name, g in gradients.items()})


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "name",
    [*STEPS, *(pytest.param(name, marks=pytest.mark.slow) for name in RUNS if name not in STEPS)],
)
def test_steps_are_those_of_the_original(golden, features, name):
    run = golden[name]
    losses, trained = json.loads(str(run["losses"])), json.loads(str(run["trained"]))
    models, objective, batch = start(run, name, features)
    variables = released.published_variables(models)
    before = {name: v.numpy() for name, v in variables.items()}
    learned = training_step.trainable_variables(objective.stage, models)
    optimizer = training_step.build_optimizer(learned, Optimisation(), total_steps=1000)
    step = training_step.make_step(
        tf.distribute.get_strategy(),
        models,
        optimizer,
        objective,
        {name: tf.TensorSpec(value.shape, value.dtype) for name, value in batch.items()},
    )
    for number in range(3):
        got = step(batch).numpy()[0]
        assert got == pytest.approx(losses[number]["loss"], rel=2e-6)
        if number == 0:
            moments = [v.numpy() for v in optimizer.variables if "momentum" in v.path]
            names = {id(variables[name]): name for name in trained}
            pairs = zip(learned, moments, strict=True)
            assert_is_the_gradient(run, {names[id(v)]: 10 * m for v, m in pairs})
    before, expected = sampled(before, run["most"]), run["w3"]
    after = sampled({name: v.numpy() for name, v in variables.items()}, run["most"])
    largest = np.abs(expected - before).max()
    assert 2e-4 < largest < 3.1e-4
    np.testing.assert_allclose(after, expected, rtol=0, atol=0.02 * largest)


def test_the_order_of_the_colours_shows(golden):
    """Were it without effect on these bursts, the steps above would prove nothing."""
    first = [
        json.loads(str(golden[run]["losses"]))[0]["loss"] for run in ("v1_fine", "v1_fine_rgb")
    ]
    assert abs(first[0] / first[1] - 1) > 1e-3
