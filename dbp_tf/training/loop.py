"""The training loop of the three stages.

A run is a folder (see `run_folder`). Everything random follows from the seed and the step, so a
run that was killed goes on from its last checkpoint as if nothing had happened.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from dbp_tf import progress
from dbp_tf.errors import InputError
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw import white_balance
from dbp_tf.raw.cameras import Camera
from dbp_tf.restore.enhancer import Enhancer
from dbp_tf.training import distribution, training_step
from dbp_tf.training.config import Training
from dbp_tf.training.learner import Learner
from dbp_tf.training.run_folder import RunFolder
from dbp_tf.training.samples import sample_picture

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

# Losses that a stage does not have: an empty cell says so better than a 0.
_NOT_REPORTED = {"coarse": ("l1", "feature"), "fine": (), "burst": ("raw",)}

# Losses are read from the device every so many steps, or every second where one process can
# decide for itself: reading makes the device wait.
_READ_STEPS = 20
_READ_SECONDS = 1.0
_PLAIN_LINE_SECONDS = 30.0


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
      start: `enhancer.Enhancer` whose networks are taken over; None to start from nothing.
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
    run = RunFolder(
        folder,
        learner.variables,
        sums=len(training_step.LOSSES),
        columns=COLUMNS,
        keep=settings.keep,
        chief=chief,
    )
    step = run.step
    losses = _Losses(settings, run.sums)
    watch = _Watch(settings, run, strategy)
    data = distribution.distribute(strategy, dataset_of, start_step=step, steps=total - step)
    batches, take_step = iter(data), learner.make_step(data.element_spec)
    with _stop_signals() as stop_signals, _naming_scenes(dataset_of, strategy, run):
        while step < total:
            losses.add(take_step(next(batches)))
            step += 1
            epoch, rest = divmod(step, settings.steps_per_epoch)
            if watch.should_read(losses, epoch_ends=not rest):
                losses.read(step)
                watch.show(step, losses.last)
            if not rest:
                _check_weights(learner, step)
                rate = learner.learning_rate(step - 1)
                row = {"epoch": epoch, "step": step, "learning_rate": rate, **losses.end_epoch()}
                if validate and chief and _is_due(settings.validate_every, epoch, settings):
                    row |= _validated(validate, learner.enhancer(), run, epoch, step)
                run.add_row(**row, seconds=watch.seconds())
                if _is_due(settings.save_every, epoch, settings):
                    _check_weights(learner, step)  # Once more: validation ran in between.
                    run.save(step, losses.sums, learner.enhancer())
                if chief and _is_due(settings.pictures_every, epoch, settings):
                    batch = next(_batches_of(step - 1, dataset_of, strategy))
                    picture = sample_picture(learner.enhancer(), batch, settings.stage, camera)
                    run.add_picture(f"{epoch:05d}_{_scenes(batch)[0]}", picture, step)
            if watch.should_stop(stop_signals, epoch_ends=not rest):
                break
        losses.read(step)
        _check_weights(learner, step)
    run.finish(step, losses.sums, learner.enhancer())
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


def _scenes(batch):
    return [scene.decode() for scene in batch["scene"].numpy()]


class _NotFinite(Exception):
    """A loss or a weight is not a finite number after a step, counted from 0."""

    def __init__(self, sentence, step):
        super().__init__(sentence)
        self.step = step


def _check_weights(learner, step):
    # The last update may have spoiled the weights, and no loss has been computed with them yet.
    if not learner.all_finite():
        raise _NotFinite("the weights after step {} are not all finite numbers", step - 1)


@contextlib.contextmanager
def _naming_scenes(dataset_of, strategy, run):
    """Makes an `InputError` of `_NotFinite` that names the scenes which the step has seen."""
    try:
        yield
    except _NotFinite as bad:
        run.flush()
        batches = _batches_of(bad.step, dataset_of, strategy)
        scenes = {scene for batch in batches for scene in _scenes(batch)}
        step = f"{bad.step + 1} (scene {' or '.join(sorted(scenes))})"
        raise InputError(
            f"{str(bad).format(step)}, so training has stopped; {run.state.last_good()}. Look at "
            f"that scene's raw files, or go on in a new folder with a lower --learning_rate or "
            f"with --clip_norm"
        ) from None


@contextlib.contextmanager
def _stop_signals():
    """Yields a list that is no longer empty once the process was asked to stop.

    The second Ctrl-C stops at once.
    """
    asked, before = [], {}

    def ask(number, _):
        asked.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Losses:
    """The losses of the present epoch. They stay on the device until they are read.

    Attributes:
      sums: float64 sums of the losses read since the epoch began, see `training_step.LOSSES`.
      unread: losses of the steps since then, still on the device.
      last: the newest loss that was read.
    """

    def __init__(self, settings: Training, sums: np.ndarray):
        self.sums, self.last = sums, math.nan
        self.unread: list[tf.Tensor] = []
        self._settings = settings

    def add(self, reported):
        """Takes the losses of a step, see `training_step.make_step`."""
        self.unread.append(reported)

    def read(self, step):
        """Takes the losses of the last steps from the device; `step` counts those taken."""
        reported = np.array([r.numpy() for r in self.unread], np.float64)
        for i, values in enumerate(reported):
            # The norm among them tells of gradients that spoil the weights before any loss does.
            if not np.isfinite(values).all():
                raise _NotFinite(
                    "the loss of step {} or its gradient is not a finite number",
                    step - len(reported) + i,
                )
            self.sums = self.sums + values[: len(self.sums)]
            self.last = values[0]
        self.unread = []

    def end_epoch(self):
        """{name: mean loss} of the losses that the stage has; the next epoch's sums begin at 0."""
        means = dict(
            zip(training_step.LOSSES, self.sums / self._settings.steps_per_epoch, strict=True)
        )
        self.sums = np.zeros_like(self.sums)
        return {k: v for k, v in means.items() if k not in _NOT_REPORTED[self._settings.stage]}


class _Watch:
    """Time: when losses are read and shown, when to stop. The chief alone prints.

    Raises:
      InputError: the folder of this process is at another step than that of others.
    """

    def __init__(self, settings: Training, run: RunFolder, strategy: tf.distribute.Strategy):
        self._settings, self._run = settings, run
        self._total = settings.epochs * settings.steps_per_epoch
        self._alone = distribution.worker_count(strategy) == 1
        self._total_of = distribution.make_total(strategy)
        if self._total_of(run.step) != run.step * strategy.num_replicas_in_sync:
            raise InputError(
                f"--checkpoint_dir: {run.folder} is at step {run.step} here and at another one "
                f"for other workers: give a folder that all machines share"
            )
        self._started = self._last_read = time.monotonic()
        self._last_line = -math.inf
        self._running_since: tuple[int, float] | None = None
        if run.step:
            self._say(f"Going on after step {run.step} of {self._total}.")

    def seconds(self):
        """Seconds of training, earlier processes included."""
        return self._run.seconds_before + time.monotonic() - self._started

    def should_read(self, losses, epoch_ends):
        """Whether to read the losses now."""
        waited = time.monotonic() - self._last_read
        # Where several processes train, all have to find a bad loss at the same step.
        return (
            len(losses.unread) >= _READ_STEPS
            or epoch_ends
            or (self._alone and waited > _READ_SECONDS)
        )

    def should_stop(self, asked, epoch_ends):
        """Whether to stop before all is done: `asked` is not empty, or time is up."""
        hours = (time.monotonic() - self._started) / 3600
        wanted = bool(asked) or 0 < self._settings.max_hours <= hours
        if self._alone:
            return wanted
        # All have to stop at the same step; asking at every one would make devices wait.
        return epoch_ends and self._total_of(wanted) > 0

    def show(self, step, loss):
        """Shows how far training is; the first step, in which it is compiled, tells no speed."""
        self._last_read = time.monotonic()
        if not self._run.chief:
            return
        epoch = -(-step // self._settings.steps_per_epoch)
        line = f"epoch {epoch}/{self._settings.epochs}, step {step}/{self._total}: loss {loss:.5f}"
        if self._running_since is None:
            self._running_since = step, time.monotonic()
        else:
            first, started = self._running_since
            done = step - first
            speed = done / max(time.monotonic() - started, 1e-9)
            left = progress.time_left(started, done, self._total - first)
            line += f", {speed:.3g} steps/s, {left}"
        progress.status(line)
        waited = time.monotonic() - self._last_line
        if step == self._total or (waited > _PLAIN_LINE_SECONDS and not sys.stdout.isatty()):
            self._say(line)
            self._last_line = time.monotonic()

    def end(self, step):
        """Says how training ended."""
        hours = (time.monotonic() - self._started) / 3600
        if step < self._total:
            self._say(
                f"Stopped after {hours:.2f} h at step {step} of {self._total}; the same command "
                f"goes on from there."
            )
        else:
            epochs, folder = self._settings.epochs, self._run.folder
            self._say(f"All {epochs} epochs are done; the weights are in {folder}.")

    def _say(self, text):
        if self._run.chief:
            progress.say(text)
