"""The losses of the published training: L1, contextual and perceptual.

Contextual: Mechrez, Talmi and Zelnik-Manor, "The Contextual Loss for Image Transformation
with Non-Aligned Data", arXiv 1803.02077. Perceptual: Johnson, Alahi and Fei-Fei, arXiv
1603.08155, here with the absolute difference. Every loss computes in float32, whatever
precision its inputs have, and is a scalar, 0 or more.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from dbp_tf.training.vgg import FEATURE_LAYERS

# The matrix of similarities has at most this number of rows and of columns.
MAX_POSITIONS = 65 * 65

# Keeps the division by a position's smallest distance finite.
_DISTANCE_FLOOR = 1e-5

# Vectors shorter than the root of this count as zero: float32 has no direction for them
# beside features of order 1, and the cube of the inverse length would overflow.
_SHORTEST_SQUARED = 1e-24


def l1(truth: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference over all axes.

    Args:
      truth: any shape that broadcasts with output; a ground truth [1, H, W, C] against frames
        [F, H, W, C] gives the mean over the frames.
      output: any shape, in the unit of the ground truth.

    Returns:
      A float32 scalar in the unit of the inputs.
    """
    return tf.reduce_mean(tf.abs(tf.cast(truth, tf.float32) - tf.cast(output, tf.float32)))


def contextual(
    truth: tf.Tensor,
    output: tf.Tensor,
    *,
    seed: tf.Tensor | Sequence[int],
    bandwidth: float = 0.5,
    max_positions: int = MAX_POSITIONS,
) -> tf.Tensor:
    """Contextual loss of one layer: how poorly the output's features stand in for the truth's.

    Positions are compared without regard to where they lie, so the loss tolerates small
    misalignment. No gradient reaches `truth`. Zero feature vectors are as far from every
    other as orthogonal ones, and have gradient zero. Every picture is taken by itself.

    Args:
      truth: features [N, H, W, C], any finite values.
      output: features of the same shape.
      seed: two integers, the only source of randomness: they pick the max_positions
        positions that are compared, the same of `truth` and `output`, where H * W is more.
      bandwidth: how much further than the nearest a position may be and still count.
      max_positions: largest number of positions compared. Memory grows with its square:
        a picture's matrix has 71 MB at the default, value and gradient take seven of them.

    Returns:
      A float32 scalar, the mean over N of values between 0 and the logarithm of the
      number of positions compared.
    """
    truth, output = _positions(tf.stop_gradient(truth)), _positions(output)
    truth, output = _sample(truth, output, seed, max_positions)
    means = tf.reduce_mean(truth, axis=1, keepdims=True)
    similarity = _mean_best_similarity(
        _directions(truth - means), _directions(output - means), bandwidth
    )
    return -tf.reduce_mean(tf.math.log(similarity))


def contextual_loss(
    truth: tf.Tensor,
    output: tf.Tensor,
    *,
    features: keras.Model,
    seed: tf.Tensor | Sequence[int],
) -> tf.Tensor:
    """Contextual loss of two pictures: the sum over VGG-19's layers, divided by 255.

    Args:
      truth: ground truth, sRGB pictures [N, H, W, 3] in 0..1.
      output: pictures of the same shape; values outside 0..1 are allowed.
      features: the model of `vgg.vgg_features`.
      seed: two integers, see `contextual`; the layers draw their positions apart.

    Returns:
      A float32 scalar, below 0.07 by construction; a mean over N.
    """
    truth, output = _features_of(truth, output, features)
    seeds = tf.unstack(tf.random.split(seed, num=len(FEATURE_LAYERS)))
    layers = zip(FEATURE_LAYERS, seeds, strict=True)
    return tf.add_n([contextual(truth[k], output[k], seed=s) for k, s in layers]) / 255


def perceptual_loss(truth: tf.Tensor, output: tf.Tensor, *, features: keras.Model) -> tf.Tensor:
    """Perceptual loss of two pictures: mean over VGG-19's layers of their L1, over 255.

    Args:
      truth: ground truth, sRGB pictures [N, H, W, 3] in 0..1.
      output: pictures of the same shape; values outside 0..1 are allowed.
      features: the model of `vgg.vgg_features`.

    Returns:
      A float32 scalar without an upper bound; a mean over N, positions and channels.
    """
    truth, output = _features_of(truth, output, features)
    layers = [l1(truth[name], output[name]) for name in FEATURE_LAYERS]
    return tf.add_n(layers) / len(layers) / 255


# The losses that --loss may add to L1, all called alike: (truth, output, features=, seed=).
FEATURE_LOSSES = {
    "contextual": contextual_loss,
    "perceptual": lambda truth, output, *, features, seed: perceptual_loss(
        truth, output, features=features
    ),
}


def _features_of(truth, output, features):
    truth = features(tf.cast(truth, tf.float32), training=False)
    output = features(tf.cast(output, tf.float32), training=False)
    return {name: tf.stop_gradient(truth[name]) for name in FEATURE_LAYERS}, output


def _positions(features):
    """[N, H, W, C] -> [N, H * W, C], float32."""
    features = tf.cast(features, tf.float32)
    return tf.reshape(features, [tf.shape(features)[0], -1, features.shape[-1]])


def _sample(truth, output, seed, max_positions):
    if truth.shape[1] is not None and truth.shape[1] <= max_positions:
        return truth, output
    # Where the size is known only at run time, small maps come here too: they are
    # shuffled, which changes nothing, and stay whole.
    order = tf.argsort(tf.random.stateless_uniform([tf.shape(truth)[1]], seed))
    chosen = order[:max_positions]
    return tf.gather(truth, chosen, axis=1), tf.gather(output, chosen, axis=1)


def _directions(vectors):
    """Scales vectors along the last axis to length 1, and zero vectors to zero."""
    squared = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    long_enough = squared > _SHORTEST_SQUARED
    # The inner choice keeps the unused branch's gradient finite.
    inverse = tf.math.rsqrt(tf.where(long_enough, squared, 1.0))
    return vectors * tf.where(long_enough, inverse, 0.0)


def _mean_best_similarity(truth, output, bandwidth):
    """For each direction of `truth` the similarity of the output that fits best, averaged.

    Args:
      truth: unit or zero vectors [N, P, C].
      output: unit or zero vectors [N, P, C].
      bandwidth: see `contextual`.

    Returns:
      [N], above 0 and at most 1.
    """
    distance = (1 - tf.matmul(output, truth, transpose_b=True)) / 2
    smallest = tf.reduce_min(distance, axis=2, keepdims=True)
    # Rounding lifts cosines above 1, by 1e-3 where matrix products run in TensorFloat-32;
    # divided by a negative distance, similarities would turn their order around.
    scale = 1 / (bandwidth * (tf.maximum(smallest, 0.0) + _DISTANCE_FLOOR))
    # The normalisation cancels any factor of a row; this one makes the largest similarity 1.
    similarity = tf.exp((tf.stop_gradient(smallest) - distance) * scale)
    similarity /= tf.reduce_sum(similarity, axis=2, keepdims=True)
    return tf.reduce_mean(tf.reduce_max(similarity, axis=1), axis=1)
