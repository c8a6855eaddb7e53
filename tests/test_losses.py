"""Losses: published values, a literal float64 oracle, invariants, corner cases, memory."""

import itertools
import os

import numpy as np
import pytest
import tensorflow as tf

from dbp_tf.training import losses, vgg

DATA = os.path.join(os.path.dirname(__file__), "data", "losses.npz")
SEED = (5, 7)


@pytest.fixture(scope="module")
def published():
    with np.load(DATA) as data:
        return dict(data)


@pytest.fixture(scope="module")
def features(vgg_weights):
    return vgg.vgg_features(vgg_weights)


def value_and_gradient(function, output):
    output = tf.constant(output)
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = function(output)
    return value.numpy(), tape.gradient(value, output).numpy()


def literal_contextual(truth, output, bandwidth=0.5):
    """The method's description step by step, in float64, one picture [H, W, C] each."""
    truth = truth.reshape(-1, truth.shape[-1]).astype(np.float64)
    output = output.reshape(-1, output.shape[-1]).astype(np.float64)
    mean = truth.mean(0)
    truth, output = truth - mean, output - mean
    truth = truth / np.linalg.norm(truth, axis=1, keepdims=True)
    output = output / np.linalg.norm(output, axis=1, keepdims=True)
    best = np.zeros(len(truth))
    for vector in output:
        distance = (1 - truth @ vector) / 2
        distance = distance / (distance.min() + 1e-5)
        weight = np.exp((1 - distance) / bandwidth)
        best = np.maximum(best, weight / weight.sum())
    return -np.log(best.mean())


def literal_gradient(truth, output, bandwidth=0.5):
    """TensorFlow's own gradient of the description, in float64, with respect to output."""

    def loss(output):
        t = tf.reshape(truth.astype(np.float64), [len(truth), -1, truth.shape[-1]])
        i = tf.reshape(output, t.shape)
        mean = tf.reduce_mean(t, axis=1, keepdims=True)
        t, i = (x / tf.norm(x, axis=-1, keepdims=True) for x in (t - mean, i - mean))
        distance = (1 - tf.einsum("nic,njc->nij", i, t)) / 2
        distance = distance / (tf.reduce_min(distance, 2, keepdims=True) + 1e-5)
        weight = tf.exp((1 - distance) / bandwidth)
        weight = weight / tf.reduce_sum(weight, 2, keepdims=True)
        return tf.reduce_mean(-tf.math.log(tf.reduce_mean(tf.reduce_max(weight, 1), 1)))

    return value_and_gradient(loss, output.astype(np.float64))


def random_pair(shape, noise=1.0, seed=0):
    random = np.random.RandomState(seed)
    truth = random.standard_normal(shape) + random.standard_normal(shape[-1])
    output = truth + noise * random.standard_normal(shape)
    return truth.astype(np.float32), output.astype(np.float32)


def assert_close(value, expected, relative):
    assert np.abs(value - expected).max() <= relative * np.abs(expected).max()


# Published values


def test_published_l1(published):
    assert_close(losses.l1(published["real"], published["fake"]), published["l1"], 1e-6)


def test_published_contextual_layers(published, features):
    truth, output = features(published["real"]), features(published["fake"])
    for name in ("conv3_2", "conv4_2"):
        value = losses.contextual(truth[name], output[name], seed=SEED)
        assert value.dtype == tf.float32 and value.shape == ()
        assert_close(value, published[f"contextual_{name}"], 1e-4)


def test_published_perceptual(published, features):
    value = losses.perceptual_loss(published["real"], published["fake"], features=features)
    assert_close(value, published["perceptual_loss"], 1e-4)


@pytest.mark.parametrize("sizes", ["known", pytest.param("unknown", marks=pytest.mark.slow)])
def test_published_contextual_and_gradient(published, features, sizes):
    def loss(truth, output):
        return losses.contextual_loss(truth, output, features=features, seed=SEED)

    if sizes == "unknown":
        loss = tf.function(
            loss, input_signature=[tf.TensorSpec([None] * 3 + [3])] * 2, autograph=False
        )
    value, gradient = value_and_gradient(
        lambda output: loss(published["real"], output), published["fake"]
    )
    assert_close(value, published["contextual_loss"], 1e-4)
    assert_close(gradient, published["contextual_grad"], 1e-3)


# Against the description


@pytest.mark.parametrize(
    ("shape", "noise", "bandwidth"),
    [((1, 9, 5, 7), 1.0, 0.5), ((1, 1, 31, 3), 0.3, 0.2), ((3, 6, 11, 16), 0.5, 0.5)],
)
def test_contextual_agrees_with_the_description(shape, noise, bandwidth):
    truth, output = random_pair(shape, noise)
    value, gradient = value_and_gradient(
        lambda x: losses.contextual(truth, x, seed=SEED, bandwidth=bandwidth), output
    )
    expected, expected_gradient = literal_gradient(truth, output, bandwidth)
    assert_close(value, expected, 1e-5)
    assert_close(gradient, expected_gradient, 1e-4)
    singles = [literal_contextual(t, o, bandwidth) for t, o in zip(truth, output, strict=True)]
    assert_close(value, np.mean(singles), 1e-5)


@pytest.mark.parametrize("noise", [1e-2, 1e-3])
def test_contextual_close_to_truth(noise):
    # Distances are as small as their floor: float32 leaves about three digits.
    truth, output = random_pair((1, 7, 9, 24), noise)
    value, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), output)
    expected, expected_gradient = literal_gradient(truth, output)
    assert abs(value - expected) < 1e-4
    scale = max(np.abs(expected_gradient).max(), 1e-4)
    assert np.abs(gradient - expected_gradient).max() < 2e-2 * scale


def test_equal_outputs_share_the_gradient():
    # Black areas of a picture have equal features at many positions.
    truth, output = random_pair((1, 6, 5, 8))
    output[:, 2:4] = output[:, :1]
    _, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), output)
    _, expected = literal_gradient(truth, output)
    assert np.abs(expected[:, 2:4]).max() > 0
    assert_close(gradient, expected, 1e-4)


def test_contextual_gradient_by_finite_differences():
    truth, output = random_pair((1, 4, 7, 5), seed=2)
    _, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), output)
    random = np.random.RandomState(1)
    for index in random.permutation(output.size)[:12]:
        step = np.zeros(output.size)
        step[index] = 1e-6
        step = step.reshape(output.shape[1:])
        difference = literal_contextual(truth[0], output[0] + step) - literal_contextual(
            truth[0], output[0] - step
        )
        assert abs(difference / 2e-6 - gradient.flat[index]) < 1e-4 * np.abs(gradient).max()


# Invariants


def test_identical_features_have_the_smallest_loss():
    truth, output = random_pair((1, 9, 8, 12))
    value, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), truth)
    assert abs(value - literal_contextual(truth[0], truth[0])) < 1e-6
    assert abs(value) < 1e-6
    assert losses.contextual(truth, output, seed=SEED) > 0.1
    assert np.abs(gradient).max() < 1e-4


def test_positions_may_be_permuted():
    truth, output = random_pair((1, 8, 9, 6))
    order = np.random.RandomState(4).permutation(72)
    shuffled = output.reshape(1, 72, 6)[:, order].reshape(output.shape)
    value, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), output)
    other, moved = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), shuffled)
    assert abs(value - other) < 1e-6
    assert_close(moved.reshape(72, 6), gradient.reshape(72, 6)[order], 1e-5)


def test_length_of_a_centred_feature_does_not_matter():
    truth, output = random_pair((1, 6, 5, 8))
    mean = truth.mean((0, 1, 2))
    lengths = np.random.RandomState(5).uniform(1e-3, 1e3, (1, 6, 5, 1))
    stretched = (mean + lengths * (output - mean)).astype(np.float32)
    value, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), output)
    assert_close(losses.contextual(truth, stretched, seed=SEED), value, 1e-3)
    along = np.abs((gradient * (output - mean)).sum(-1))
    assert along.max() < 1e-5 * np.abs(gradient).max()


def test_truth_has_no_gradient(published, features):
    truth, output = random_pair((1, 5, 6, 4))
    truth, output = tf.constant(truth), tf.constant(output)
    real, fake = (tf.constant(published[k][:, :16, :24]) for k in ("real", "fake"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([truth, real])
        one_layer = losses.contextual(truth, output, seed=SEED)
        whole = [
            loss(real, fake, features=features, seed=SEED)
            for loss in losses.FEATURE_LOSSES.values()
        ]
    assert tape.gradient(one_layer, truth) is None
    assert [tape.gradient(value, real) for value in whole] == [None, None]


# Zero and degenerate features


def assert_finite_and_small(truth, output, largest=1e3):
    value, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), output)
    positions = truth.shape[1] * truth.shape[2]
    assert -1e-6 <= value <= np.log(positions) + 1e-5
    assert np.isfinite(gradient).all() and np.abs(gradient).max() < largest
    return value, gradient


def test_zero_features():
    truth, output = random_pair((1, 6, 7, 5))
    zeros = np.zeros_like(truth)
    for pair in ((zeros, zeros), (zeros, output), (truth, zeros)):
        value, gradient = assert_finite_and_small(*pair)
        if pair[0] is zeros:
            # Everything is equally far from everything: each similarity is 1 / P.
            assert abs(value - np.log(42)) < 1e-5
            assert not gradient.any()


def test_one_zero_vector_has_no_gradient_and_leaves_the_others_alone():
    truth, output = random_pair((1, 6, 7, 5))
    # Small integers, so that the mean is exact and the position's vector exactly zero.
    truth = np.concatenate([np.round(truth[:, :3]), -np.round(truth[:, :3])], 1)
    output[0, 2, 3] = 0
    value, gradient = assert_finite_and_small(truth, output)
    assert not gradient[0, 2, 3].any()
    assert np.abs(gradient).max() > 0
    tiny = output.copy()
    tiny[0, 2, 3] = 1e-30
    nearly, nearly_gradient = assert_finite_and_small(truth, tiny)
    assert nearly == value
    np.testing.assert_array_equal(nearly_gradient, gradient)


def test_zero_features_under_xla():
    # XLA differentiates the root at zero without the CPU kernels' special case.
    truth, output = random_pair((1, 4, 3, 5))
    output[:] = 0

    @tf.function(jit_compile=True, autograph=False)
    def step(truth, output):
        with tf.GradientTape() as tape:
            tape.watch(output)
            value = losses.contextual(truth, output, seed=SEED)
        return value, tape.gradient(value, output)

    for constant in (output + truth.mean((0, 1, 2)), output):
        value, gradient = step(tf.constant(truth), tf.constant(constant))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    value, gradient = step(tf.zeros_like(output), tf.constant(output))
    assert abs(value - np.log(12)) < 1e-5
    assert not gradient.numpy().any()


def test_constant_features():
    truth, output = random_pair((1, 6, 7, 5))
    for constant in (np.full_like(truth, 3.3), np.full_like(truth, 1e-20)):
        for pair in ((constant, constant), (constant, output), (truth, constant)):
            assert_finite_and_small(*pair)


@pytest.mark.parametrize("name", list(losses.FEATURE_LOSSES))
def test_black_and_saturated_pictures(features, name):
    ramp = np.linspace(-0.5, 1.5, 16 * 24 * 3, dtype=np.float32).reshape(1, 16, 24, 3)
    loss = losses.FEATURE_LOSSES[name]

    @tf.function(autograph=False)
    def step(truth, output):
        with tf.GradientTape() as tape:
            tape.watch(output)
            value = loss(truth, output, features=features, seed=SEED)
        return value, tape.gradient(value, output)

    pictures = [tf.constant(picture) for picture in (0 * ramp, 0 * ramp + 1, ramp)]
    for truth, output in itertools.product(pictures, repeat=2):
        value, gradient = step(truth, output)
        assert np.isfinite(value) and value > -1e-6
        assert np.isfinite(gradient).all()


def test_cosines_above_one_keep_the_order(monkeypatch):
    product = tf.matmul

    def rounded_up(a, b, **options):
        """As TensorFloat-32 may do it."""
        return product(a, b, **options) * 1.0006

    monkeypatch.setattr(tf, "matmul", rounded_up)
    truth, _ = random_pair((1, 5, 8, 6))
    value, gradient = value_and_gradient(lambda x: losses.contextual(truth, x, seed=SEED), truth)
    assert abs(value) < 1e-4
    assert np.isfinite(gradient).all()


# Sampled positions


def rows_with_gradient(truth, output, seed, count):
    value, gradient = value_and_gradient(
        lambda x: losses.contextual(truth, x, seed=seed, max_positions=count), output
    )
    rows = np.flatnonzero(np.abs(gradient).reshape(-1, gradient.shape[-1]).max(1))
    return value, rows


def test_sampled_positions():
    truth, output = random_pair((1, 11, 13, 6))
    seen = set()
    for seed in [(1, 0), (1, 1), (2, 0), (1, 0)]:
        value, rows = rows_with_gradient(truth, output, seed, 60)
        # Outputs that are nobody's best match have no gradient, so rows are a subset.
        assert 20 <= len(rows) <= 60
        order = np.argsort(tf.random.stateless_uniform([143], seed).numpy(), kind="stable")
        chosen = order[:60]
        assert set(rows) <= set(chosen)
        t, i = (x.reshape(143, 6)[chosen] for x in (truth, output))
        assert_close(value, literal_contextual(t, i), 1e-5)
        seen.add(float(value))
    assert len(seen) == 3


def test_truth_and_output_are_sampled_alike():
    truth, _ = random_pair((2, 11, 13, 6))
    assert abs(losses.contextual(truth, truth, seed=SEED, max_positions=30)) < 1e-6


@pytest.mark.parametrize("count", [30, 143, 4225])
def test_unknown_sizes_agree_with_known_ones(count):
    truth, output = random_pair((2, 11, 13, 6))
    traces = []

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 6])] * 2 + [tf.TensorSpec([2], tf.int32)],
        autograph=False,
    )
    def unknown(truth, output, seed):
        traces.append(1)
        with tf.GradientTape() as tape:
            tape.watch(output)
            value = losses.contextual(truth, output, seed=seed, max_positions=count)
        return value, tape.gradient(value, output)

    for rows in (11, 7):
        value, gradient = unknown(truth[:, :rows], output[:, :rows], SEED)
        expected, expected_gradient = value_and_gradient(
            lambda x, t=truth[:, :rows]: losses.contextual(t, x, seed=SEED, max_positions=count),
            output[:, :rows],
        )
        assert_close(value, expected, 1e-5)
        assert_close(gradient, expected_gradient, 1e-4)
    assert len(traces) == 1


def test_layers_draw_their_positions_apart(monkeypatch):
    seeds = []
    monkeypatch.setattr(
        losses, "contextual", lambda *_, seed: seeds.append(tuple(seed.numpy())) or tf.constant(1.0)
    )
    picture = tf.zeros((1, 8, 8, 3))
    losses.contextual_loss(
        picture, picture, features=lambda x, training: dict(conv3_2=x, conv4_2=x), seed=SEED
    )
    assert len(set(seeds)) == 2


def test_nothing_larger_than_the_sampled_matrix():
    # The conv4_2 map of a 1024 x 1024 picture, with few channels.
    @tf.function(input_signature=[tf.TensorSpec([1, 128, 128, 4])] * 2, autograph=False)
    def step(truth, output):
        with tf.GradientTape() as tape:
            tape.watch(output)
            value = losses.contextual(truth, output, seed=SEED)
        return tape.gradient(value, output)

    graph = step.get_concrete_function().graph
    tensors = [tensor for op in graph.get_operations() for tensor in op.outputs]
    # No function called from the graph hides tensors from this list.
    assert not graph.as_graph_def().library.function
    sizes = [tensor.shape.num_elements() for tensor in tensors]
    unknown = [t.name for t, size in zip(tensors, sizes, strict=True) if size is None]
    assert unknown == []
    assert max(sizes) == 4225 * 4225


# Precision, L1, perceptual, the registry


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_other_precisions_are_computed_in_float32(published, features, dtype):
    real, fake = (tf.cast(published[k][:, :16, :24], dtype) for k in ("real", "fake"))
    as_float32 = [tf.cast(x, tf.float32) for x in (real, fake)]
    for loss in losses.FEATURE_LOSSES.values():
        with tf.GradientTape() as tape:
            tape.watch(fake)
            value = loss(real, fake, features=features, seed=SEED)
        assert value.dtype == tf.float32
        assert value == loss(*as_float32, features=features, seed=SEED)
        assert tape.gradient(value, fake).dtype == dtype
    assert losses.l1(real, fake) == losses.l1(*as_float32)
    assert losses.contextual(real, fake, seed=SEED).dtype == tf.float32


def test_l1_identity_gradient_and_frames():
    truth, output = random_pair((1, 3, 5, 4))
    frames = np.concatenate([output, output + 1, output - 3])
    assert losses.l1(truth, truth) == 0
    value, gradient = value_and_gradient(lambda x: losses.l1(truth, x), frames)
    assert_close(value, np.mean([np.abs(truth[0] - frame).mean() for frame in frames]), 1e-6)
    np.testing.assert_allclose(gradient, np.sign(frames - truth) / frames.size, rtol=1e-6)


def test_l1_of_float16_does_not_overflow():
    truth = tf.zeros((1, 256, 256, 4), tf.float16)
    assert losses.l1(truth, truth + 2) == 2


def test_perceptual_identity_and_gradient(published, features):
    real = published["real"][:, :24, :40]
    value, gradient = value_and_gradient(
        lambda x: losses.perceptual_loss(real, x, features=features), real
    )
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", ["contextual", "perceptual"])
def test_feature_losses_in_one_traced_step(published, features, name):
    truth, output = (tf.constant(published[k][:, :16, :24]) for k in ("real", "fake"))
    loss = losses.FEATURE_LOSSES[name]
    traces = []

    @tf.function(autograph=False)
    def step(number):
        traces.append(1)
        seed = tf.stack([7, number])
        return losses.l1(truth, output) + 0.1 * loss(truth, output, features=features, seed=seed)

    values = [step(tf.constant(k)).numpy() for k in range(3)]
    direct = loss(truth, output, features=features, seed=(7, 1))
    assert_close(values[1], losses.l1(truth, output) + 0.1 * direct, 1e-5)
    assert len(traces) == 1
