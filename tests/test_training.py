"""The training step, its schedule, the loop and its folder, on made-up data without raw files."""

import dataclasses
import functools
import json
import math
import os
import pathlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import eager
from tensorflow.python.lib.io import file_io

import train_fine
from dbp_tf import cli, progress
from dbp_tf.errors import InputError
from dbp_tf.models import initial_weights, networks
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw import cameras, packing
from dbp_tf.restore.pretrained import load_pretrained
from dbp_tf.training import (
    config,
    learner,
    loop,
    losses,
    run_folder,
    samples,
    training_step,
    watch,
)

ONE_DEVICE = tf.distribute.get_strategy()
COARSE = NetworkSpec(family="coarse", width=2, scale=1)
TINY = NetworkSpec(width=2, residual_blocks=1)

# A patch need not be square here, and is not, so that no axis can stand in for the other. The
# coarse network's fourth level is two pixels wide: one, and bfloat16 may give wrong gradients.
P, Q = 32, 24


def made_up_burst(number, frames, stage="coarse", broken=()):
    """A batch of one burst as `dataset.training_dataset` yields it, from its number alone."""
    rng = np.random.default_rng(number)

    def uniform(*shape):
        return rng.random(shape, np.float32)

    burst = {"scene": [f"{number:05d}".encode()], "clean_low": uniform(1, P // 2, Q // 2, 4)}
    if stage == "coarse":
        burst["frames"] = uniform(frames, P // 2, Q // 2, 4)
    else:
        burst["frames"] = uniform(frames, P, Q, 4)
        burst["low"] = uniform(frames, P // 2, Q // 2, 4)
        burst["truth"] = uniform(1, 2 * P, 2 * Q, 3)
    if number in broken:
        burst["frames"][0, 3, 2, 1] = np.nan
    return burst | {"lengths": np.int64([frames])}


def together(bursts):
    """Several batches as one."""
    return {name: np.concatenate([burst[name] for burst in bursts]) for name in bursts[0]}


def element_spec(stage):
    shapes = {
        "step": tf.TensorSpec((), tf.int64),
        "lengths": tf.TensorSpec((1,), tf.int64),
        "clean_low": tf.TensorSpec((1, P // 2, Q // 2, 4)),
        "frames": tf.TensorSpec((None, P // 2, Q // 2, 4)),
    }
    if stage != "coarse":
        shapes["frames"] = tf.TensorSpec((None, P, Q, 4))
        shapes["low"] = tf.TensorSpec((None, P // 2, Q // 2, 4))
        shapes["truth"] = tf.TensorSpec((1, 2 * P, 2 * Q, 3))
    return shapes


def made_up_dataset(stage="coarse", broken=(), frames=(1, 3, 2, 4)):
    """A `dataset_of` for `loop.train`; one burst a step."""

    def dataset_of(*, start_step, steps, replica, replicas):
        def bursts():
            for step in range(start_step, start_step + steps):
                count = frames[step % len(frames)]
                yield made_up_burst(step, count, stage, broken) | {"step": step}

        shapes = element_spec(stage) | {"scene": tf.TensorSpec((1,), tf.string)}
        return tf.data.Dataset.from_generator(bursts, output_signature=shapes)

    return dataset_of


def tensors(burst, step=0):
    burst = {k: tf.constant(v) for k, v in burst.items() if k != "scene"}
    return burst | {"step": tf.constant(step, tf.int64)}


def pooled(pictures, training):
    """Features in the place of VGG-19's."""
    return {
        "conv3_2": tf.nn.avg_pool2d(pictures, 4, 4, "SAME") - 0.4,
        "conv4_2": tf.nn.avg_pool2d(pictures, 8, 8, "SAME") - 0.6,
    }


def stir(models):
    """Biases of 0 would leave it to rounding on which side of a ReLU a gate's mean lies."""
    rng = np.random.default_rng(3)
    for weight in (w for model in models.values() for w in model.weights):
        weight.assign_add(rng.normal(0, 0.1, weight.shape))


NETWORKS = {
    "coarse": COARSE,
    "max": NetworkSpec(width=2, fusion="max", residual_blocks=0, squeeze_excite=False),
    "reference": TINY,
    "plain gates": NetworkSpec(width=2, residual_blocks=2, squeeze_excite=False),
}


@pytest.fixture(scope="module")
def tiny():
    """Networks of `TINY` that no test changes."""
    return training_step.build_models(TINY, initial="he", seed=7)


class TestBatch:
    """Several bursts in one batch, against the same bursts one by one."""

    def losses_and_gradients(self, models, batch, objective):
        values = [v.value for v in training_step.trainable_variables(objective.stage, models)]
        with tf.GradientTape() as tape:
            parts = training_step.batch_losses(models, tensors(batch, step=3), objective)
            loss = parts[0]
        return [parts.numpy(), *(g.numpy() for g in tape.gradient(loss, values))]

    @pytest.mark.parametrize(
        ("stage", "network", "reference_frame"),
        [
            ("coarse", "coarse", None),
            ("fine", "max", None),
            ("fine", "reference", "center"),
            ("burst", "plain gates", "center"),
            ("burst", "reference", "first"),
        ],
    )
    def test_losses_and_gradients_are_the_mean_of_single_bursts(
        self, stage, network, reference_frame
    ):
        spec = dataclasses.replace(NETWORKS[network], reference_frame=reference_frame)
        models = training_step.build_models(spec, initial="he", seed=2)
        stir(models)
        objective = training_step.Objective(stage, "contextual", 20.0, pooled, seed=5)
        # Numbers of frames differ, and so does how bright a burst is.
        bursts = [made_up_burst(n, frames, stage) for n, frames in enumerate((3, 1))]
        for share, burst in zip((1.0, 0.1), bursts, strict=True):
            burst["frames"] *= share
        singles = [self.losses_and_gradients(models, burst, objective) for burst in bursts]
        batch = self.losses_and_gradients(models, together(bursts), objective)
        spread = [np.ptp([single[0][i] for single in singles]) for i in range(4)]
        assert min(spread[i] for i in range(4) if batch[0][i]) > 1e-4
        for got, *parts in zip(batch, *singles, strict=True):
            expected = np.mean(parts, axis=0)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(parts).max())

    def test_pictures_are_those_of_single_bursts(self, tiny):
        models = tiny
        bursts = [made_up_burst(n, frames, "burst") for n, frames in enumerate((2, 5, 1))]
        batch = together(bursts)
        inputs = tf.constant(batch["frames"]), models["coarse"](batch["low"])
        pictures = networks.fine_pictures(models["fine"], *inputs, batch["lengths"])
        for burst, picture in zip(bursts, pictures, strict=True):
            inputs = tf.constant(burst["frames"]), models["coarse"](burst["low"])
            alone = models["fine"](inputs)
            np.testing.assert_allclose(picture[None], alone, atol=1e-5)
            batch_of_one = networks.fine_pictures(models["fine"], *inputs, burst["lengths"])
            np.testing.assert_array_equal(batch_of_one, alone)


@pytest.fixture(scope="module")
def two_steps():
    """Two steps of three bursts each, of 1, 2, 3 and 4, 1, 2 frames; plain descent."""
    models = training_step.build_models(COARSE, initial="he", seed=3)
    stir(models)
    variables = training_step.trainable_variables("coarse", models)
    optimizer = keras.optimizers.SGD(learning_rate=0.5)
    optimizer.build(variables)
    objective = training_step.Objective("coarse")
    bursts = [made_up_burst(n, 1 + n % 4) for n in range(6)]
    values = [v.value for v in variables]
    gradients, reported = [], []
    for burst in bursts[:3]:
        with tf.GradientTape() as tape:
            parts = training_step.batch_losses(models, tensors(burst), objective)
            loss = parts[0]
        reported.append(parts.numpy())
        gradients.append([g.numpy() for g in tape.gradient(loss, values)])
    start = [v.numpy() for v in values]
    # As of a dataset that is distributed.
    spec = {
        name: tf.TensorSpec([None if size == 1 else size for size in spec.shape], spec.dtype)
        for name, spec in element_spec("coarse").items()
    }
    step = training_step.make_step(ONE_DEVICE, models, optimizer, objective, spec, 3)
    means = step(tensors(together(bursts[:3]))).numpy()
    moved = [v.numpy() for v in values]
    step(tensors(together(bursts[3:])))
    return {
        "start": start,
        "moved": moved,
        "gradients": gradients,
        "reported": reported,
        "means": means,
        "step": step,
    }


def test_numbers_of_frames_do_not_trace_again(two_steps):
    assert two_steps["step"].experimental_get_tracing_count() == 1


def test_a_step_of_several_bursts_takes_the_mean_of_their_gradients(two_steps):
    means = [np.mean(g, axis=0) for g in zip(*two_steps["gradients"], strict=True)]
    assert len(means) == len(two_steps["moved"]) == len(two_steps["start"])
    assert max(np.abs(mean).max() for mean in means) > 1e-2
    for start, moved, mean in zip(two_steps["start"], two_steps["moved"], means, strict=True):
        np.testing.assert_allclose(moved, start - 0.5 * mean, atol=2e-6)


def test_a_step_reports_the_mean_over_its_bursts(two_steps):
    gradients = [np.mean(g, axis=0).ravel() for g in zip(*two_steps["gradients"], strict=True)]
    norm = np.linalg.norm(np.concatenate(gradients))
    expected = [*np.mean(two_steps["reported"], axis=0), norm]
    np.testing.assert_allclose(two_steps["means"], expected, rtol=1e-5, atol=1e-6)


class TestLosses:
    """The sums of each stage."""

    @pytest.mark.parametrize("frames", [pytest.param(1, marks=pytest.mark.slow), 3])
    @pytest.mark.parametrize("stage", ["coarse", "fine", "burst"])
    def test_stages(self, tiny, stage, frames, monkeypatch):
        asked = []

        def feature_loss(truth, output, *, features, seed):
            asked.append((truth.shape, output.shape, features, seed.numpy().tolist()))
            return tf.constant(3.0)

        monkeypatch.setitem(losses.FEATURE_LOSSES, "made up", feature_loss)
        burst = made_up_burst(5, frames, stage)
        objective = training_step.Objective(
            stage, feature_loss="made up", feature_weight=0.25, features="vgg", seed=11
        )
        models = tiny
        got = training_step.batch_losses(models, tensors(burst, step=7), objective).numpy()
        coarse = models["coarse"](burst["frames" if stage == "coarse" else "low"]).numpy()
        raw = np.abs(burst["clean_low"] - coarse).mean()
        if stage == "coarse":
            np.testing.assert_allclose(got, [raw, 0, 0, raw], rtol=1e-5)
            assert not asked
            return
        l1 = np.abs(burst["truth"] - models["fine"]([burst["frames"], coarse])).mean()
        if stage == "burst":
            np.testing.assert_allclose(got, [l1 + 0.75, l1, 0.75, 0], rtol=1e-5)
        else:
            np.testing.assert_allclose(got, [l1 + 0.75 + raw, l1, 0.75, raw], rtol=1e-5)
        assert asked == [((1, 2 * P, 2 * Q, 3), (1, 2 * P, 2 * Q, 3), "vgg", [11, 7])]

    def test_the_contextual_loss_is_that_of_the_picture(self, tiny):
        models = tiny
        burst = made_up_burst(3, 2, "burst")
        objective = training_step.Objective(
            "burst", feature_loss="contextual", feature_weight=2.0, features=pooled, seed=5
        )
        frames, low = (tf.constant(burst[name]) for name in ("frames", "low"))
        picture = models["fine"]([frames, models["coarse"](low)])
        for step in (0, 6):
            got = training_step.batch_losses(models, tensors(burst, step), objective).numpy()
            expected = losses.contextual_loss(
                burst["truth"], picture, features=pooled, seed=[5, step]
            )
            assert got[2] == pytest.approx(2 * float(expected), rel=1e-5) and got[2] > 1e-3
            assert got[0] == pytest.approx(got[1] + got[2], rel=1e-6)


class TestLearningRate:
    def test_published_step(self):
        rate = training_step.LearningRate(config.Optimisation(), 4000 * 161)
        steps = np.array([0, 1, 2000 * 161 - 1, 2000 * 161, 4000 * 161 - 1])
        np.testing.assert_allclose(
            [float(rate(s)) for s in steps], np.where(steps < 2000 * 161, 1e-4, 1e-5), rtol=1e-6
        )

    def test_drop_elsewhere_after_a_warm_up(self):
        rate = training_step.LearningRate(
            config.Optimisation(1e-2, 1e-3, drop_at=0.75, warmup_steps=4), 20
        )
        expected = [2.5e-3, 5e-3, 7.5e-3, *[1e-2] * 12, *[1e-3] * 5]
        np.testing.assert_allclose([float(rate(s)) for s in range(20)], expected, rtol=1e-6)

    def test_cosine(self):
        rate = training_step.LearningRate(
            config.Optimisation(3e-3, 1e-4, schedule="cosine", warmup_steps=10), 110
        )
        for s in (0, 5, 9, 10, 35, 60, 109, 110, 500):
            expected = 1e-4 + 2.9e-3 * 0.5 * (1 + math.cos(math.pi * min(max(s - 10, 0) / 100, 1)))
            expected *= min((s + 1) / 10, 1)
            assert float(rate(s)) == pytest.approx(expected, rel=1e-5)

    def test_adam_follows_it_with_the_published_constants(self):
        """Three steps of Adam with clipping, against the formulas of the paper in float64."""
        rng = np.random.default_rng(1)
        start = [rng.standard_normal(5), rng.standard_normal((2, 3))]
        variables = [keras.Variable(w.astype(np.float32)) for w in start]
        optimisation = config.Optimisation(1e-2, 1e-3, drop_at=0.5, clip_norm=0.5)
        optimizer = training_step.build_optimizer(variables, optimisation, total_steps=4)
        weights = [w.copy() for w in start]
        m, v = [np.zeros_like(w) for w in start], [np.zeros_like(w) for w in start]
        for t, rate in enumerate((1e-2, 1e-2, 1e-3), 1):
            # The second one is below the limit and stays as it is.
            gradients = [rng.standard_normal(w.shape) * (0.01 if t == 2 else 1) for w in start]
            optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
            norm = math.sqrt(sum((g**2).sum() for g in gradients))
            for i, g in enumerate(gradients):
                g = g * min(1, 0.5 / norm)
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g**2
                corrected = math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
                weights[i] -= rate * corrected * m[i] / (np.sqrt(v[i]) + 1e-8)
        for variable, expected in zip(variables, weights, strict=True):
            np.testing.assert_allclose(variable.numpy(), expected, atol=1e-6)


@functools.cache
def stepped(precision):
    """Movement of all weights in a step of the coarse stage, and what the step reported."""
    models = training_step.build_models(COARSE, precision=precision, initial="he", seed=4)
    variables = training_step.trainable_variables("coarse", models)
    optimizer = training_step.build_optimizer(variables, config.Optimisation(1e-3), 10, precision)
    step = training_step.make_step(
        ONE_DEVICE, models, optimizer, training_step.Objective("coarse"), element_spec("coarse")
    )
    assert {model.get_layer("g_conv2_1").compute_dtype for model in models.values()} == {
        precision.removeprefix("mixed_")
    }
    assert {v.dtype for v in variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    before = np.concatenate([v.numpy().ravel() for v in variables])
    reported = step(tensors(made_up_burst(1, 3))).numpy()
    return np.concatenate([v.numpy().ravel() for v in variables]) - before, reported


@pytest.mark.usefixtures("eagerly")
class TestPrecision:
    @pytest.mark.usefixtures("built_once")
    @pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
    def test_a_step_is_nearly_that_of_float32(self, precision):
        """The norm among what is reported tells whether the loss was scaled, and gradients back."""
        moved, reported = stepped(precision)
        expected, exact = stepped("float32")
        np.testing.assert_allclose(reported, exact, rtol=3e-2)
        assert exact[-1] > 1e-3 and np.isfinite(moved).all()
        # Adam moves each weight by the rate; in half precision some small gradients change sign.
        assert np.mean(np.abs(moved - expected) < 1e-4) > 0.9

    @pytest.mark.parametrize(
        "precision",
        ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)],
    )
    def test_weights_and_losses_stay_float32(self, tiny, precision):
        models = training_step.build_models(TINY, precision=precision, initial="he", seed=7)
        inner = models["fine"].get_layer("encoder").get_layer("g_conv2_1_fine")
        assert inner.compute_dtype == precision.removeprefix("mixed_")
        assert {w.dtype for m in models.values() for w in m.weights} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"
        burst = tensors(made_up_burst(2, 2, "fine"))
        objective = training_step.Objective("fine")
        got = training_step.batch_losses(models, burst, objective)
        assert got.dtype == tf.float32
        np.testing.assert_allclose(
            got, training_step.batch_losses(tiny, burst, objective), rtol=3e-2, atol=1e-3
        )

    def test_float16_scales_the_loss_and_leaves_out_what_overflows(self):
        variable = keras.Variable(np.float32([1, 2]))
        optimizer = training_step.build_optimizer(
            [variable], config.Optimisation(1e-2), 10, "mixed_float16"
        )
        scale = float(optimizer.scale_loss(tf.constant(1.0)))
        assert scale == 2.0**15
        optimizer.apply([tf.constant([np.inf, 1.0])], [variable])
        np.testing.assert_array_equal(variable.numpy(), [1, 2])
        assert float(optimizer.scale_loss(tf.constant(1.0))) == scale / 2
        # Adam's first step is the learning rate in the direction of the gradient.
        optimizer.apply([tf.constant([1e-3, -1e-3]) * scale / 2], [variable])
        np.testing.assert_allclose(variable.numpy(), [0.99, 2.01], atol=1e-5)


@pytest.mark.usefixtures("eagerly", "built_once")
class TestAverage:
    """Validation, pictures and saved weights are of the moving average, training is not."""

    def learner(self, **settings):
        settings = config.Coarse(width=2, initial_weights="he", learning_rate=1e-2, **settings)
        objective = training_step.Objective("coarse")
        return learner.Learner(settings, COARSE, None, objective, ONE_DEVICE, 10)

    def test_it_is_of_the_weights_after_every_step(self):
        averaged, plain = self.learner(average=0.75), self.learner()
        steps = [one.make_step(element_spec("coarse")) for one in (averaged, plain)]
        start = averaged.enhancer().coarse.get_weights()
        for a, b in zip(start, plain.enhancer().coarse.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        expected = None
        for number in range(2):
            batch = tensors(made_up_burst(number, 2))
            np.testing.assert_array_equal(steps[0](batch), steps[1](batch))
            now = plain.enhancer().coarse.get_weights()
            # The average begins with the weights of the first step.
            before = now if expected is None else expected
            expected = [0.75 * b + 0.25 * n for b, n in zip(before, now, strict=True)]
        for a, b in zip(averaged.enhancer().coarse.get_weights(), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
        # A run goes on with it.
        saved = {
            name: [variable.numpy() for variable in variables]
            for name, variables in averaged.variables.items()
        }
        steps[0](tensors(made_up_burst(9, 2)))
        for name, values in saved.items():
            for variable, value in zip(averaged.variables[name], values, strict=True):
                variable.assign(value)
        for a, b in zip(averaged.enhancer().coarse.get_weights(), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    def test_float16_keeps_it_too(self):
        averaged = self.learner(average=0.5, precision="mixed_float16")
        averaged.make_step(element_spec("coarse"))(tensors(made_up_burst(1, 2)))
        weights = averaged.enhancer().coarse.get_weights()
        assert all(np.isfinite(w).all() for w in weights) and any(np.any(w) for w in weights)


class TestInitialWeights:
    def test_he(self):
        models = training_step.build_models(NetworkSpec(width=8, residual_blocks=1), seed=5)
        glorot = models["fine"].get_layer("bottleneck").get_layer("g_conv_fine_0_se_fc_1")
        dense = glorot.get_weights()
        initial_weights.he_weights(models, seed=5)
        for layer, deviation in {
            models["coarse"].get_layer("g_conv3_2"): math.sqrt(2 / (9 * 32)),
            models["coarse"].get_layer("g_up7"): 1 / math.sqrt(64),
            models["fine"].get_layer("encoder").get_layer("g_conv4_1_fine"): math.sqrt(2 / 288),
            models["fine"].get_layer("bottleneck").get_layer("g_res0_conv1_fine"): math.sqrt(
                2 / (9 * 128)
            ),
        }.items():
            kernel = layer.get_weights()[0]
            assert kernel.std() == pytest.approx(deviation, rel=0.05)
            assert abs(kernel.mean()) < 0.05 * deviation
        last = models["fine"].get_layer("decoder").get_layer("g_conv10_fine")
        kernel, bias = last.get_weights()
        assert kernel.std() == pytest.approx(0.1 * math.sqrt(2 / 8), rel=0.25)
        np.testing.assert_array_equal(bias, np.float32(0.4))
        np.testing.assert_array_equal(models["coarse"].get_layer("g_conv10").get_weights()[1], 0)
        for before, after in zip(dense, glorot.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)

    @pytest.mark.parametrize("fusion", ["max", pytest.param("reference", marks=pytest.mark.slow)])
    def test_developing_weights_are_the_best_of_the_first_level(self, fusion):
        """Of frames whose truth is a curve of a sum of neighbours, the picture at once."""
        rng = np.random.default_rng(4)
        weights = rng.random((3, 3, 4, 12)) / 18

        def patch():
            clean = rng.random((20, 20, 4)).astype(np.float32) ** 2
            curved = 0.3 * clean + 0.7 * np.maximum(clean - 0.08, 0)
            near = np.lib.stride_tricks.sliding_window_view(
                np.pad(curved, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1)
            )
            pixels = 0.1 + np.einsum("yxcij,ijco->yxo", near, weights)
            truth = pixels.reshape(20, 20, 2, 2, 3).swapaxes(1, 2).reshape(40, 40, 3)
            return clean, truth.astype(np.float32)

        revised = fusion == "reference"
        spec = NetworkSpec(
            width=20, fusion=fusion, residual_blocks=1 * revised, squeeze_excite=revised
        )
        fine = training_step.build_models(spec, initial="develop")["fine"]
        initial_weights.develop_weights(fine, [patch() for _ in range(20)])
        clean, truth = patch()
        picture = fine([clean[None], np.zeros((1, 10, 10, 4), np.float32)])[0].numpy()
        # The edge has no neighbours to weigh in the patches.
        np.testing.assert_allclose(picture[2:-2, 2:-2], truth[2:-2, 2:-2], atol=2e-3)

    def test_developing_weights_need_a_width(self, tiny):
        with pytest.raises(InputError, match="develop needs --width 20 or more, not 2"):
            initial_weights.develop_weights(tiny["fine"], [])

    def test_the_seed_decides(self):
        def built(seed, initial="published"):
            return training_step.build_models(COARSE, initial=initial, seed=seed)

        def weights(models):
            return np.concatenate([w.ravel() for w in models["coarse"].get_weights()])

        models = built(1)
        first, again, other = (weights(one) for one in (models, built(1), built(2)))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.1
        drawn = weights(built(1, "he"))
        for seed, same in ((1, True), (2, False)):
            initial_weights.he_weights(models, seed)
            assert np.array_equal(weights(models), drawn) == same


PSNR = (20.0, 30.0, 25.0, 22.0)


def made_up_scores(psnr, scored="two bursts"):
    return {"scored": scored, "psnr": psnr, "ssim_range2": psnr / 100, "ssim_range1": psnr / 200}


def train(folder, settings, dataset_of, validate=None):
    """A run of the coarse stage on one device."""
    return loop.train(
        settings,
        folder,
        spec=COARSE,
        start=None,
        objective=training_step.Objective("coarse"),
        dataset_of=dataset_of,
        camera=cameras.SONY,
        strategy=ONE_DEVICE,
        validate=validate,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four good epochs and a step that is not; validation figures are made up."""
    folder = tmp_path_factory.mktemp("run")
    seen = []

    def validate(enhancer):
        seen.append(enhancer.coarse.get_weights())
        psnr = PSNR[len(seen) - 1]
        return made_up_scores(psnr)

    settings = config.Coarse(
        epochs=5,
        steps_per_epoch=2,
        save_every=2,
        pictures_every=2,
        validate_every=1,
        keep=5,
        initial_weights="he",
    )
    with eager(), pytest.raises(InputError) as caught:
        train(folder, settings, made_up_dataset(broken={9}), validate)
    return folder, seen, str(caught.value)


@pytest.mark.usefixtures("built_once")
class TestLoop:
    def test_a_loss_that_is_not_finite_names_step_scene_and_checkpoint(self, run):
        folder, _, error = run
        assert "the loss of step 10 (scene 00009) or its gradient is not a finite number" in error
        assert f"last good checkpoint is {folder / 'state' / 'ckpt-8'}" in error

    def test_what_was_saved_before_is_good(self, run):
        folder, seen, _ = run
        saved = sorted(p.stem for p in (folder / "state").glob("*.index"))
        assert saved == ["ckpt-4", "ckpt-8"]
        # The best of the four, and the last.
        for where, weights in ((folder / "best", seen[1]), (folder, seen[3])):
            for a, b in zip(load_pretrained(where).coarse.get_weights(), weights, strict=True):
                np.testing.assert_array_equal(a, b)
                assert np.isfinite(a).all()
        assert any(np.any(a != b) for a, b in zip(seen[1], seen[3], strict=True))
        assert run_folder.best_score(folder, "two bursts")["epoch"] == 2

    def test_history(self, run):
        lines = (run[0] / "history.csv").read_text().splitlines()
        header, *rows = [line.split(",") for line in lines]
        assert header == list(loop.COLUMNS)
        table = [dict(zip(header, row, strict=True)) for row in rows]
        assert [row["step"] for row in table] == ["2", "4", "6", "8"]
        assert [float(row["val_psnr"]) for row in table] == list(PSNR)
        # Dropped from the sixth step on.
        assert [row["learning_rate"] for row in table] == ["0.0001", "0.0001", "1e-05", "1e-05"]
        assert all(row["l1"] == row["feature"] == "" for row in table)

    def test_pictures_and_events(self, run):
        pictures = sorted(p.name for p in (run[0] / "pictures").iterdir())
        assert pictures == ["00002_00003.jpg", "00004_00007.jpg"]
        events = b"".join(p.read_bytes() for p in (run[0] / "events").iterdir())
        for word in (b"loss", b"val_psnr", b"input, output, truth", b"\xff\xd8\xff"):
            assert word in events


@pytest.mark.usefixtures("eagerly", "built_once")
def test_ruined_weights_are_never_saved(tmp_path):
    """The third validation spoils a weight, when loss and gradient of its step were found good."""
    scores = iter([made_up_scores(math.nan), made_up_scores(20.0), made_up_scores(10.0, "one")])
    seen = []

    def validate(enhancer):
        seen.append(enhancer.coarse.get_weights())
        if len(seen) == 3:
            enhancer.coarse.weights[3].assign(tf.fill(enhancer.coarse.weights[3].shape, np.nan))
        return next(scores)

    settings = config.Coarse(
        epochs=4,
        steps_per_epoch=1,
        save_every=1,
        pictures_every=1,
        validate_every=1,
        initial_weights="he",
    )
    with pytest.raises(InputError) as caught:
        train(tmp_path, settings, made_up_dataset(), validate)
    error = str(caught.value)
    assert "the weights after step 3 (scene 00002) are not all finite numbers, so training" in error
    assert f"last good checkpoint is {tmp_path / 'state' / 'ckpt-2'}" in error
    assert not [*(tmp_path / "state").glob("ckpt-3*")]
    for a, b in zip(load_pretrained(tmp_path).coarse.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(a, b)
    # The third figure is lower, but of something else; the first was none.
    assert run_folder.best_score(tmp_path, "two bursts") is None
    assert run_folder.best_score(tmp_path, "one")["epoch"] == 3
    # The second picture was drawn after the last save.
    events = b"".join(p.read_bytes() for p in (tmp_path / "events").iterdir())
    assert events.count(b"\xff\xd8\xff") == 2


class TestFolder:
    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "run").write_text("")
        with pytest.raises(InputError, match="--checkpoint_dir: .*run is a file"):
            with run_folder.locked(tmp_path / "run"):
                pass

    def test_two_runs_keep_out_of_each_others_way(self, tmp_path):
        with run_folder.locked(tmp_path / "run"):
            with pytest.raises(InputError, match="another run is training"):
                with run_folder.locked(tmp_path / "run"):
                    pass
        # An error lets others in, too.
        for _ in range(2):
            with pytest.raises(RuntimeError, match="within"):
                with run_folder.locked(tmp_path / "run"):
                    raise RuntimeError("within")

    def test_a_full_disk_is_found_at_the_start(self, tmp_path):
        run_folder.check_space(tmp_path, 1000, 2)
        # Four bytes for each of: keep and one more times three numbers, and twice the weights.
        with pytest.raises(InputError, match=r"GB left and training needs 44000000000.0 GB"):
            run_folder.check_space(tmp_path, 10**18, 2)

    @pytest.mark.parametrize(
        ("psnr", "scored", "kept"),
        [(25.0, "a", True), (25.0, "b", False), (math.nan, "a", False), (math.inf, "a", True)],
    )
    def test_a_score_counts_only_against_its_like(self, tmp_path, psnr, scored, kept):
        assert run_folder.best_score(tmp_path, "a") is None
        (tmp_path / "best").mkdir()
        score = {"epoch": 3, "scored": scored, "psnr": psnr}
        (tmp_path / "best" / "score.json").write_text(json.dumps(score))
        assert run_folder.best_score(tmp_path, "a") == (score if kept else None)

    def test_a_damaged_history_is_named(self, tmp_path):
        (tmp_path / "history.csv").write_text("a,b\n1\n")
        with pytest.raises(InputError, match="history.csv is not as training wrote it"):
            run_folder.History(tmp_path, ("step", "loss"), 0)

    def test_history_forgets_what_was_lost(self, tmp_path):
        columns = ("step", "loss", "psnr")
        history = run_folder.History(tmp_path, columns, 0)
        for step in (2, 4, 6):
            history.add(step=step, loss=step / 3)
        again = run_folder.History(tmp_path, columns, 4)
        again.add(step=6, loss=2.5, psnr=30.0)
        assert (tmp_path / "history.csv").read_text().splitlines() == [
            "step,loss,psnr",
            "2,0.6666667,",
            "4,1.333333,",
            "6,2.5,30",
        ]


class TestSettings:
    DEFAULTS = {"patch": 512, "clip_norm": 0.0, "shuffle": True}

    def written(self, folder, patch=32):
        settings = run_folder.Settings(folder)
        parameters = {"stage": "burst", "patch": patch, "shuffle": False, "pair": (1, 2)}
        run = {"number_of_devices": 1, "scheduled_epochs": 7}
        network, versions = {"width": 8}, {"numpy": "2"}
        settings.write(parameters=parameters, run=run, network=network, versions=versions)
        return {**parameters, "number_of_devices": 1, "width": 8}

    def test_other_settings_are_named(self, tmp_path):
        run_folder.Settings(tmp_path).check({"stage": "burst", "patch": 1}, self.DEFAULTS)
        now = self.written(tmp_path)
        settings = run_folder.Settings(tmp_path)
        # A parameter that a run of an older version did not know was at its default.
        settings.check({**now, "clip_norm": 0.0}, self.DEFAULTS)
        for name, value, sentence in (
            ("patch", 64, "was trained with --patch 32, not 64: "),
            ("width", 9, "was trained with width 8, not 9: "),
            ("number_of_devices", 2, "was trained with number of devices 1, not 2: "),
            ("clip_norm", 1.0, "was trained with --clip_norm 0.0, not 1.0: "),
            ("stage", "fine", "the folder of a burst run, but train_fine.py trains the fine stage"),
        ):
            with pytest.raises(InputError, match=sentence):
                settings.check({**now, name: value}, self.DEFAULTS)

    def test_a_damaged_file_is_named(self, tmp_path):
        for text in ("{", "[]", "{}", '{"fixed": {}}', "\udcff"):
            (tmp_path / "settings.json").write_bytes(text.encode(errors="surrogateescape"))
            with pytest.raises(InputError, match="settings.json cannot be understood"):
                run_folder.Settings(tmp_path)

    def test_weights_without_settings_are_not_trained_over(self, tmp_path):
        (tmp_path / "network.json").write_text("{}")
        with pytest.raises(InputError, match="holds weights but no settings.json"):
            run_folder.Settings(tmp_path)

    def test_the_schedule_is_that_of_the_epochs_a_run_began_with(self, tmp_path):
        assert run_folder.Settings(tmp_path).scheduled_epochs(9) == 9
        self.written(tmp_path)
        # Nothing has been trained yet.
        assert run_folder.Settings(tmp_path).scheduled_epochs(9) == 9
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "checkpoint").touch()
        assert run_folder.Settings(tmp_path).scheduled_epochs(9) == 7

    def test_runs_of_version_0_1_go_on(self, tmp_path):
        """Their settings are called by flags or in words, and say less."""
        fixed = {"stage": "burst", "--patch": 32, "the channels": 4, "the family": "burst"}
        fixed |= {"the number of devices": 1, "--loss": "contextual", "the training bursts": "3"}
        content = {"flags": {"epochs": 6}, "fixed": fixed}
        (tmp_path / "settings.json").write_text(json.dumps(content))
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "checkpoint").touch()
        settings = run_folder.Settings(tmp_path)
        now = {"stage": "burst", "patch": 32, "channels": 4, "family": "fine", "shuffle": True}
        now |= {"number_of_devices": 1, "training_bursts": "3", "vgg_channels": "rgb"}
        now |= {"white_balance": "none"}
        settings.check(now, self.DEFAULTS | {"white_balance": None})
        assert settings.scheduled_epochs(9) == 6
        with pytest.raises(InputError, match="was trained with vgg channels rgb, not bgr"):
            settings.check({**now, "vgg_channels": "bgr"}, self.DEFAULTS)


class TestState:
    def state(self, folder, value, keep=2):
        variable = tf.Variable(np.full(3, value, np.float32))
        return run_folder.State(folder, {"weights": [variable]}, keep), variable

    def test_a_kill_between_any_two_file_operations_costs_no_checkpoint(
        self, tmp_path, monkeypatch
    ):
        """Once the values are written, saving is stopped before each write, rename, deletion."""
        before = {}
        for stop_before in range(100):
            folder = tmp_path / str(stop_before)
            state, variable = self.state(folder, 1, keep=1)
            state.save(1)
            variable.assign([2, 2, 2])
            calls = []
            with monkeypatch.context() as patched:
                for name in ("write_string_to_file", "rename", "delete_file"):
                    original = getattr(file_io, name)

                    def operation(*args, original=original, calls=calls, stop=stop_before, **more):
                        calls.append(original.__name__)
                        if len(calls) > stop:
                            raise KeyboardInterrupt
                        return original(*args, **more)

                    patched.setattr(file_io, name, operation)
                try:
                    state.save(2)
                    killed = False
                except KeyboardInterrupt:
                    killed = True
            again, restored = self.state(folder, 0, keep=1)
            again.restore()
            before[stop_before] = restored.numpy()[0]
            if not killed:
                break
        # Before the file "checkpoint" is renamed it is the old one, from then on the new one.
        assert len(before) >= 5
        assert [*before.values()] == [1, 1, *[2] * (len(before) - 2)]

    def test_leftovers_are_removed_and_never_read(self, tmp_path):
        state, _ = self.state(tmp_path, 7)
        state.save(5)
        folder = tmp_path / "state"
        for name in ("ckpt-6.index", "ckpt-6.data-00000-of-00001"):
            (folder / name).write_bytes(b"half")
        (folder / "ckpt-6_temp").mkdir()
        (folder / "ckpt-6_temp" / "part-00000-of-00001.data").write_bytes(b"half")
        again, variable = self.state(tmp_path, 0)
        again.restore()
        np.testing.assert_array_equal(variable.numpy(), 7)
        assert {p.name.split(".")[0] for p in folder.iterdir()} == {"checkpoint", "ckpt-5"}

    def test_only_the_last_are_kept(self, tmp_path):
        state, _ = self.state(tmp_path, 1, keep=2)
        for step in (1, 2, 3):
            state.save(step)
        assert {p.stem for p in (tmp_path / "state").glob("*.index")} == {"ckpt-2", "ckpt-3"}
        assert pathlib.Path(state.latest).name == "ckpt-3"

    def test_other_workers_know_what_was_saved_after_they_started(self, tmp_path):
        chief, _ = self.state(tmp_path, 1)
        worker = run_folder.State(tmp_path, {"weights": [tf.Variable(0.0)]}, 2, chief=False)
        assert worker.last_good() == "nothing was saved yet"
        chief.save(6)
        worker.save(6)
        assert worker.latest == chief.latest

    def test_a_damaged_checkpoint_is_named(self, tmp_path):
        state, _ = self.state(tmp_path, 1)
        state.save(3)
        (tmp_path / "state" / "ckpt-3.index").write_bytes(b"x" * 50)
        again, _ = self.state(tmp_path, 0)
        with pytest.raises(InputError, match="ckpt-3 is damaged or of another network"):
            again.restore()

    def test_a_lost_list_of_checkpoints_is_named_and_nothing_removed(self, tmp_path):
        state, _ = self.state(tmp_path, 1)
        state.save(3)
        (tmp_path / "network.json").touch()
        files = {path.name for path in (tmp_path / "state").iterdir()} - {"checkpoint"}
        for damage in (pathlib.Path.unlink, lambda path: path.write_bytes(b"x")):
            damage(tmp_path / "state" / "checkpoint")
            with pytest.raises(InputError, match="checkpoint, which names the saved states, is lo"):
                self.state(tmp_path, 0)
            assert files <= {path.name for path in (tmp_path / "state").iterdir()}

    @pytest.mark.parametrize("name", ["run [1]", "a*b?", "back\\slash", os.fsdecode(b"\xff")])
    def test_a_folder_of_any_name_is_gone_on_with(self, tmp_path, name):
        (tmp_path / name).mkdir()
        for step in (1, 2, 3):
            state, variable = self.state(tmp_path / name, 0)
            state.restore()
            np.testing.assert_array_equal(variable.numpy(), step - 1)
            variable.assign([step] * 3)
            state.save(step)
        assert state.latest == tmp_path / name / "state" / "ckpt-3"
        saved = {path.stem for path in (tmp_path / name / "state").glob("*.index")}
        assert saved == {"ckpt-2", "ckpt-3"}
        assert run_folder.State(tmp_path / name, {}, 2, chief=False).latest == state.latest

    def test_a_full_disk_names_the_last_good_checkpoint(self, tmp_path):
        state, _ = self.state(tmp_path, 1)
        state.save(3)
        folder = tmp_path / "state"
        folder.rename(tmp_path / "moved")
        folder.write_text("not a folder")
        with pytest.raises(InputError, match="step 4 could not be saved .* checkpoint is .*ckpt-3"):
            state.save(4)


class TestPictures:
    @pytest.mark.parametrize("camera", cameras.CAMERAS.values(), ids=lambda c: c.name)
    def test_colours_of_raw(self, camera):
        """A mosaic of one colour, as white balance undoes it, is grey of the sRGB curve."""
        layout = packing.LAYOUTS[camera.mosaic]
        filters = np.array([list(row) for row in layout.colours])
        level = {c: 0.25 / w for c, w in zip("RGB", camera.white_balance, strict=True)}
        mosaic = np.vectorize(level.get)(np.tile(filters, (4, 2))).astype(np.float32)
        picture = samples.raw_colours(packing.pack(mosaic, layout), camera)
        assert picture.shape == (*(s // camera.scale for s in mosaic.shape), 3)
        np.testing.assert_allclose(picture, 1.055 * 0.25 ** (1 / 2.4) - 0.055, atol=1e-5)
        level["B"] = 0
        mosaic = np.vectorize(level.get)(np.tile(filters, (4, 2))).astype(np.float32)
        blue = samples.raw_colours(packing.pack(mosaic, layout), camera)[..., 2]
        np.testing.assert_array_equal(blue, 0)


@pytest.mark.parametrize("given", [(), ("coarse", "fine")])
def test_the_fine_stage_starts_from_one_of_two(tmp_path, capsys, given):
    words = [f"--{flag}={tmp_path}" for flag in ("short_dir", "long_dir", *given)]
    assert cli.run(train_fine.main, train_fine.FLAGS, ["train_fine", *words]) == 2
    assert "give --coarse, or --fine to go on with a fine network, not both" in (
        capsys.readouterr().err
    )


def test_a_line_of_progress_stands_once_in_a_log(capsys, monkeypatch):
    settings = types.SimpleNamespace(epochs=2, steps_per_epoch=1)
    run = types.SimpleNamespace(step=0, chief=True)
    watched = watch.Watch(settings, run, tf.distribute.get_strategy())
    for step in (1, 2):
        monkeypatch.setattr(progress, "_last_line", -math.inf)  # There was a long silence.
        watched.show(step, 0.5)
    lines = [line.partition(": loss ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["epoch 1/2, step 1/2", "epoch 2/2, step 2/2"]
