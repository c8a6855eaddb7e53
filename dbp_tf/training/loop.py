"""The training loop of the three stages: steps, history, pictures, validation, going on.

A run is a folder (see `run_folder`). Everything random follows from the seed and the step, so a
run that was killed goes on from its last checkpoint as if nothing had happened.
"""

import contextlib
import dataclasses
import math
import pathlib
import signal
import sys
import threading
import time

import imageio.v3 as iio
import numpy as np
import tensorflow as tf

from dbp_tf import files, pictures, progress, simulate
from dbp_tf.errors import InputError
from dbp_tf.evaluation import protocol
from dbp_tf.models import network_spec
from dbp_tf.models.reference import reference_index
from dbp_tf.raw import packing
from dbp_tf.restore.pretrained import Enhancer, save_pretrained
from dbp_tf.training import distribution, run_folder, training_step

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

# What a stage does not have: an empty cell says so better than a 0.
_NOT_REPORTED = {"coarse": ("l1", "feature"), "fine": (), "burst": ("raw",)}

# Losses are read from the device every so many steps, or every second where one process can
# decide for itself: reading makes the device wait.
_READ_STEPS = 20
_READ_SECONDS = 1.0
_PLAIN_LINE_SECONDS = 30.0

_PICTURE_QUALITY = 92


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to train and how often to do what; the defaults are the published ones.

    Attributes:
      epochs: in all.
      steps_per_epoch: updates of the weights in an epoch.
      save_every, pictures_every, validate_every: in epochs; 0 for never, except that the end
        is always saved.
      keep: checkpoints of the state that are kept.
      max_hours: stop after so long, saved and ready to go on; 0 for no limit.
    """

    epochs: int
    steps_per_epoch: int
    save_every: int = 50
    pictures_every: int = 50
    validate_every: int = 50
    keep: int = 2
    max_hours: float = 0.0

    @property
    def total_steps(self):
        return self.epochs * self.steps_per_epoch


@dataclasses.dataclass(frozen=True)
class Networks:
    """What to train and from which weights.

    Attributes:
      spec: `network_spec.NetworkSpec`.
      start: `pretrained.Enhancer` whose networks are taken over; None to start from nothing.
      initial: weights of networks that `start` lacks, "published" or "he".
      precision: one of `training_step.PRECISIONS`.
      reference_frame: of the fine network, "center" (published) or "first".
    """

    spec: network_spec.NetworkSpec
    start: Enhancer | None = None
    initial: str = "published"
    precision: str = "float32"
    reference_frame: str = "center"


def train(
    folder,
    dataset_of,
    *,
    networks,
    objective,
    optimisation,
    plan,
    strategy,
    camera,
    validate=None,
    settings=None,
):
    """Trains one stage, or goes on with it.

    Args:
      folder: of the run, see `run_folder`.
      dataset_of: function of start_step, steps, replica and replicas, by keyword, see
        `patches.training_dataset`.
      networks: `Networks`.
      objective: `training_step.Objective`.
      optimisation: `config.Optimisation`.
      plan: `Plan`.
      strategy: see `distribution.make_strategy`.
      camera: `cameras.Camera`, for the colours of sample pictures.
      validate: function of an `Enhancer` that returns a dict as `validation.validate` does; None
        to go without.
      settings: dict of "flags" and "fixed" for settings.json, see `run_folder.check_settings`.

    Returns:
      Whether all epochs are done; otherwise the same call goes on.

    Raises:
      InputError: a loss or a weight is not finite; the folder cannot be written to or gone on with.
    """
    run = _Run(
        pathlib.Path(folder),
        dataset_of,
        networks,
        optimisation,
        objective=objective,
        plan=plan,
        strategy=strategy,
        camera=camera,
        validate=validate,
    )
    if run.chief:
        described = protocol.settings_of({}, run.plain)
        run_folder.write_settings(
            folder,
            {
                "fixed": {},
                **(settings or {}),
                "versions": described["versions"],
                "network": dataclasses.asdict(networks.spec),
            },
        )
    with _stop_signals() as asked:
        return run.train(asked)


def count_parameters(spec):
    """How many numbers the networks of a `network_spec.NetworkSpec` consist of."""
    return sum(model.count_params() for model in network_spec.build(spec).values())


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


class _Run:
    """A run in memory: networks, optimizer, step, and what happened since the last epoch."""

    def __init__(self, folder, dataset_of, networks, optimisation, **kept):
        self.folder, self.dataset_of = folder, dataset_of
        # The rest are arguments of `train` that are used as they are.
        vars(self).update(kept)
        plan, strategy, objective = self.plan, self.strategy, self.objective
        self.reference_frame = networks.reference_frame
        self.chief = distribution.is_chief(strategy)
        self.alone = distribution.worker_count(strategy) == 1
        with strategy.scope():
            self.models = training_step.build_models(
                networks.spec,
                precision=networks.precision,
                reference_frame=networks.reference_frame,
                initial=networks.initial,
                seed=objective.seed,
            )
            for name, model in networks.start.models.items() if networks.start else ():
                if name in self.models:
                    self.models[name].set_weights(model.get_weights())
            self.optimizer = training_step.build_optimizer(
                training_step.trainable_variables(objective.stage, self.models),
                optimisation,
                plan.total_steps,
                networks.precision,
            )
        self.rate = training_step.LearningRate(optimisation, plan.total_steps)
        # Where the networks being trained are spread over devices or compute in half precision,
        # what is saved and shown comes from a plain copy.
        self.copied = networks.precision != "float32" or distribution.spreads(strategy)
        plain = (
            network_spec.build(networks.spec, networks.reference_frame)
            if self.copied
            else self.models
        )
        self.plain = Enhancer(networks.spec, plain)
        self._restore()

    def _restore(self):
        weights = [w.value for m in self.models.values() for w in m.weights]
        saved_step = tf.Variable(0, dtype=tf.int64)
        saved_sums = tf.Variable(tf.zeros(len(training_step.LOSSES), tf.float64))
        if self.chief:
            parameters = sum(m.count_params() for m in self.models.values())
            run_folder.check_space(self.folder, parameters, self.plan.keep)
        self.state = run_folder.State(
            self.folder,
            {
                "weights": weights,
                "optimizer": [v.value for v in self.optimizer.variables],
                "step": [saved_step],
                "sums": [saved_sums],
            },
            self.plan.keep,
            self.chief,
        )
        self.state.restore()
        self.saved_step, self.saved_sums = saved_step, saved_sums
        self.step = self.saved_at = int(saved_step)
        self.exported_at = None
        # Sums of what the steps of this epoch reported, and what was not yet read.
        self.sums = saved_sums.numpy()
        self.unread = []
        replicas = self.strategy.num_replicas_in_sync
        self.total_of = distribution.make_total(self.strategy)
        if self.total_of(self.step) != self.step * replicas:
            raise InputError(
                f"--checkpoint_dir: {self.folder} is at step {self.step} here and at another one "
                f"for other workers: give a folder that all machines share"
            )
        self.history = run_folder.History(self.folder, COLUMNS, self.step, write=self.chief)
        self.events = run_folder.Events(self.folder) if self.chief else None

    def train(self, asked):
        """Trains until all is done or a stop is asked for; returns whether all is done."""
        self.started = self.last_read = time.monotonic()
        self.last_line = -math.inf
        self.running_since = None
        self.trained_before = float(self.history.rows[-1]["seconds"]) if self.history.rows else 0.0
        total = self.plan.total_steps
        if self.step:
            self._say(f"Going on after step {self.step} of {total}.")
        stopping = False
        if self.step < total:
            data = distribution.distribute(
                self.strategy, self.dataset_of, start_step=self.step, steps=total - self.step
            )
            take_step = training_step.make_step(
                self.strategy,
                self.models,
                self.optimizer,
                self.objective,
                data.element_spec,
            )
            batches = iter(data)
            while self.step < total and not stopping:
                self.unread.append(take_step(next(batches)))
                self.step += 1
                epoch_ends = self.step % self.plan.steps_per_epoch == 0
                self._read_if_due(epoch_ends)
                if epoch_ends:
                    self._end_epoch()
                stopping = self._stops(asked, epoch_ends)
        self._read()
        if self.saved_at != self.step:
            self._save()
        elif self.exported_at != self.step:
            # A kill may have come between the two halves of a save.
            self._export()
        self._flush_events()
        hours = (time.monotonic() - self.started) / 3600
        if self.step < total:
            self._say(
                f"Stopped after {hours:.2f} h at step {self.step} of {total}; the same command "
                f"goes on from there."
            )
        else:
            self._say(f"All {self.plan.epochs} epochs are done; the weights are in {self.folder}.")
        return self.step >= total

    def _stops(self, asked, epoch_ends):
        hours = (time.monotonic() - self.started) / 3600
        wanted = bool(asked) or 0 < self.plan.max_hours <= hours
        if self.alone:
            return wanted
        # All have to stop at the same step; asking at every one would make devices wait.
        return epoch_ends and self.total_of(wanted) > 0

    def _read_if_due(self, epoch_ends):
        waited = time.monotonic() - self.last_read
        # Where several processes train, all have to find a bad loss at the same step.
        if len(self.unread) >= _READ_STEPS or epoch_ends or (self.alone and waited > _READ_SECONDS):
            self._read()
            self._show()

    def _read(self):
        """Takes the losses of the last steps from the device."""
        reported = np.array([r.numpy() for r in self.unread], np.float64)
        for i, values in enumerate(reported):
            # The norm among them tells of gradients that spoil the weights before any loss does.
            if not np.isfinite(values).all():
                step = self.step - len(reported) + i
                self._stop_at(step, "the loss of step {} or its gradient is not a finite number")
            self.sums += values[: len(self.sums)]
        if len(reported):
            self.loss = reported[-1][0]
        self.unread = []
        self.last_read = time.monotonic()

    def _check_weights(self):
        """Stops where the last update made weights that no loss has been taken of yet."""
        weights = [w.value for model in self.models.values() for w in model.weights]
        finite = [tf.reduce_all(tf.math.is_finite(w)) for w in weights]
        if not tf.reduce_all(finite):
            self._stop_at(self.step - 1, "the weights after step {} are not all finite numbers")

    def _flush_events(self):
        if self.chief:
            self.events.flush()

    def _stop_at(self, step, what):
        self._flush_events()
        scenes = {s.decode() for batch in self._batches_of(step) for s in batch["scene"].numpy()}
        which = " or ".join(sorted(scenes))
        raise InputError(
            f"{what.format(f'{step + 1} (scene {which})')}, "
            f"so training has stopped; {self.state.last_good()}. Look at that scene's raw files, "
            f"or go on in a new folder with a lower --learning_rate or with --clip_norm"
        )

    def _batches_of(self, step):
        """The batches that a step sees, one for each replica."""
        replicas = self.strategy.num_replicas_in_sync
        for replica in range(replicas):
            yield from self.dataset_of(start_step=step, steps=1, replica=replica, replicas=replicas)

    def _end_epoch(self):
        plan, epoch = self.plan, self.step // self.plan.steps_per_epoch
        last = epoch == plan.epochs
        self._check_weights()
        losses = dict(zip(training_step.LOSSES, self.sums / plan.steps_per_epoch, strict=True))
        self.sums = np.zeros_like(self.sums)
        if self.chief:
            scores = {}
            if self.validate and _due(plan.validate_every, epoch, last):
                scores = self._score(epoch)
            row = {
                "epoch": epoch,
                "step": self.step,
                "learning_rate": float(self.rate(self.step - 1)),
                **{k: v for k, v in losses.items() if k not in _NOT_REPORTED[self.objective.stage]},
                **scores,
                "seconds": self.trained_before + time.monotonic() - self.started,
            }
            self.history.add(**row)
            for name, value in row.items():
                if name not in ("epoch", "step", "seconds"):
                    self.events.scalar(name, value, self.step)
        if _due(plan.save_every, epoch, last):
            self._save()
        if self.chief and _due(plan.pictures_every, epoch, last):
            self._draw(epoch)

    def _copy_weights(self):
        for name, model in self.plain.models.items() if self.copied else ():
            model.set_weights(self.models[name].get_weights())

    def _score(self, epoch):
        self._copy_weights()
        scores = dict(self.validate(self.plain))
        scored = scores.pop("scored")
        best = run_folder.read_score(self.folder, scored)
        if scores["psnr"] > (-math.inf if best is None else best["psnr"]):
            save_pretrained(self.plain, self.folder / run_folder.BEST)
            run_folder.write_score(
                self.folder, {"epoch": epoch, "step": self.step, "scored": scored, **scores}
            )
        figures = f"PSNR {scores['psnr']:.2f}, SSIM {scores['ssim_range2']:.4f}"
        self._say(f"Epoch {epoch}, validation: {figures}.")
        return {f"val_{name}": value for name, value in scores.items()}

    def _save(self):
        self._check_weights()
        self.saved_step.assign(self.step)
        self.saved_sums.assign(self.sums)
        self.state.save(self.step)
        self.saved_at = self.step
        self._export()

    def _export(self):
        """Writes the weights as the next stage and `load_pretrained` read them."""
        if self.chief:
            self._copy_weights()
            save_pretrained(self.plain, self.folder)
            self._flush_events()
        self.exported_at = self.step

    def _draw(self, epoch):
        """Draws the first burst of the step just taken: input, output, truth, side by side."""
        self._copy_weights()
        batch = next(self._batches_of(self.step - 1))
        scene = batch["scene"].numpy()[0].decode()
        picture = sample_picture(
            self.plain, batch, self.objective.stage, self.camera, self.reference_frame
        )
        path = self.folder / run_folder.PICTURES / f"{epoch:05d}_{scene}.jpg"
        path.parent.mkdir(exist_ok=True)
        jpeg = iio.imwrite(
            "<bytes>",
            pictures.quantised(picture),
            extension=".jpg",
            quality=_PICTURE_QUALITY,
        )
        files.write_whole(path, jpeg)
        self.events.picture("input, output, truth", jpeg, picture.shape, self.step)

    def _show(self):
        """Shows how far training is; the first step, in which it is compiled, tells no speed."""
        if not self.chief:
            return
        total = self.plan.total_steps
        epoch = -(-self.step // self.plan.steps_per_epoch)
        line = f"epoch {epoch}/{self.plan.epochs}, step {self.step}/{total}: loss {self.loss:.5f}"
        if self.running_since is None:
            self.running_since = self.step, time.monotonic()
        else:
            step, started = self.running_since
            done = self.step - step
            speed = done / max(time.monotonic() - started, 1e-9)
            left = progress.time_left(started, done, total - step)
            line += f", {speed:.3g} steps/s, {left}"
        progress.status(line)
        waited = time.monotonic() - self.last_line
        if self.step == total or (waited > _PLAIN_LINE_SECONDS and not sys.stdout.isatty()):
            progress.say(line)
            self.last_line = time.monotonic()

    def _say(self, text):
        if self.chief:
            progress.say(text)


def _due(every, epoch, last):
    return every > 0 and (last or epoch % every == 0)


def sample_picture(enhancer, batch, stage, camera, reference_frame="center"):
    """Input, output and truth of a batch's first burst, side by side.

    Args:
      enhancer: `pretrained.Enhancer`.
      batch: dict as `patches.training_dataset` yields it.
      stage: one of `training_step.STAGES`; the coarse one shows raw, coloured and brightened.
      camera: `cameras.Camera`.
      reference_frame: "first" or "center".

    Returns:
      [rows, 3 * columns, 3] float32 sRGB in 0..1.
    """
    if stage == "coarse":
        frame, truth = batch["frames"][:1], batch["clean_low"][0]
        shown = [raw_colours(x, camera) for x in (frame[0], enhancer.coarse(frame)[0], truth)]
        return np.concatenate(shown, axis=1)
    frames = batch["frames"][: batch["lengths"][0]].numpy()
    reference = frames[reference_index(reference_frame, len(frames))]
    dark = raw_colours(reference, camera).repeat(camera.scale, 0).repeat(camera.scale, 1)
    output = enhancer.enhance(frames, reference_frame=reference_frame)
    return np.concatenate([dark, np.clip(output, 0, 1), batch["truth"][0]], axis=1)


def raw_colours(packed, camera):
    """A packed frame as a picture: each colour's channels averaged, white balance, sRGB curve.

    Args:
      packed: [H, W, C] linear, 0..1.
      camera: `cameras.Camera`.

    Returns:
      [H, W, 3] float32 in 0..1.
    """
    layout = packing.LAYOUTS[camera.mosaic]
    packed = np.clip(np.asarray(packed, np.float32), 0, 1)
    colours = np.array([layout.colours[row][column] for (row, column), *_ in layout.sites])
    rgb = np.stack([packed[..., colours == c].mean(-1) for c in "RGB"], axis=-1)
    linear = np.clip(rgb * np.float32(camera.white_balance), 0, 1)
    return simulate.linear_to_srgb(linear).astype(np.float32)
