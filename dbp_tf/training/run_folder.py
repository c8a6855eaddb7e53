"""The folder of a training run: settings, history, state to go on from, weights, pictures.

settings.json     flags, versions, and what a run must keep to when it goes on
history.csv       one row an epoch
state/            model, optimizer and step, for going on (TensorFlow checkpoints)
network.json, model.weights.h5   the weights as `load_pretrained` reads them
best/             those with the best validation figures
pictures/, events/               samples; the same and the curves for TensorBoard
"""

import csv
import io
import json
import math
import os
import pathlib
import shutil

import tensorflow as tf

from dbp_tf import files
from dbp_tf.errors import InputError

SETTINGS = "settings.json"
HISTORY = "history.csv"
STATE = "state"
BEST = "best"
PICTURES = "pictures"
EVENTS = "events"

_LOCK = ".lock"
_SCORE = "score.json"


def open_folder(folder):
    """Makes the folder, checks that it can be written to, and keeps other runs out of it.

    Args:
      folder: made if missing.

    Returns:
      A lock to keep: closing it, or the end of the process, lets other runs in.

    Raises:
      InputError: it cannot be written to, or another run is using it.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / ".probe", b"dbp_tf")
        (folder / ".probe").unlink()
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise InputError(
            f"--checkpoint_dir: {folder} cannot be written to ({error.strerror}): give another "
            f"folder"
        ) from None
    if not _locked(lock):
        raise InputError(
            f"--checkpoint_dir: another run is training in {folder}: wait for it, stop it, or "
            f"give another folder"
        )
    return lock


def check_space(folder, parameters, keep):
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


def _locked(file):
    try:
        import fcntl
    except ImportError:  # Windows has no such locks.
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # Some network file systems have none either.
        pass
    return True


def check_settings(folder, fixed):
    """Raises InputError if the folder holds a run with other settings.

    Args:
      folder: of the run.
      fixed: {flag: value} of all that must stay as it is when a run goes on.
    """
    path = pathlib.Path(folder) / SETTINGS
    if not path.is_file():
        if (path.parent / STATE).exists() or (path.parent / "network.json").exists():
            raise InputError(
                f"--checkpoint_dir: {folder} holds weights but no {SETTINGS}, so no training run "
                f"that could go on: give another folder"
            )
        return
    try:
        before = json.loads(path.read_text())["fixed"]
        before.pop("the family", None)  # Of version 0.1; the stage says it too.
        differing = {k for k in before.keys() | fixed.keys() if before.get(k) != _plain(fixed, k)}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be understood ({error}): give another --checkpoint_dir"
        ) from None
    if differing:
        name = sorted(differing)[0]
        raise InputError(
            f"--checkpoint_dir: {folder} was trained with {name} {before.get(name)}, not "
            f"{fixed.get(name)}: give the same flags to go on, or another folder to start anew"
        )


def _plain(values, key):
    """The value as JSON gives it back: tuples as lists."""
    return json.loads(json.dumps(values.get(key)))


def write_settings(folder, settings):
    """Writes settings.json; `settings["fixed"]` is what `check_settings` compares."""
    files.write_whole(
        pathlib.Path(folder) / SETTINGS, json.dumps(settings, indent=2).encode() + b"\n"
    )


class History:
    """history.csv: a row an epoch, rewritten whole each time.

    Args:
      folder: of the run.
      columns: names, "step" among them.
      step: rows past this step are dropped: they are of work that was lost with a kill.
      write: False only reads.
    """

    def __init__(self, folder, columns, step, write=True):
        self.path = pathlib.Path(folder) / HISTORY
        self.columns = columns
        self.rows = []
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

    def add(self, **row):
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
    """What a run goes on from, in `state/`.

    A checkpoint counts from the moment the file `checkpoint` names it, which is replaced in
    one step: whatever a kill leaves half-written is not looked at, and is removed at the next
    start.

    Args:
      folder: of the run.
      variables: {name: list of `tf.Variable`}.
      keep: how many checkpoints to keep.
      chief: whether this process writes; the others only read.
    """

    def __init__(self, folder, variables, keep, chief=True):
        self.folder = pathlib.Path(folder) / STATE
        self.chief = chief
        if chief:
            self._sweep()
        self._checkpoint = tf.train.Checkpoint(
            **{name: list(values) for name, values in variables.items()}
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, os.fspath(self.folder), max_to_keep=keep
        )

    @property
    def latest(self):
        """Path of the last good checkpoint, or None."""
        if self.chief:
            return self._manager.latest_checkpoint
        # The manager only knows what it saved itself.
        return tf.train.latest_checkpoint(os.fspath(self.folder))

    def restore(self):
        """Fills the variables from the last good checkpoint, if there is one.

        Raises:
          InputError: it is damaged or of another network.
        """
        if self.latest is None:
            return
        try:
            self._checkpoint.restore(self.latest).assert_consumed()
        except (tf.errors.OpError, ValueError, AssertionError) as error:
            raise InputError(
                f"the checkpoint {self.latest} is damaged or of another network "
                f"({str(error).splitlines()[0]}): remove it from {self.folder / 'checkpoint'}, or "
                f"give another --checkpoint_dir"
            ) from None

    def save(self, step):
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
                f"({str(error).splitlines()[0]}); {self.last_good()}"
            ) from None

    def last_good(self):
        """Where the last good checkpoint is, for error messages."""
        return (
            f"the last good checkpoint is {self.latest}" if self.latest else "nothing was saved yet"
        )

    def _sweep(self):
        known = tf.train.get_checkpoint_state(os.fspath(self.folder))
        named = {pathlib.Path(p).name for p in known.all_model_checkpoint_paths} if known else set()
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            if path.name == "checkpoint" or path.name.split(".")[0] in named:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_score(folder, scored):
    """The validation figures of the weights in best/.

    Args:
      folder: of the run.
      scored: what is scored now, see `validation.validate`.

    Returns:
      dict as given to `write_score`; None where there are no figures, or none of that.
    """
    path = pathlib.Path(folder) / BEST / _SCORE
    try:
        score = json.loads(path.read_text())
        comparable = not math.isnan(score["psnr"]) and score["scored"] == scored
        return score if comparable else None
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None


def write_score(folder, score):
    """Notes the validation figures of the weights in best/."""
    files.write_whole(
        pathlib.Path(folder) / BEST / _SCORE, json.dumps(score, indent=2).encode() + b"\n"
    )


class Events:
    """Curves and pictures for TensorBoard, written to events/ without needing it installed.

    After a kill, steps that are taken again are there twice: `tf.summary` cannot take back what
    it wrote. history.csv has each once.
    """

    def __init__(self, folder):
        self._writer = tf.summary.create_file_writer(os.fspath(pathlib.Path(folder) / EVENTS))

    def scalar(self, name, value, step):
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
            data_class=1,
        )
        with self._writer.as_default():
            tf.summary.write(name, tf.constant(value, tf.float32), step, metadata)

    def picture(self, name, encoded, shape, step):
        """`encoded` are a PNG's or JPEG's bytes, `shape` the picture's (rows, columns, ...)."""
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="images"),
            data_class=3,
        )
        size = [str(shape[1]).encode(), str(shape[0]).encode()]
        with self._writer.as_default():
            tf.summary.write(name, tf.constant([*size, encoded]), step, metadata)

    def flush(self):
        self._writer.flush()
