"""The published evaluation: every burst is read, restored, written, scored and noted down.

`evaluate` takes one burst after another; the methods of `_Evaluation` are the steps of each.
"""

import contextlib
import dataclasses
import os
import pathlib
import platform
import re
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, Any

import numpy as np

from dbp_tf import __version__, files, pictures, progress
from dbp_tf.data import checks, sid
from dbp_tf.errors import InputError, sentence
from dbp_tf.evaluation import looks, metrics, overlap, results
from dbp_tf.evaluation.dark_frames import DarkFrames
from dbp_tf.raw import cameras, reading, white_balance
from dbp_tf.restore import modes

if TYPE_CHECKING:  # TensorFlow takes seconds to import.
    from dbp_tf.restore.enhancer import Enhancer


def sample_bursts(
    folder: str | os.PathLike, camera: cameras.Camera, n_burst: int = 8
) -> list[sid.Burst]:
    """The bundled sample, one burst of eight frames at ratio 100, simulated unless it is there.

    Args:
      folder: of the simulated raw files; they are the same every time.
      camera: of the files.
      n_burst: frames of the burst at the most.

    Raises:
      InputError: a package that the simulator needs is not installed.
    """
    from dbp_tf import simulate

    folder = pathlib.Path(folder)
    # The long exposure is written last.
    if not any(folder.glob(f"long/*{camera.suffix}")):
        for line in simulate.simulate_tree([simulate.SAMPLE], folder, camera, overwrite=True):
            progress.say(f"Simulated {line}.")
    return sid.find_bursts(folder / "short", folder / "long", camera, "test", n_burst)


def settings_of(flags: dict[str, Any], model: "Enhancer") -> dict[str, Any]:
    """The content of settings.json: flags, versions, and the network with its weights' checksum.

    The flags are {name: value} as they took effect, see `config.as_json`.
    """
    checksum = 0
    for network in model.models.values():
        for weight in network.weights:
            checksum = zlib.crc32(weight.numpy().tobytes(), checksum)
    return {
        "flags": flags,
        "versions": versions(),
        "network": {**vars(model.spec), "weights_crc32": f"{checksum:08x}"},
    }


def versions() -> dict[str, str]:
    """{package: version} of all that results may depend on."""
    # Modules that take seconds to import and are needed here for their versions alone.
    import keras
    import rawpy
    import tensorflow as tf

    return {
        "dbp_tf": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "rawpy": rawpy.__version__,
        "libraw": ".".join(map(str, rawpy.libraw_version)),
    }


@dataclasses.dataclass(frozen=True)
class Work:
    """How every burst is restored, and which files are made of it.

    Attributes:
      mode: a key of `modes.MODES`.
      reference_frame: "first" or "center"; None for that of the weights.
      lpips: function of two pictures or None.
      bits: of the pictures, 8 or 16.
      figure: drawn of each burst as well, see `figures`; the mode is "burst".
      compute: `stripe_columns` of the model's `enhance`, if it is not the default.
    """

    mode: str = "burst"
    reference_frame: str | None = None
    lpips: Callable | None = None
    bits: int = 8
    figure: Any = None
    compute: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Restored:
    """A burst's picture and its ground truth, of one size, before they are written and scored.

    Attributes:
      picture: [rows, columns, 3] float32, not clipped.
      truth: None without a long exposure.
      levels: black and white level and where they come from, for the log.
      notes: sentences about oddities of the files.
      frames: how many the picture is made of.
      seconds: see `results.Result`.
      looks: other pictures of the burst, for its figure; see `looks`.
    """

    picture: np.ndarray
    truth: "Truth | None"
    levels: str
    notes: tuple[str, ...]
    frames: int
    seconds: float
    looks: Any


@dataclasses.dataclass(frozen=True)
class Truth:
    """A ground truth: [rows, columns, 3] uint16, and the content of its PNG file."""

    picture: np.ndarray
    png: bytes


def evaluate(
    model: "Enhancer",
    bursts: list[sid.Burst],
    camera: cameras.Camera,
    folder: str | os.PathLike,
    done: Sequence[results.Result] = (),
    *,
    keep_going: bool = False,
    work: Work | None = None,
) -> tuple[list[results.Result], list[str]]:
    """Restores, writes, scores, draws and notes down bursts, one after another.

    Args:
      model: it fits the camera and the mode.
      bursts: of the dataset.
      camera: of their files.
      folder: a result folder that `results.begin` has prepared.
      done: results that `results.begin` returned; their bursts are left out.
      keep_going: go on after a burst that cannot be restored.
      work: None for its defaults.

    Returns:
      (all results, those of `done` first; a sentence for each burst that could not be restored).

    Raises:
      InputError: a burst cannot be restored, and not `keep_going`.
    """
    log = _Log(folder, bursts, done, keep_going)
    if model.white_balance and log.todo:
        progress.say(white_balance.describe(model.white_balance))
    # While the networks work on a burst, the first file of the next one is read, and the previous
    # one is written, scored, drawn and noted down.
    with futures.ThreadPoolExecutor(2) as background, overlap.Behind() as behind:
        evaluation = _Evaluation(model, camera, folder, work or Work(), log, background)
        for burst, frames in overlap.opened_ahead(log.todo, evaluation.opened):
            with log.skipping(burst, after=behind):
                # `Restored` gets no name here: it would stay in memory with the next burst's.
                behind.start(evaluation.finish, burst, evaluation.restored(burst, frames))
    results.save_published(folder, log.rows)
    return log.rows, log.failures


class _Evaluation:
    """The steps of a burst, in the order of its methods.

    `opened` and `restored` run before `finish`, which runs while the next burst is restored. The
    threads of `background` read and write files.
    """

    def __init__(self, model, camera, folder, work, log, background):
        self._model, self._camera, self._folder = model, camera, folder
        self._work, self._log, self._background = work, log, background

    def opened(self, burst):
        """The dark frames of a burst, whose first file is read from now on."""
        most = modes.MODES[self._work.mode].most_frames
        trained = self._model.white_balance
        return DarkFrames(burst, self._camera, self._background, most, trained)

    def restored(self, burst, frames):
        """Runs the networks, by `looks.make`; meanwhile the ground truth is developed to a PNG."""
        progress.status(f"{burst.name}: reading")
        if burst.truth:
            # A file that is not raw is refused before the networks run.
            with reading.open_raw(burst.truth, unpack=False):
                pass
        first, camera = frames.first, self._camera
        notes = first.notes
        if self._model.white_balance and first.white_balance is None:
            notes += ("the file notes no white balance: its colours are left as they are",)
        reading_truth = self._background.submit(self._truth, burst, first)
        picture, seconds, shown = looks.make(
            self._work.figure,
            self._model,
            frames,
            self._work.mode,
            reference_frame=self._work.reference_frame,
            padded_columns=camera.padded_columns,
            **self._work.compute,
        )
        truth = reading_truth.result()
        rows, columns = truth.picture.shape[:2] if truth else first.mosaic.shape
        picture, notes = picture[:rows, :columns], notes + tuple(frames.notes)
        return Restored(picture, truth, first.levels, notes, len(frames), seconds, shown)

    def _truth(self, burst, first):
        """The `Truth` of a burst, no larger than the picture will be; None without."""
        if not burst.truth:
            return None
        picture = reading.read_truth_16bit(burst.truth, first.offset)
        if picture.shape[:2] != first.visible:
            raise InputError(
                f"{burst.truth} is a picture of {picture.shape[0]} x {picture.shape[1]} pixels, "
                f"but the burst's {first.path.name} is one of {first.visible[0]} x "
                f"{first.visible[1]}: a ground truth is of its burst's size"
            )
        mosaic = reading.read_raw(burst.truth, self._camera).mosaic
        checks.check_brightness(burst, first.mosaic, mosaic, min(first.black), first.white)
        # The mosaic has whole periods only; a ground truth and, with padding, a picture have more.
        rows, columns = first.mosaic.shape
        padded = self._camera.padded_columns * self._camera.scale
        picture = picture[:rows, : columns + padded]
        return Truth(picture, pictures.png_bytes(picture, self._work.bits))

    def finish(self, burst, restored):
        """Writes a burst's pictures, scores them, draws its figure, notes its row down."""
        with self._log.skipping(burst):
            writing = self._background.submit(self._write, burst, restored)
            truth = restored.truth and reading.as_float(restored.truth.picture)
            row = self._row(burst, restored, truth)
            writing.result()
            if self._work.figure:
                self._work.figure.draw(self._folder, burst, restored.looks, truth, row)
            self._log.note(burst, row, restored)

    def _write(self, burst, restored):
        pictures.write_png(
            results.picture_path(self._folder, burst), restored.picture, self._work.bits
        )
        if restored.truth:
            files.write_whole(results.picture_path(self._folder, burst, "gt"), restored.truth.png)

    def _row(self, burst, restored, truth):
        """The burst's row of metrics.csv. A burst that counts in no average has no scores."""
        scores = dict.fromkeys(results.SCORES)
        if burst.scored and truth is not None:
            scores = metrics.score(restored.picture, truth, self._work.lpips)
        return results.Result(
            scene=burst.scene,
            exposure=burst.exposure,
            ratio=burst.ratio,
            frames=restored.frames,
            scored=burst.scored,
            **scores,
            seconds=restored.seconds,
        )


class _Log:
    """The bursts to do, their results and failures, and the line that is said of each."""

    def __init__(self, folder, bursts, done, keep_going):
        self.rows, self.failures = list(done), []
        finished = {row.key for row in done}
        self.todo = [burst for burst in bursts if burst.key not in finished]
        self._folder, self._total, self._keep_going = folder, len(bursts), keep_going
        self._started, self._levels, self._kinds = time.monotonic(), None, set()
        if len(self.todo) < self._total:
            progress.say(
                f"{self._total - len(self.todo)} of {self._total} bursts are done already."
            )

    def note(self, burst, row, restored):
        """Adds a row to metrics.csv and says it; levels where they change, notes once a kind."""
        if restored.levels != self._levels:
            progress.say(f"Raw levels: {restored.levels}.")
            self._levels = restored.levels
        for note in restored.notes:
            kind = re.sub(r"[\d.]+", "", note)
            if kind not in self._kinds:
                progress.say(f"note: {burst.frames[0].name}: {note}")
                self._kinds.add(kind)
        self.rows.append(results.append(self._folder, row))
        number, left = self.todo.index(burst) + 1, ""
        if number < len(self.todo):
            left = f"; {progress.time_left(self._started, number, len(self.todo))}"
        progress.say(f"{self._place(burst)}, {_line(row)}{left}")

    @contextlib.contextmanager
    def skipping(self, burst, after=None):
        """Notes a burst that cannot be restored and goes on, if `keep_going`.

        The job before it, in `after`, is finished first.
        """
        try:
            yield
        except (InputError, UnicodeEncodeError) as error:
            if after:
                after.wait()
            if not self._keep_going:
                raise
            self.failures.append(sentence(error))
            progress.say(f"{self._place(burst)} skipped: {sentence(error)}")

    def _place(self, burst):
        number = self._total - len(self.todo) + self.todo.index(burst) + 1
        return f"[{number}/{self._total}] {burst.name}"


def _line(row):
    frames = progress.plural(row.frames, "frame")
    if not row.scored:
        return f"{frames}: not scored, {row.seconds:.1f} s"
    lpips = "" if row.lpips is None else f", LPIPS {row.lpips:.4f}"
    return f"{frames}: PSNR {row.psnr:.2f}, SSIM {row.ssim_range2:.4f}{lpips}, {row.seconds:.1f} s"
