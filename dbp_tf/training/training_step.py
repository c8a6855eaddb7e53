"""The training step: gradients of a batch of bursts on every replica, averaged, then an update.

The frames of all bursts of a batch run through the networks together; the fusion makes one picture
of each burst, and losses are those of the bursts taken one by one, averaged. Axis letters: B
bursts, N frames of all of them, P patch (packed pixels), p half of it, C packed channels, S output
pixels per packed pixel.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from dbp_tf.models import initial_weights, networks
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.training import losses
from dbp_tf.training.config import Optimisation

# "loss" is minimised; "l1" compares pictures, "feature" is the weighted contextual or
# perceptual loss, "raw" compares the coarse output with the clean raw. A stage that lacks one
# reports 0 there.
LOSSES = ("loss", "l1", "feature", "raw")

_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses that are minimised.

    Attributes:
      stage: "coarse", "fine" or "burst".
      feature_loss: key of `losses.FEATURE_LOSSES` that is added to L1, or None.
      feature_weight: its weight.
      features: the model of `vgg.vgg_features`; needed with a feature_loss only.
      seed: of the positions the contextual loss draws.
    """

    stage: str
    feature_loss: str | None = None
    feature_weight: float = 0.0
    features: keras.Model | None = None
    seed: int = 0


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at a step, as `config.Optimisation` says, over `total_steps` steps."""

    def __init__(self, optimisation: Optimisation, total_steps: int):
        self.optimisation = optimisation
        self.total_steps = total_steps

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        o, step = self.optimisation, tf.cast(step, tf.float32)
        if o.schedule == "cosine":
            steps = max(self.total_steps - o.warmup_steps, 1)
            done = tf.clip_by_value((step - o.warmup_steps) / steps, 0.0, 1.0)
            share = (1 + tf.cos(done * 3.14159265358979)) / 2
        else:
            share = tf.cast(step < o.drop_at * self.total_steps, tf.float32)
        rate = o.learning_rate * share + o.final_learning_rate * (1 - share)
        return rate * tf.minimum((step + 1) / o.warmup_steps, 1.0) if o.warmup_steps else rate

    def get_config(self) -> dict[str, Any]:
        return {"optimisation": self.optimisation, "total_steps": self.total_steps}


class _Adam(keras.optimizers.Adam):
    """Adam that takes gradients which are averaged over the replicas already.

    Keras would add them up over the replicas, after clipping each replica's own.

    The update is TensorFlow's own operation, which the published training ran: one pass over
    weights, gradients and averages, where Keras takes ten.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )

    def averages(self):
        return self._model_variables_moving_average if self.use_ema else None


def build_models(
    spec: NetworkSpec,
    *,
    precision: str = "float32",
    initial: str = "published",
    seed: int = 0,
) -> dict[str, keras.Model]:
    """Builds networks to train; call it inside the strategy's scope.

    Args:
      spec: of the networks.
      precision: Keras dtype policy of the layers that are not always float32.
      initial: "published"; "he" or "develop" for `initial_weights.he_weights`.
      seed: of the weights.

    Returns:
      {"coarse" | "fine": network} of those that the spec has.
    """
    keras.utils.set_random_seed(seed)
    models = networks.build(spec, precision)
    if initial != "published":
        initial_weights.he_weights(models, seed)
    return models


def build_optimizer(
    variables: Sequence[keras.Variable],
    optimisation: Optimisation,
    total_steps: int,
    precision: str = "float32",
) -> keras.optimizers.Optimizer:
    """Adam with the schedule, clipping and, for float16, loss scaling; call it inside the scope.

    Args:
      variables: the weights to update.
      optimisation: learning rate, clipping, averages.
      total_steps: of the whole training, for the schedule.
      precision: see `build_models`.
    """
    optimizer = _Adam(
        LearningRate(optimisation, total_steps),
        global_clipnorm=optimisation.clip_norm or None,
        use_ema=optimisation.average > 0,
        ema_momentum=optimisation.average,
        name="adam",
        **_ADAM,
    )
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable] | None:
    """The moving averages of the weights that an optimizer of `build_optimizer` updates.

    Returns:
      Those in the order of the weights; None where none are kept.
    """
    return getattr(optimizer, "inner_optimizer", optimizer).averages()


def trainable_variables(stage: str, models: dict[str, keras.Model]) -> list[keras.Variable]:
    """The weights that a stage trains: the coarse network's, both, or the fine one's alone."""
    trained = {"coarse": ("coarse",), "fine": ("coarse", "fine"), "burst": ("fine",)}[stage]
    return [variable for name in trained for variable in models[name].trainable_variables]


def batch_losses(
    models: dict[str, keras.Model], batch: dict[str, tf.Tensor], objective: Objective
) -> tf.Tensor:
    """The losses of a batch, each the mean of the losses of its bursts.

    coarse: L1(clean half-size raw, coarse output);
    fine: L1(ground truth, picture) + weight * feature loss + the coarse stage's loss;
    burst: L1(ground truth, picture) + weight * feature loss.
    The feature loss is the contextual or the perceptual one, see `losses`; it and its weight are
    those of the objective (published for Sony: contextual, 1; for Fuji: none).

    Args:
      models: see `build_models`.
      batch: dict of tensors as `dataset.training_dataset` yields them: "frames"
        [N,P,P,C] ([N,p,p,C] in the coarse stage), "lengths" [B], "low" [N,p,p,C], "truth"
        [B,S*P,S*P,3] (both not in the coarse stage), "clean_low" [B,p,p,C], "step".
      objective: the losses to add up.

    Returns:
      [4] float32, see `LOSSES`.
    """
    zero, lengths = tf.zeros(()), batch["lengths"]
    if objective.stage == "coarse":
        raw = _raw_loss(batch["clean_low"], models["coarse"](batch["frames"]), lengths)
        return tf.stack([raw, zero, zero, raw])
    coarse = models["coarse"](batch["low"])
    if objective.stage == "burst":
        coarse, raw = tf.stop_gradient(coarse), zero
    else:
        raw = _raw_loss(batch["clean_low"], coarse, lengths)
    picture = networks.fine_pictures(models["fine"], batch["frames"], coarse, lengths)
    l1 = losses.l1(batch["truth"], picture)
    feature = zero
    if objective.feature_loss:
        seed = tf.stack([tf.constant(objective.seed, tf.int64), tf.cast(batch["step"], tf.int64)])
        feature = objective.feature_weight * losses.FEATURE_LOSSES[objective.feature_loss](
            batch["truth"], picture, features=objective.features, seed=seed
        )
    return tf.stack([l1 + feature + raw, l1, feature, raw])


def _raw_loss(clean, coarse, lengths):
    """Mean over the bursts of the L1 of their frames, however many frames a burst has."""
    bursts = zip(tf.unstack(clean), tf.split(coarse, lengths), strict=True)
    return tf.reduce_mean([losses.l1(truth, frames) for truth, frames in bursts])


def make_step(
    strategy: tf.distribute.Strategy,
    models: dict[str, keras.Model],
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    element_spec: Any,
    bursts_per_step: int = 1,
) -> Callable[[Any], tf.Tensor]:
    """Compiles the training step.

    Args:
      strategy: in whose scope models and optimizer were built.
      models: see `build_models`.
      optimizer: see `build_optimizer`.
      objective: see `batch_losses`.
      element_spec: of the distributed dataset; sizes that are None there vary without a new
        trace.
      bursts_per_step: B.

    Returns:
      `tf.function` of a batch, see `batch_losses`, that updates the weights and returns [5]
      float32: `LOSSES`, means over bursts and replicas, and the norm of all mean gradients
      together, before clipping.
    """
    variables = trainable_variables(objective.stage, models)
    values = [variable.value for variable in variables]

    def update(batch):
        # A distributed dataset does not know how many bursts a batch has.
        batch = {
            name: tf.ensure_shape(value, (bursts_per_step, *value.shape[1:]))
            if name in ("lengths", "clean_low", "truth")
            else value
            for name, value in batch.items()
        }
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            parts = batch_losses(models, batch, objective)
            loss = optimizer.scale_loss(parts[0])
        replica = tf.distribute.get_replica_context()
        means, *gradients = replica.all_reduce(
            tf.distribute.ReduceOp.MEAN, [parts, *tape.gradient(loss, values)]
        )
        norm = tf.linalg.global_norm(gradients) / optimizer.scale_loss(1.0)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # Loss scaling skips steps whose gradients overflow, so those are no error.
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        optimizer.apply(gradients, variables)
        return tf.concat([means, norm[None]], axis=0)

    # Nothing here needs autograph, whose rewriting takes a second.
    @tf.function(input_signature=[element_spec], autograph=False)
    def step(batch):
        # After the reduction all replicas have the same values.
        return strategy.experimental_local_results(strategy.run(update, (batch,)))[0]

    return step
