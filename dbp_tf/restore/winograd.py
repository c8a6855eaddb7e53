"""3x3 convolutions of many channels with fewer multiplications: Winograd's F(4x4, 3x3).

A tile of 4 x 4 output pixels is made of 6 x 6 input pixels. These and the kernel are transformed to
36 numbers each; the products of their pairs are transformed to the output pixels. That takes 36
multiplications instead of 144 (Lavin and Gray, CVPR 2016) and more additions, which pay where there
are many channels. XLA compiles it, once for every size of picture, so that the additions need no
passes over memory of their own.

The transforms are those of a product of two polynomials, of three and of four coefficients, which
is computed from their values at five points and at infinity. A convolution is such a product
transposed: the values of the first polynomial are those of the kernel, the matrix that interpolates
the product takes the input pixels, and the values of the second polynomial become the output.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from numpy.polynomial import polynomial

# With 0, 1, -1, 2, -2 the largest error would be four times that of these.
_POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)
_TILE, _SIDE = 4, 6

# With fewer channels the additions take what the multiplications save.
LEAST_CHANNELS = 512
# In smaller pictures compiling takes what it saves: 64 x 64 pixels of level 5, 4 megapixels of raw.
LEAST_PIXELS = 4096


def _transforms():
    """The matrices that transform input pixels [6, 6], a kernel [36, 9] and products [16, 36]."""
    others = [[q for q in _POINTS if q != p] for p in _POINTS]
    tile = [[*polynomial.polyfromroots(o), 0] for o in others]
    tile.append(polynomial.polyfromroots(_POINTS))
    kernel = [
        [p**i / np.prod([p - q for q in o]) for i in range(3)]
        for p, o in zip(_POINTS, others, strict=True)
    ]
    kernel.append([0, 0, 1])
    output = [[p**i for p in _POINTS] + [float(i == _TILE - 1)] for i in range(_TILE)]
    # Both directions at once, but for the input pixels, whose matrix is half zeros.
    return np.array(tile), *(np.kron(m, m).astype(np.float32) for m in (kernel, output))


_OF_TILE, _OF_KERNEL, _OF_PRODUCT = _transforms()


def _transformed(pixels, axis):
    """Six neighbouring pixels in one direction, transformed to six numbers: a new axis."""
    return tf.stack(
        [
            tf.add_n([weight * p for weight, p in zip(row, pixels, strict=True) if weight])
            for row in _OF_TILE.tolist()
        ],
        axis,
    )


@tf.function(jit_compile=True, autograph=False)
def convolution(features: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """As `tf.nn.conv2d(features, kernel, 1, "SAME")`, to rounding.

    Args:
      features: [1, H, W, I] float32.
      kernel: [3, 3, I, O] float32.

    Returns:
      [1, H, W, O].
    """
    inputs, outputs = kernel.shape[2:]
    rows, columns = tf.unstack(tf.shape(features)[1:3])
    down, across = -(-rows // _TILE), -(-columns // _TILE)
    # One row before, as many after as whole tiles and one tile more need; columns likewise.
    after = [_TILE * (tiles + 2) - 1 - size for tiles, size in ((down, rows), (across, columns))]
    padded = tf.pad(features[0], [[1, after[0]], [1, after[1]], [0, 0]])
    strips = tf.reshape(padded, (down + 2, _TILE, _TILE * (across + 2), inputs))
    strips = [strips[i // _TILE : down + i // _TILE, i % _TILE] for i in range(_SIDE)]
    tiles = tf.reshape(_transformed(strips, 0), (_SIDE, down, across + 2, _TILE, inputs))
    tiles = [tiles[:, :, i // _TILE : across + i // _TILE, i % _TILE] for i in range(_SIDE)]
    tiles = tf.reshape(_transformed(tiles, 1), (_SIDE**2, down * across, inputs))
    kernels = tf.matmul(_OF_KERNEL, tf.reshape(kernel, (9, inputs * outputs)))
    products = tf.matmul(tiles, tf.reshape(kernels, (_SIDE**2, inputs, outputs)))
    pixels = tf.matmul(_OF_PRODUCT, tf.reshape(products, (_SIDE**2, -1)))
    pixels = tf.reshape(pixels, (_TILE, _TILE, down, across, outputs))
    picture = tf.reshape(
        tf.transpose(pixels, (2, 0, 3, 1, 4)), (1, _TILE * down, _TILE * across, outputs)
    )
    return picture[:, :rows, :columns]


def faster(network: keras.Model) -> keras.Model:
    """The same network with the same weights for restoring one burst, faster for large pictures.

    Args:
      network: of 3x3 convolutions that take pictures [1, H, W, any], a part of the fine network.

    Returns:
      The network itself where this would gain nothing: few channels, another precision, a GPU, or
      a system on which TensorFlow may come without XLA.
    """
    wide = {
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
        and layer.compute_dtype == "float32"
        and min(layer.kernel.shape[2:]) >= LEAST_CHANNELS
    }
    if not wide or sys.platform != "linux" or tf.config.list_logical_devices("GPU"):
        return network
    return keras.models.clone_model(
        network, clone_function=lambda layer: _Convolution(layer) if layer in wide else layer
    )


class _Convolution(keras.layers.Layer):
    """A 3x3 `keras.layers.Conv2D`, by Winograd where the picture is large enough."""

    def __init__(self, layer):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer

    def compute_output_shape(self, shape):
        return self.layer.compute_output_shape(shape)

    def call(self, features):
        layer, (_, rows, columns, _) = self.layer, tf.unstack(tf.shape(features))

        def by_winograd():
            convolved = convolution(features, tf.convert_to_tensor(layer.kernel))
            return tf.nn.bias_add(convolved, layer.bias) if layer.use_bias else convolved

        convolved = tf.cond(rows * columns >= LEAST_PIXELS, by_winograd, lambda: layer(features))
        return tf.ensure_shape(convolved, self.compute_output_shape(features.shape))
