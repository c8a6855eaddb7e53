"""What stands beside the training loop: bad numbers, losses, time, the wish to stop."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from dbp_tf import progress
from dbp_tf.errors import InputError
from dbp_tf.restore.enhancer import Enhancer
from dbp_tf.training import distribution, training_step
from dbp_tf.training.config import Training
from dbp_tf.training.learner import Learner
from dbp_tf.training.run_folder import RunFolder

# Losses that a stage does not have: an empty cell says so better than a 0.
_NOT_REPORTED = {"coarse": ("l1", "feature"), "fine": (), "burst": ("raw",)}

# Losses are read from the device every so many steps, or every second where one process can
# decide for itself: reading makes the device wait.
_READ_STEPS = 20
_READ_SECONDS = 1.0


def scenes_of(batch: dict[str, tf.Tensor]) -> list[str]:
    """The scenes of a batch, see `dataset.training_dataset`."""
    return [scene.decode() for scene in batch["scene"].numpy()]


class Guard:
    """Stops a training whose losses or weights are no longer finite, and names what it saw last.

    Args:
      learner: whose weights are looked at.
      run: its folder.
      batches_of: function of a step, counted from 0, that gives the batches it has seen.
    """

    def __init__(
        self,
        learner: Learner,
        run: RunFolder,
        batches_of: Callable[[int], Iterable[dict[str, tf.Tensor]]],
    ):
        self._learner, self._run, self._batches_of = learner, run, batches_of

    def check_weights(self, step: int) -> None:
        """Raises InputError if the last of so many steps has spoiled the weights.

        No loss has been computed with them yet that could tell.
        """
        if not self._learner.all_finite():
            raise self.error("weights after", step, "are not all finite numbers")

    def enhancer(self, step: int) -> Enhancer:
        """The networks to save after so many steps; InputError if weights are not finite."""
        self.check_weights(step)
        return self._learner.enhancer()

    def error(self, before: str, step: int, after: str) -> InputError:
        """The error that names a step, counted from 1, and its scenes between two texts."""
        self._run.flush()
        scenes = {scene for batch in self._batches_of(step - 1) for scene in scenes_of(batch)}
        return InputError(
            f"the {before} step {step} (scene {' or '.join(sorted(scenes))}) {after}, so training "
            f"has stopped; {self._run.state.last_good()}. Look at that scene's raw files, or go on "
            f"in a new folder with a lower --learning_rate or with --clip_norm"
        )


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yields a list that is no longer empty once the process was asked to stop.

    The second Ctrl-C stops at once.
    """
    asked: list[int] = []
    before: dict = {}

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


class Losses:
    """The losses of the present epoch. They stay on the device until they are read.

    Attributes:
      sums: float64 sums of the losses read since the epoch began, see `training_step.LOSSES`.
      unread: losses of the steps since then, still on the device.
      last: the newest loss that was read.
    """

    def __init__(self, settings: Training, sums: np.ndarray, guard: Guard):
        self.sums, self.last = sums, math.nan
        self.unread: list[tf.Tensor] = []
        self._settings, self._guard = settings, guard

    def add(self, reported: tf.Tensor) -> None:
        """Takes the losses of a step, see `training_step.make_step`."""
        self.unread.append(reported)

    def read(self, step: int) -> None:
        """Takes the losses of the last steps from the device; `step` counts those taken.

        Raises:
          InputError: one is not finite.
        """
        reported = np.array([r.numpy() for r in self.unread], np.float64)
        for i, values in enumerate(reported):
            # The norm among them tells of gradients that spoil the weights before any loss does.
            if not np.isfinite(values).all():
                bad = step - len(reported) + i + 1
                raise self._guard.error("loss of", bad, "or its gradient is not a finite number")
            self.sums = self.sums + values[: len(self.sums)]
            self.last = values[0]
        self.unread = []

    def end_epoch(self) -> dict[str, float]:
        """{name: mean loss} of the losses that the stage has; the next epoch's sums begin at 0."""
        means = dict(
            zip(training_step.LOSSES, self.sums / self._settings.steps_per_epoch, strict=True)
        )
        self.sums = np.zeros_like(self.sums)
        return {k: v for k, v in means.items() if k not in _NOT_REPORTED[self._settings.stage]}


class Watch:
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
        self._running_since: tuple[int, float] | None = None
        if run.step:
            self._say(f"Going on after step {run.step} of {self._total}.")

    def seconds(self) -> float:
        """Seconds of training, earlier processes included."""
        return self._run.seconds_before + time.monotonic() - self._started

    def should_read(self, losses: Losses, epoch_ends: bool) -> bool:
        """Whether to read the losses now."""
        waited = time.monotonic() - self._last_read
        # Where several processes train, all have to find a bad loss at the same step.
        return (
            len(losses.unread) >= _READ_STEPS
            or epoch_ends
            or (self._alone and waited > _READ_SECONDS)
        )

    def should_stop(self, asked: list[int], epoch_ends: bool) -> bool:
        """Whether to stop before all is done: `asked` is not empty, or time is up."""
        hours = (time.monotonic() - self._started) / 3600
        wanted = bool(asked) or 0 < self._settings.max_hours <= hours
        if self._alone:
            return wanted
        # All have to stop at the same step; asking at every one would make devices wait.
        return epoch_ends and self._total_of(wanted) > 0

    def show(self, step: int, loss: float) -> None:
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
        show = progress.say if step == self._total else progress.status
        show(line)

    def end(self, step: int) -> None:
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
