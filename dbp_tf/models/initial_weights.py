"""Initial weights for narrow networks, which learn nothing at first from the published ones.

Published: Glorot uniform convolutions and up-convolutions of standard deviation 0.02; the networks
are built with these. At a width of 8 or 12 the signal fades on its way through both,
and training takes long to get going.

Developing weights go further: least squares give the best picture that the first and last
convolutions of the fine network alone can make, and it starts with that. At width 24 this is 30 dB
on frames without noise before the first step, more than an hour's training of width 16 had reached.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from dbp_tf.errors import InputError
from dbp_tf.models import layers, networks

# The last convolutions start small, so that the first steps do not go into undoing a random
# picture: the coarse network at its own input, the fine one at this grey, near a bright
# picture's mean.
_LAST_BIAS = {"g_conv10": 0.0, "g_conv10_fine": 0.4}
_LAST_SCALE = 0.1


def he_weights(models: dict[str, keras.Model], seed: int) -> None:
    """Draws the weights of networks anew, so that activations keep their size (He et al. 2015).

    Convolutions: normal with variance 2 / inputs (of the whole kernel), zero bias.
    Up-convolutions: normal with variance 1 / inputs, each output pixel having one tap only. The
    last convolutions: a tenth of that, the fine network's with a bias of 0.4. Dense layers
    and instance norms keep what they have.

    Args:
      models: dict of `keras.Model`, see `networks.build`; changed in place.
      seed: whole number; the same gives the same weights.
    """
    rng = np.random.default_rng(seed)
    for model in models.values():
        for layer in _flat(model):
            _draw(layer, rng)


def _flat(model):
    """All layers, also those of models inside the model."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _draw(layer, rng):
    if isinstance(layer, keras.layers.Conv2D):
        rows, columns, inputs, _ = layer.kernel.shape
        deviation = np.sqrt(2 / (rows * columns * inputs))
        if layer.name in _LAST_BIAS:
            deviation *= _LAST_SCALE
        layer.kernel.assign(rng.normal(0, deviation, layer.kernel.shape))
        if layer.use_bias:
            layer.bias.assign(np.full(layer.bias.shape, _LAST_BIAS.get(layer.name, 0)))
    elif isinstance(layer, layers.UpConvolution):
        inputs = layer.kernel.shape[-1]
        layer.kernel.assign(rng.normal(0, 1 / np.sqrt(inputs), layer.kernel.shape))


# Brightnesses, 0 at black and 1 at white, above which a sample's parts begin.
_KNOTS = (0.0, 0.02, 0.08, 0.25)


def develop_weights(
    fine: keras.Model,
    patches: Iterable[tuple[np.ndarray, np.ndarray]],
    seed: int = 0,
    pixels: int = 600,
) -> None:
    """Lets a fine network start as one that develops clean frames.

    Every pixel of the picture is a weighted sum of the 3 x 3 packed pixels about it: of their
    samples, of the samples' parts above a few brightnesses (for the tone curve), and of 1 minus the
    samples (whose maximum over frames gives the smallest sample). Least squares give the
    weights. They lie along the first level, past all poolings: the first convolution makes the
    parts, the second hands them on, the first one after the skip weighs them, the last ones hand
    on. All other channels stay as they are and do not yet reach the picture.

    Args:
      fine: see `networks.fine_net`; changed in place.
      patches: iterable of (clean [P, P, C] linear in 0..1, ground truth [S*P, S*P, 3] sRGB in
      0..1).
      seed: of the packed pixels that are taken.
      pixels: how many of each patch are taken.

    Raises:
      InputError: the network is too narrow.
    """
    encoder, _, decoder = networks.parts(fine)
    first, second = (encoder.get_layer(f"g_conv1_{i}_fine") for i in (1, 2))
    merge, passing, last = (decoder.get_layer(f"g_conv{i}_fine") for i in ("9_1", "9_2", "10"))
    channels, width, outputs = fine.inputs[0].shape[-1], first.filters, last.filters
    parts = channels * (len(_KNOTS) + 1)
    if width < max(parts, outputs):
        raise InputError(
            f"--initial_weights develop needs --width {max(parts, outputs)} or more, not {width}"
        )
    square: Any = 0.0
    product: Any = 0.0
    count = 0
    rng = np.random.default_rng(seed)
    for clean, truth in patches:
        given, wanted = _neighbourhoods(
            clean, truth, rng.integers(0, (len(clean) - 2) ** 2, pixels)
        )
        square, product = square + given.T @ given, product + given.T @ wanted
        count += len(given)
    # Parts of like size, so that none needs weights of another order than the rest.
    variances = np.diag(square)[:-1].reshape(9, parts).mean(0) / count
    sizes = np.sqrt(np.maximum(variances, 1e-12))
    scales = np.append(np.tile(1 / sizes, 9), 1.0)
    square, product = square * np.outer(scales, scales), product * scales[:, np.newaxis]
    square += 1e-6 * np.trace(square) / len(square) * np.eye(len(square))
    best = np.linalg.solve(square, product)

    kernel, bias = first.get_weights()
    kernel[..., :parts] = 0
    signs = np.repeat([*(1.0 for _ in _KNOTS), -1.0], channels)
    starts = np.repeat([*(-knot for knot in _KNOTS), 1.0], channels)
    for part, (size, sign, start) in enumerate(zip(sizes, signs, starts, strict=True)):
        kernel[1, 1, part % channels, part] = sign / size
        bias[part] = start / size
    first.set_weights([kernel, bias])
    _pass_on(second, parts)
    kernel, bias = merge.get_weights()
    kernel[..., :outputs] = 0
    kernel[..., width : width + parts, :outputs] = best[:-1].reshape(3, 3, parts, outputs)
    bias[:outputs] = best[-1]
    merge.set_weights([kernel, bias])
    _pass_on(passing, outputs)
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    _pass_on(last, outputs)


def _neighbourhoods(clean, truth, places):
    """(Parts of the 3 x 3 packed pixels about some places and a 1, their ground truth)."""
    slope = layers.LEAKY_SLOPE**2  # After two convolutions.
    above = [clean - np.float32(knot) for knot in _KNOTS]
    parts = [np.where(part > 0, part, slope * part) for part in above]
    parts = np.concatenate([*parts, 1 - clean], axis=-1)
    side, scale = len(clean) - 2, len(truth) // len(clean)
    rows, columns = np.divmod(places, side)
    around = itertools.product(range(3), range(3))
    given = [parts[rows + row, columns + column] for row, column in around]
    pixels = truth.reshape(len(clean), scale, len(clean), scale, 3).swapaxes(1, 2)
    wanted = pixels[rows + 1, columns + 1].reshape(len(places), -1)
    given = np.concatenate([*given, np.ones((len(places), 1))], axis=-1)
    return given.astype(np.float64), wanted.astype(np.float64)


def _pass_on(convolution, count):
    """Makes a convolution pass its first channels on unchanged."""
    kernel, bias = convolution.get_weights()
    kernel[..., :count], bias[:count] = 0, 0
    middle = len(kernel) // 2
    kernel[middle, middle, range(count), range(count)] = 1
    convolution.set_weights([kernel, bias])
