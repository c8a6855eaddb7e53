"""The training loop of the three stages.

A run is a folder (see `run_folder`). `train` fills weights and optimizer from its last checkpoint.
Everything random follows from the seed and the step, so a run that was killed goes on as if nothing
had happened.
"""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dbp_tf import progress
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw import white_balance
from dbp_tf.raw.cameras import Camera
from dbp_tf.restore.enhancer import Enhancer
from dbp_tf.training import distribution, training_step
from dbp_tf.training.config import Training
from dbp_tf.training.learner import Learner
from dbp_tf.training.run_folder import RunFolder
from dbp_tf.training.samples import sample_picture
from dbp_tf.training.watch import Guard, Losses, Watch, scenes_of, stop_signals

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    *training_step.LOSSES,
    "val_psnr",
    "val_ssim_range2",
    "val_ssim_range1",
    "seconds",
)


def train(
    settings: Training,
    folder: str | os.PathLike,
    *,
    spec: NetworkSpec,
    start: Enhancer | None,
    objective: training_step.Objective,
    dataset_of: Callable[..., tf.data.Dataset],
    camera: Camera,
    strategy: tf.distribute.Strategy,
    scheduled_epochs: int | None = None,
    validate: Callable[[Enhancer], dict[str, Any]] | None = None,
) -> bool:
    """Trains one stage, or goes on with it.

    Args:
      settings: a stage of `training.config`; steps_per_epoch is above 0.
      folder: of the run, see `run_folder`.
      spec: `network_spec.NetworkSpec`.
      start: `enhancer.Enhancer` whose networks are taken over; None for new weights.
      objective: `training_step.Objective`.
      dataset_of: function of start_step, steps, replica and replicas, by keyword, see
        `dataset.training_dataset`.
      camera: `cameras.Camera`, for the colours of sample pictures.
      strategy: see `distribution.make_strategy`.
      scheduled_epochs: epochs over which the learning rate falls; by default all.
      validate: function of an `Enhancer` that returns a dict as `validation.validate` does; None
        to go without.

    Returns:
      Whether all epochs are done; otherwise the same call goes on.

    Raises:
      InputError: a loss or a weight is not finite; the folder cannot be written to or gone on with.
    """
    total = settings.epochs * settings.steps_per_epoch
    scheduled_steps = (scheduled_epochs or settings.epochs) * settings.steps_per_epoch
    trained = white_balance.trained_for(settings.white_balance or "none", camera)
    learner = Learner(settings, spec, start, objective, strategy, scheduled_steps, trained)
    chief = distribution.is_chief(strategy)
    # This fills the learner's variables from the last checkpoint, if the folder has one.
    run = RunFolder(
        folder,
        learner.variables,
        sums=len(training_step.LOSSES),
        columns=COLUMNS,
        keep=settings.keep,
        chief=chief,
    )
    step = run.step
    guard = Guard(learner, run, lambda step: _batches_of(step, dataset_of, strategy))
    losses = Losses(settings, run.sums, guard)
    watch = Watch(settings, run, strategy)
    data = distribution.distribute(strategy, dataset_of, start_step=step, steps=total - step)
    batches, take_step = iter(data), learner.make_step(data.element_spec)
    with stop_signals() as asked_to_stop:
        while step < total:
            losses.add(take_step(next(batches)))
            step += 1
            epoch, step_in_epoch = divmod(step, settings.steps_per_epoch)
            if watch.should_read(losses, epoch_ends=not step_in_epoch):
                losses.read(step)
                watch.show(step, losses.last)
            if not step_in_epoch:
                guard.check_weights(step)
                rate = learner.learning_rate(step - 1)
                row = {"epoch": epoch, "step": step, "learning_rate": rate, **losses.end_epoch()}
                if validate and chief and _is_due(settings.validate_every, epoch, settings):
                    row |= _validated(validate, learner.enhancer(), run, epoch, step)
                run.add_row(**row, seconds=watch.seconds())
                if _is_due(settings.save_every, epoch, settings):
                    run.save(step, losses.sums, guard.enhancer(step))
                if chief and _is_due(settings.pictures_every, epoch, settings):
                    batch = next(_batches_of(step - 1, dataset_of, strategy))
                    picture = sample_picture(learner.enhancer(), batch, settings.stage, camera)
                    run.add_picture(f"{epoch:05d}_{scenes_of(batch)[0]}", picture, step)
            if watch.should_stop(asked_to_stop, epoch_ends=not step_in_epoch):
                break
        losses.read(step)
        networks = guard.enhancer(step)
    run.finish(step, losses.sums, networks)
    watch.end(step)
    return step >= total


def _is_due(every, epoch, settings):
    return every > 0 and (epoch == settings.epochs or epoch % every == 0)


def _validated(validate, enhancer, run, epoch, step):
    """Scores the validation split, keeps the best weights; returns the columns of the history."""
    scores = validate(enhancer)
    run.offer(enhancer, {"epoch": epoch, "step": step, **scores})
    figures = f"PSNR {scores['psnr']:.2f}, SSIM {scores['ssim_range2']:.4f}"
    progress.say(f"Epoch {epoch}, validation: {figures}.")
    return {f"val_{name}": value for name, value in scores.items() if name != "scored"}


def _batches_of(step, dataset_of, strategy):
    """The batches that a step, counted from 0, sees, one for each replica."""
    replicas = strategy.num_replicas_in_sync
    for replica in range(replicas):
        yield from dataset_of(start_step=step, steps=1, replica=replica, replicas=replicas)
