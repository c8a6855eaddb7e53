"""Initial weights for narrow networks, which the published ones leave standing at first.

Published: Glorot uniform convolutions and up-convolutions of standard deviation 0.02; that is
what the networks are built with. At a width of 8 or 12 the signal fades on its way through both,
and training takes long to get going.
"""

import keras
import numpy as np

from dbp_tf.models import layers

# The last convolutions start small, so that the first steps do not go into undoing a random
# picture: the coarse network at its own input, the fine one at this grey, near a bright
# picture's mean.
_LAST_BIAS = {"g_conv10": 0.0, "g_conv10_fine": 0.4}
_LAST_SCALE = 0.1


def he_weights(models, seed):
    """Draws the weights of networks anew, so that activations keep their size (He et al. 2015).

    Convolutions: normal with variance 2 / inputs (of the whole kernel), zero bias.
    Up-convolutions: normal with variance 1 / inputs, each output pixel having one tap only. The
    last convolutions: a tenth of that, the fine network's with a bias of 0.4. Dense layers
    and instance norms keep what they have.

    Args:
      models: dict of `keras.Model`, see `network_spec.build`; changed in place.
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
