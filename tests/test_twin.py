"""The PyTorch twin that trains the bundled weights, against the Keras networks."""

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from dbp_tf.models import initial_weights, network_spec, networks, released

torch = pytest.importorskip("torch")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "checkpoints"))
twin = __import__("twin")


def channels_first(array):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


@pytest.mark.parametrize("channels, scale, size", [(4, 2, (36, 50)), (9, 3, (36, 44))])
def test_two_bursts_give_the_pictures_losses_and_gradients_of_keras(channels, scale, size):
    spec = network_spec.NetworkSpec(
        channels=channels,
        width=3,
        scale=scale,
        fusion="max",
        residual_blocks=0,
        squeeze_excite=False,
    )
    models = networks.build(spec)
    initial_weights.he_weights(models, 3)
    variables = released.published_variables(models)
    rng = np.random.default_rng(0)
    frames = tf.constant(rng.random((4, *size, channels), np.float32))
    truth = rng.random((2, *(scale * side for side in size), 3), np.float32)
    with tf.GradientTape() as tape:
        coarse = models["coarse"](networks.half_size(frames))
        pictures = networks.fine_pictures(models["fine"], frames, coarse, [2, 2])
        loss = tf.reduce_mean(abs(truth - pictures))
    expected = dict(
        zip(
            variables,
            tape.gradient(loss, [variable.value for variable in variables.values()]),
            strict=True,
        )
    )

    low, fine = twin.Coarse(channels, 3), twin.Fine(channels, 3, scale)
    twin.load_arrays({name: value.numpy() for name, value in variables.items()}, low, fine)
    ours = channels_first(frames.numpy())
    ours = fine(ours, low(torch.nn.functional.avg_pool2d(ours, 2)), 2)
    error = (channels_first(truth) - ours).abs().mean()
    error.backward()
    np.testing.assert_allclose(
        np.moveaxis(ours.detach().numpy(), 1, -1), pictures, rtol=0, atol=1e-5
    )
    assert float(error) == pytest.approx(float(loss), rel=1e-6)
    for network in (low, fine):
        for name, weight in network.weights.items():
            gradient = weight.grad.numpy()
            gradient = gradient.transpose(2, 3, 1, 0) if gradient.ndim == 4 else gradient
            largest = np.abs(expected[name]).max()
            np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-4 * largest)
