"""The few layers of the method that Keras does not have.

Axis letters: F frames (the batch axis), H W packed rows and columns, C channels.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from dbp_tf.models.fusions import FUSIONS, reference_index

LEAKY_SLOPE = 0.2

# Sizes of a tensor's axes; None where an axis may have any size.
Shape = tuple[int | None, ...]

_EMPTY = contextvars.ContextVar("empty", default=False)


@contextlib.contextmanager
def empty_weights() -> Iterator[None]:
    """Kernels of networks built within are undefined, as their weights will come from a file.

    Drawing 94 million random numbers takes as long as reading them, and zeros half of that.
    """
    token = _EMPTY.set(True)
    try:
        yield
    finally:
        _EMPTY.reset(token)


def initial_kernel(initializer: Any = "glorot_uniform") -> Any:
    """The initializer of a kernel, or one that writes nothing within `empty_weights`."""
    return _unwritten if _EMPTY.get() else initializer


@keras.saving.register_keras_serializable("dbp_tf")
def _unwritten(shape, dtype):
    return tf.raw_ops.Empty(shape=shape, dtype=dtype)


@keras.saving.register_keras_serializable("dbp_tf")
class UpConvolution(keras.layers.Layer):
    """2x2 transposed convolution of stride 2 without bias, to exactly the skip's size.

    Call with (x [F, h, w, in], skip [F, H, W, any]), h = ceil(H / 2); returns
    [F, H, W, filters]. Kernel [2, 2, filters, in], the published layout.
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, shapes: Sequence[Shape]) -> None:
        below, _ = shapes
        self.kernel = self.add_weight(
            name="kernel",
            shape=(2, 2, self.filters, below[-1]),
            initializer=initial_kernel(keras.initializers.TruncatedNormal(stddev=0.02)),
        )

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        below, skip = inputs
        shape = tf.shape(skip)
        upsampled = tf.nn.conv2d_transpose(
            below,
            self.kernel,
            tf.stack([tf.shape(below)[0], shape[1], shape[2], self.filters]),
            strides=2,
            padding="SAME",
        )
        return tf.ensure_shape(upsampled, (None, skip.shape[1], skip.shape[2], self.filters))

    def compute_output_shape(self, shapes: Sequence[Shape]) -> Shape:
        _, skip = shapes
        return (*skip[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters}


@keras.saving.register_keras_serializable("dbp_tf")
class InstanceNorm(keras.layers.Layer):
    """Every channel of every picture to mean 0 and variance 1 over H and W, then gamma, beta.

    [B, H, W, C] to the same shape, for B pictures. Epsilon 1e-6 is the published one. Statistics
    are taken in float32 in half precision, too, which a sum over a whole picture would overflow.
    """

    EPSILON = 1e-6

    def build(self, shape: Shape) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        gamma, beta = (tf.cast(w, tf.float32) for w in (self.gamma, self.beta))
        if features.shape[0] == 1:
            return self._normalised(features, gamma, beta)
        # The channels of several pictures become those of one.
        count, rows, columns, channels = tf.unstack(tf.shape(features))
        one = tf.transpose(features, [1, 2, 0, 3])
        one = tf.reshape(one, [1, rows, columns, count * channels])
        one = self._normalised(one, tf.tile(gamma, [count]), tf.tile(beta, [count]))
        one = tf.reshape(one, [rows, columns, count, features.shape[-1]])
        return tf.transpose(one, [2, 0, 1, 3])

    def _normalised(self, picture, gamma, beta):
        # Batch norm in training takes its statistics from the batch, which is a single picture
        # here. This operation passes over the picture a third as often as one composed of means.
        # Its wrapper in `tf.nn` raises epsilon.
        normalised, *_ = tf.raw_ops.FusedBatchNormV3(
            x=picture,
            scale=gamma,
            offset=beta,
            mean=(),
            variance=(),
            epsilon=self.EPSILON,
            is_training=True,
        )
        return normalised

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape  # Without it Keras traces the call to find out: a third of building.


@keras.saving.register_keras_serializable("dbp_tf")
class EnlargeTwice(keras.layers.Layer):
    """[F, h, w, C] to [F, 2h, 2w, C] by TensorFlow 1's bilinear resize.

    Corners not aligned and no half-pixel centres, as `tf.image.resize` no longer does it: pixel
    (2y, 2x) is (y, x) itself, the one after it the mean with the next. Released weights
    were trained on it.
    """

    def call(self, coarse: tf.Tensor) -> tf.Tensor:
        size = 2 * tf.shape(coarse)[1:3]
        enlarged = tf.raw_ops.ResizeBilinear(
            images=coarse, size=size, align_corners=False, half_pixel_centers=False
        )
        return tf.cast(enlarged, coarse.dtype)

    def compute_output_shape(self, shape: Shape) -> Shape:
        frames, rows, columns, channels = shape
        return (frames, rows and 2 * rows, columns and 2 * columns, channels)


@keras.saving.register_keras_serializable("dbp_tf")
class DepthToSpace(keras.layers.Layer):
    """[F, H, W, 3 S S] to [F, S H, S W, 3]: every packed pixel's channels become S x S pixels."""

    def __init__(self, scale: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(features, self.scale)

    def compute_output_shape(self, shape: tuple[int | None, int | None, int | None, int]) -> Shape:
        frames, rows, columns, channels = shape
        s = self.scale
        return (frames, rows and s * rows, columns and s * columns, channels // (s * s))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}


@keras.saving.register_keras_serializable("dbp_tf")
class FuseBurst(keras.layers.Layer):
    """Fuses the five levels of all frames, [F, ...] each, to five levels of one picture, [1, ...].

    See `fusions`. Called with `lengths` [B], the frames are those of B bursts, one burst after
    another, and become B pictures, [B, ...].

    Args:
      fusion: a key of `FUSIONS`.
      reference_frame: "first" or "center", for a fusion that refers to one.
    """

    def __init__(self, fusion: str, reference_frame: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.fusion, self.reference_frame = fusion, reference_frame

    def call(
        self, levels: Sequence[tf.Tensor], lengths: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        fusion = FUSIONS[self.fusion]
        finest = self._reference if fusion.refers else fusion.merge
        first, *deeper = levels
        return [
            self._fused(first, finest, lengths),
            *(self._fused(level, fusion.merge, lengths) for level in deeper),
        ]

    def _fused(self, level, merge, lengths):
        if lengths is None:
            return merge(level)
        return tf.concat([merge(burst) for burst in tf.split(level, lengths)], axis=0)

    def _reference(self, level):
        index = reference_index(self.reference_frame, tf.shape(level)[0])
        return level[index : index + 1]

    def compute_output_shape(self, shapes: Sequence[Shape]) -> list[Shape]:
        return [(1, *shape[1:]) for shape in shapes]

    def get_config(self) -> dict[str, Any]:
        own = {"fusion": self.fusion, "reference_frame": self.reference_frame}
        return super().get_config() | own
