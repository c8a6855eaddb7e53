"""The folder of a training run: settings, history, state to go on from, weights, pictures.

settings.json     parameters, versions, and facts that a run must keep to when it goes on
history.csv       one row an epoch
state/            model, optimizer and step, for going on (TensorFlow checkpoints)
network.json, model.weights.h5   the weights as `load_pretrained` reads them
best/             those with the best validation figures
pictures/, events/               samples; the same and the curves for TensorBoard
"""

import contextlib
import csv
import io
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import imageio.v3 as iio
import numpy as np
import tensorflow as tf

from dbp_tf import config, files, pictures
from dbp_tf.errors import InputError, first_line
from dbp_tf.restore.enhancer import Enhancer
from dbp_tf.restore.pretrained import save_pretrained

SETTINGS = "settings.json"
HISTORY = "history.csv"
STATE = "state"
BEST = "best"
PICTURES = "pictures"
EVENTS = "events"

_LOCK = ".lock"
_SCORE = "score.json"
_PICTURE_QUALITY = 92


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it.

    Raises:
      InputError: it cannot be written to, or another run is using it.
    """
    files.check_writable(folder, "--checkpoint_dir")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        if not _is_mine(lock):
            raise InputError(
                f"--checkpoint_dir: another run is training in {folder}: wait for it, stop it, or "
                f"give another folder"
            )
        yield


def _is_mine(lock):
    try:
        import fcntl
    except ImportError:  # Windows has no such locks.
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # Some network file systems have none either.
        pass
    return True


def check_space(folder: str | os.PathLike, parameters: int, keep: int) -> None:
    """Raises InputError if the disk has less space left than a run will need.

    Args:
      folder: of the run; it is there.
      parameters: how many float32 numbers the networks consist of.
      keep: checkpoints that are kept.
    """
    # A checkpoint has the weights and Adam's two averages of each, and the new one is written
    # before the oldest goes; the weights alone are there twice, as the last and the best.
    needed_bytes = 4 * parameters * (3 * (keep + 1) + 2)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise InputError(
            f"--checkpoint_dir: {folder} has {free / 1e9:.1f} GB left and training needs "
            f"{needed_bytes / 1e9:.1f} GB: make room, keep fewer checkpoints (--keep), or give "
            f"another folder"
        )


class Settings:
    """settings.json of a run, as the run before has left it.

    Args:
      folder: of the run; it need not be there.

    Raises:
      InputError: the file is damaged, or missing beside weights.
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = pathlib.Path(folder) / SETTINGS
        self._before: dict[str, Any] | None = None
        if self.path.is_file():
            try:
                self._before = _flattened(json.loads(self.path.read_text()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{self.path} cannot be understood ({error}): give another --checkpoint_dir"
                ) from None
        elif (self.path.parent / STATE).exists() or (self.path.parent / "network.json").exists():
            raise InputError(
                f"--checkpoint_dir: {folder} holds weights but no {SETTINGS}, so no training run "
                f"that could go on: give another folder"
            )

    def check(self, now: dict[str, Any], defaults: dict[str, Any]) -> None:
        """Refuses to go on with other settings than before.

        Args:
          now: {name: value} of all that must stay as it is.
          defaults: {name: value} of parameters that a run of an older version does not know.

        Raises:
          InputError: a value differs.
        """
        if self._before is None:
            return
        folder = self.path.parent
        before = {**defaults, **self._before}
        if before.get("stage") != now.get("stage"):
            raise InputError(
                f"--checkpoint_dir: {folder} is the folder of a {before.get('stage')} run, but "
                f"train_{now['stage']}.py trains the {now['stage']} stage: give another folder"
            )
        for name, value in json.loads(json.dumps(now)).items():
            if name in before and before[name] != value:
                flag = f"--{name}" if name in defaults else name.replace("_", " ")
                one, other = config.shown(before[name], value)
                raise InputError(
                    f"--checkpoint_dir: {folder} was trained with {flag} {one}, not {other}: give "
                    f"the same flags to go on, or another folder to start anew"
                )

    def scheduled_epochs(self, epochs: int) -> int:
        """Epochs over which the learning rate falls: the number that the run began with."""
        if self._before and (self.path.parent / STATE / "checkpoint").exists():
            return self._before["scheduled_epochs"]
        return epochs

    def write(self, **content: dict[str, Any]) -> None:
        """Writes settings.json.

        Args:
          **content: "parameters", see `config.as_json`; "run", what else must stay as it is and
            "scheduled_epochs"; "network", the fields of the `NetworkSpec`; "versions".
        """
        files.write_whole(self.path, json.dumps(content, indent=2).encode() + b"\n")


def _flattened(content):
    """{name: value} of settings.json, also of version 0.1, which called them by their flags."""
    if "parameters" in content:
        return {**content["network"], **content["parameters"], **content["run"]}
    named = {
        name.removeprefix("--").removeprefix("the ").replace(" ", "_"): value
        for name, value in content["fixed"].items()
    }
    # The family has got another name, which the stage says too.
    named.pop("family", None)
    channels = None if named["loss"] == "l1" else "rgb"
    unsaid = {"shuffle": True, "vgg_channels": channels, "white_balance": "none"}
    return named | unsaid | {"scheduled_epochs": content["flags"]["epochs"]}


class History:
    """history.csv: a row an epoch, rewritten whole each time.

    Args:
      folder: of the run.
      columns: names, "step" among them.
      step: rows past this step are dropped: they are of work that was lost with a kill.
      write: False only reads.
    """

    def __init__(
        self, folder: str | os.PathLike, columns: Sequence[str], step: int, write: bool = True
    ):
        self.path = pathlib.Path(folder) / HISTORY
        self.columns = columns
        self.rows: list[dict[str, str]] = []
        if self.path.is_file():
            header, *rows = [*csv.reader(io.StringIO(self.path.read_text()))] or [[]]
            if header != list(columns) or any(len(row) != len(columns) for row in rows):
                raise InputError(
                    f"{self.path} is not as training wrote it: mend it or move it away"
                )
            rows = [dict(zip(columns, row, strict=True)) for row in rows]
            self.rows = [row for row in rows if int(row["step"]) <= step]
            if write:
                self._write()

    def add(self, **row: Any) -> None:
        """Adds a row; floats are written with 7 digits, None as nothing."""
        self.rows.append({name: _text(row.get(name)) for name in self.columns})
        self._write()

    def _write(self):
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        files.write_whole(self.path, text.getvalue().encode())


def _text(value):
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


class State:
    """The saved state from which a run goes on, in `state/`.

    A checkpoint counts from the moment the file `checkpoint` names it, which is replaced in
    one step. Files that a kill leaves half-written are ignored, and removed at the next start.

    Args:
      folder: of the run.
      variables: {name: list of `tf.Variable`}.
      keep: how many checkpoints to keep.
      chief: whether this process writes; the others only read.

    Raises:
      InputError: checkpoints were saved, but the file that names them is lost or damaged.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        variables: dict[str, list[tf.Variable]],
        keep: int,
        chief: bool = True,
    ):
        self.folder = pathlib.Path(folder) / STATE
        self.chief = chief
        # TensorFlow takes brackets in names for patterns and finds nothing.
        self._path = os.path.join(files.plain_alias(os.fspath(folder)), STATE)
        known = tf.train.get_checkpoint_state(self._path)
        if known is None and (
            (self.folder / "checkpoint").exists() or (self.folder.parent / "network.json").exists()
        ):
            raise InputError(
                f"--checkpoint_dir: {self.folder / 'checkpoint'}, which names the saved states, is "
                f"lost or damaged: copy it back from a backup, or give another folder"
            )
        if chief and known:
            self._sweep({pathlib.Path(path).name for path in known.all_model_checkpoint_paths})
        self._checkpoint = tf.train.Checkpoint(**variables)
        self._manager = tf.train.CheckpointManager(self._checkpoint, self._path, max_to_keep=keep)

    @property
    def latest(self) -> pathlib.Path | None:
        """Path of the last good checkpoint, or None."""
        # The manager only knows what it saved itself, but still does when the disk is gone.
        known = self._manager if self.chief else tf.train.get_checkpoint_state(self._path)
        path = known and (known.latest_checkpoint if self.chief else known.model_checkpoint_path)
        return self.folder / pathlib.Path(path).name if path else None

    def restore(self) -> None:
        """Fills the variables from the last good checkpoint, if there is one.

        Raises:
          InputError: it is damaged or of another network.
        """
        if self.latest is None:
            return
        try:
            path = os.path.join(self._path, self.latest.name)
            self._checkpoint.restore(path).assert_consumed()
        except (tf.errors.OpError, ValueError, AssertionError) as error:
            raise InputError(
                f"the checkpoint {self.latest} is damaged or of another network "
                f"({first_line(error)}): copy it back from a backup, name an older one in "
                f"{self.folder / 'checkpoint'}, or give another --checkpoint_dir"
            ) from None

    def save(self, step: int) -> None:
        """Writes a checkpoint.

        Raises:
          InputError: there is no room, or no permission any more.
        """
        if not self.chief:
            return
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            raise InputError(
                f"step {step} could not be saved to {self.folder} "
                f"({first_line(error)}); {self.last_good()}"
            ) from None

    def last_good(self) -> str:
        """Where the last good checkpoint is, for error messages."""
        return (
            f"the last good checkpoint is {self.latest}" if self.latest else "nothing was saved yet"
        )

    def _sweep(self, named):
        for path in self.folder.iterdir():
            if path.name == "checkpoint" or path.name.split(".")[0] in named:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def best_score(folder: str | os.PathLike, scored: str) -> dict[str, Any] | None:
    """The figures of the weights in best/; None if there are none, or of other frames.

    Args:
      folder: of the run.
      scored: the frames that are scored, see `validation.validate`.
    """
    try:
        score = json.loads((pathlib.Path(folder) / BEST / _SCORE).read_text())
        comparable = not math.isnan(score["psnr"]) and score["scored"] == scored
        return score if comparable else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class Events:
    """Curves and pictures for TensorBoard, written to events/ without needing it installed.

    After a kill, repeated steps appear twice, as `tf.summary` cannot delete what it wrote.
    history.csv has each once.
    """

    def __init__(self, folder: str | os.PathLike):
        self._writer = tf.summary.create_file_writer(
            os.path.join(files.plain_alias(os.fspath(folder)), EVENTS)
        )

    def scalar(self, name: str, value: float, step: int) -> None:
        self._write(name, tf.constant(value, tf.float32), step, "scalars", 1)

    def picture(self, name: str, encoded: bytes, shape: Sequence[int], step: int) -> None:
        """`encoded` are a PNG's or JPEG's bytes, `shape` the picture's (rows, columns, ...)."""
        size = [str(shape[1]).encode(), str(shape[0]).encode()]
        self._write(name, tf.constant([*size, encoded]), step, "images", 3)

    def _write(self, name, value, step, plugin, data_class):
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=plugin),
            data_class=data_class,
        )
        with self._writer.as_default():
            tf.summary.write(name, value, step, metadata)

    def flush(self) -> None:
        self._writer.flush()


class RunFolder:
    """All that a run writes while it trains. Processes that are not the chief only read.

    Args:
      folder: of the run.
      variables: {name: list of `tf.Variable`} to save and to go on from.
      sums: length of the list of sums that is saved with them, see `save`.
      columns: of history.csv, see `History`.
      keep: how many checkpoints to keep.
      chief: whether this process writes.

    Attributes:
      step: of the last checkpoint; the variables are filled from it.
      sums: the sums saved with it.
      seconds_before: seconds of training before that step.

    Raises:
      InputError: a file is damaged or of another network.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        variables: dict[str, list[tf.Variable]],
        *,
        sums: int,
        columns: Sequence[str],
        keep: int,
        chief: bool = True,
    ):
        self.folder, self.chief = pathlib.Path(folder), chief
        self._step = tf.Variable(0, dtype=tf.int64)
        self._sums = tf.Variable(tf.zeros(sums, tf.float64))
        saved = {**variables, "step": [self._step], "sums": [self._sums]}
        self.state = State(folder, saved, keep, chief)
        self.state.restore()
        self.step, self.sums = int(self._step), self._sums.numpy()
        self.history = History(folder, columns, self.step, write=chief)
        self.seconds_before = float(self.history.rows[-1]["seconds"]) if self.history.rows else 0.0
        self._events = Events(folder) if chief else None

    def save(self, step: int, sums: np.ndarray, enhancer: Enhancer) -> None:
        """Saves the variables, the step and the sums, then the weights for the next stage."""
        self._step.assign(step)
        self._sums.assign(sums)
        self.state.save(step)
        self.step = step
        self._export(enhancer)

    def finish(self, step: int, sums: np.ndarray, enhancer: Enhancer) -> None:
        """Saves the state unless it is saved, and the weights: a kill may come between the two."""
        if self.step != step:
            self.save(step, sums, enhancer)
        else:
            self._export(enhancer)

    def _export(self, enhancer):
        """Writes the weights as the next stage and `load_pretrained` read them."""
        if self.chief:
            save_pretrained(enhancer, self.folder)
            self.flush()

    def offer(self, enhancer: Enhancer, score: dict[str, Any]) -> None:
        """Keeps the weights in best/ if their validation PSNR is the highest so far.

        Args:
          enhancer: of the weights.
          score: figures, "psnr" and "scored" at least, for score.json.
        """
        best, folder = best_score(self.folder, score["scored"]), self.folder / BEST
        if score["psnr"] > (best["psnr"] if best else -math.inf):
            save_pretrained(enhancer, folder)
            files.write_whole(folder / _SCORE, json.dumps(score, indent=2).encode() + b"\n")

    def add_row(self, **row: Any) -> None:
        """Adds an epoch to history.csv and to the curves."""
        if self._events:
            self.history.add(**row)
            for name in row.keys() - {"epoch", "step", "seconds"}:
                self._events.scalar(name, row[name], row["step"])

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """Writes pictures/NAME.jpg of a float picture in 0..1, and shows it in TensorBoard."""
        if not self._events:
            return
        path = self.folder / PICTURES / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        jpeg = iio.imwrite(
            "<bytes>", pictures.quantised(picture), extension=".jpg", quality=_PICTURE_QUALITY
        )
        files.write_whole(path, jpeg)
        self._events.picture("input, output, truth", jpeg, np.shape(picture), step)

    def flush(self) -> None:
        """Writes the curves that are still in memory."""
        if self._events:
            self._events.flush()
