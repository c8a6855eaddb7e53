"""Networks in training: their optimizer, their step, and a plain copy to save and to show."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from dbp_tf.models import networks
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw.white_balance import Multipliers
from dbp_tf.restore.enhancer import Enhancer
from dbp_tf.training import distribution, training_step
from dbp_tf.training.config import Training


class Learner:
    """The networks of a stage and their optimizer, on one device or several.

    Args:
      settings: a stage of `training.config`.
      spec: `NetworkSpec`.
      start: `enhancer.Enhancer` whose networks are taken over; None to start from nothing.
      objective: `training_step.Objective`.
      strategy: see `distribution.make_strategy`.
      scheduled_steps: steps over which the learning rate falls.
      white_balance: multipliers (R, G, B) to which the frames are scaled, or None.
    """

    def __init__(
        self,
        settings: Training,
        spec: NetworkSpec,
        start: Enhancer | None,
        objective: training_step.Objective,
        strategy: tf.distribute.Strategy,
        scheduled_steps: int,
        white_balance: Multipliers | None = None,
    ):
        self._settings, self._objective, self._strategy = settings, objective, strategy
        self._rate = training_step.LearningRate(settings, scheduled_steps)
        with strategy.scope():
            self._models = training_step.build_models(
                spec,
                precision=settings.precision,
                initial=getattr(settings, "initial_weights", "published"),
                seed=settings.seed,
            )
            for name, model in start.models.items() if start else ():
                if name in self._models:
                    self._models[name].set_weights(model.get_weights())
            self._optimizer = training_step.build_optimizer(
                training_step.trainable_variables(settings.stage, self._models),
                settings,
                scheduled_steps,
                settings.precision,
            )
        # Networks that are spread over devices, compute in half precision or are averaged over
        # the steps are saved and shown by a plain copy.
        self._copied = (
            settings.precision != "float32"
            or settings.average > 0
            or distribution.spreads(strategy)
        )
        plain = networks.build(spec) if self._copied else self._models
        self._plain = Enhancer(spec, plain, white_balance=white_balance)

    @property
    def variables(self) -> dict[str, list[tf.Variable]]:
        """{name: list of `tf.Variable`} of all that training changes."""
        return {
            "weights": self._weights(),
            "optimizer": [variable.value for variable in self._optimizer.variables],
        }

    def _weights(self):
        return [weight.value for model in self._models.values() for weight in model.weights]

    def make_step(self, element_spec: Any) -> Callable[[Any], tf.Tensor]:
        """A function of a batch that updates the weights, see `training_step.make_step`."""
        return training_step.make_step(
            self._strategy,
            self._models,
            self._optimizer,
            self._objective,
            element_spec,
            self._settings.bursts_per_step,
        )

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return float(self._rate(step))

    def all_finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return bool(tf.reduce_all([tf.reduce_all(tf.math.is_finite(w)) for w in self._weights()]))

    def enhancer(self) -> Enhancer:
        """The networks in float32 with the present weights, or with their average."""
        for name, model in self._plain.models.items() if self._copied else ():
            model.set_weights(self._models[name].get_weights())
        averages = training_step.averages(self._optimizer)
        if averages and self._optimizer.iterations > 0:
            shown = training_step.trainable_variables(self._settings.stage, self._plain.models)
            for weight, average in zip(shown, averages, strict=True):
                weight.assign(keras.ops.convert_to_numpy(average))
        return self._plain
