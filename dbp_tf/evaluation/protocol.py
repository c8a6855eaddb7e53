"""The published evaluation: every burst is read, restored, written, scored and noted down."""

import dataclasses
import pathlib
import platform
import time
import zlib
from collections.abc import Callable
from concurrent import futures

import numpy as np

from dbp_tf import __version__, files, pictures, progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import metrics, results
from dbp_tf.evaluation.dark_frames import DarkFrames
from dbp_tf.raw import reading, white_balance
from dbp_tf.restore import modes


def picture_path(folder, burst, what="out"):
    """The published name of a picture, `IIIII_00_RRR_out.png`, in a result folder."""
    return pathlib.Path(folder) / f"{burst.name}_{what}.png"


def pictures_of(folder, bursts):
    """{(scene, exposure): path} of the pictures to be restored.

    Raises:
      InputError: two bursts of one scene and ratio would be written under one name.
    """
    paths, owners = {}, {}
    for burst in bursts:
        path = picture_path(folder, burst)
        other = owners.setdefault(path, burst)
        if other is not burst:
            raise InputError(
                f"{other.frames[0].name} and {burst.frames[0].name} are both of ratio "
                f"{int(burst.ratio)}, and their pictures would have one name ({path.name}): move "
                f"one of the bursts to another folder"
            )
        paths[burst.scene, burst.exposure] = path
    return paths


def sample_bursts(folder, camera, n_burst=8):
    """The bundled sample, one burst of eight frames at ratio 100, simulated unless it is there.

    Args:
      folder: of the simulated raw files.
      camera: `cameras.Camera`.
      n_burst: frames of the burst at the most.

    Returns:
      list of one `sid.Burst`; the same seed makes the same files every time.

    Raises:
      InputError: what the simulator needs is not installed.
    """
    from dbp_tf import simulate

    folder = pathlib.Path(folder)
    # The truth is written last.
    if not any(folder.glob(f"long/*{camera.suffix}")):
        for line in simulate.simulate_tree([simulate.SAMPLE], folder, camera, overwrite=True):
            progress.say(f"Simulated {line}.")
    return sid.find_bursts(folder / "short", folder / "long", camera, "test", n_burst)


def settings_of(flags, model):
    """What settings.json holds: flags, versions, and the network with its weights' checksum.

    Args:
      flags: {name: value} as they took effect; paths are made absolute.
      model: what `load_pretrained` returns.
    """
    # Modules that take seconds to import and are needed here for their versions alone.
    import keras
    import rawpy
    import tensorflow as tf

    checksum = 0
    for network in model.models.values():
        for weight in network.weights:
            checksum = zlib.crc32(np.ascontiguousarray(weight.numpy()), checksum)
    return {
        "flags": {name: _as_json(name, value) for name, value in flags.items()},
        "versions": {
            "dbp_tf": __version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "rawpy": rawpy.__version__,
            "libraw": ".".join(map(str, rawpy.libraw_version)),
        },
        "network": {**vars(model.spec), "weights_crc32": f"{checksum:08x}"},
    }


_PATHS = ("short_dir", "long_dir", "result_dir", "checkpoint", "sid_checkpoint")


def _as_json(name, value):
    path = value is not None and name in _PATHS
    return str(pathlib.Path(value).resolve()) if path or isinstance(value, pathlib.Path) else value


def _read_truth(burst, first, camera, common, bits):
    """(truth [rows, columns, 3] uint16 of the common size, its PNG file); (None, None) without.

    It may exceed the mosaic, which has whole periods only.
    """
    if not burst.truth:
        return None, None
    truth = reading.read_truth_16bit(burst.truth, first.offset)
    if truth.shape[:2] != first.visible:
        raise InputError(
            f"{burst.truth} is a picture of {truth.shape[0]} x {truth.shape[1]} pixels, but the "
            f"burst's {first.path.name} is one of {first.visible[0]} x {first.visible[1]}: a truth "
            f"is of its burst's size"
        )
    mosaic = reading.read_raw(burst.truth, camera).mosaic
    sid.check_brightness(burst, first.mosaic, mosaic, min(first.black), first.white)
    truth = truth[: common[0], : common[1]]
    return truth, pictures.png_bytes(truth, bits)


def score(picture, truth, lpips=None):
    """The published figures of one picture.

    Args:
      picture: [rows, columns, 3] float sRGB, not clipped.
      truth: the same size, 0..1.
      lpips: function of two pictures, see `lpips.load_lpips`; None to go without.

    Returns:
      dict of psnr, ssim_range2, ssim_range1 and lpips (None without its graph). LPIPS is that
      of the unclipped picture, as published.
    """
    clipped = np.clip(picture, 0, 1)
    published, unit = metrics.ssim(clipped, truth, data_range=(metrics.PUBLISHED_SSIM_RANGE, 1.0))
    return {
        "psnr": metrics.psnr(clipped, truth, data_range=1),
        "ssim_range2": published,
        "ssim_range1": unit,
        "lpips": lpips(picture, truth) if lpips else None,
    }


def crop_to_common(picture, truth):
    """Both pictures [rows, columns, 3] cut at the bottom and right to what both have."""
    rows, columns = np.minimum(picture.shape[:2], truth.shape[:2])
    return picture[:rows, :columns], truth[:rows, :columns]


@dataclasses.dataclass(frozen=True)
class Work:
    """What is done with every burst.

    Attributes:
      mode: a key of `modes.MODES`.
      reference_frame: "first" or "center".
      lpips: function of two pictures or None.
      bits: of the pictures, 8 or 16.
      figure: drawn of each burst as well, see `figures`; the mode is "burst".
      compute: `precision` and `stripe_columns` of the model's `enhance`.
    """

    mode: str = "burst"
    reference_frame: str = "first"
    lpips: Callable | None = None
    bits: int = 8
    figure: object = None
    compute: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Restored:
    """A burst's picture and its truth, of one size, before they are written and scored."""

    picture: np.ndarray
    truth: np.ndarray | None  # uint16
    truth_file: bytes | None  # PNG
    levels: str
    frames: int
    seconds: float
    looks: object


def _restore(model, burst, frames, camera, work, background):
    """Runs the networks; `background` develops and packs the truth meanwhile."""
    progress.status(f"{burst.name}: reading")
    if burst.truth:
        # It is decoded while the networks work; that it is no raw file is to be known before.
        with reading.open_raw(burst.truth, unpack=False):
            pass
    first = frames.first
    levels = first.levels
    if model.white_balance and first.white_balance is None:
        levels += "; the file notes no white balance: its colours are left as they are"
    rows, columns = first.mosaic.shape
    # The picture's size; with padding it has columns that only a truth can be compared with.
    padded = rows, columns + camera.padded_columns * camera.scale
    truth = background.submit(_read_truth, burst, first, camera, padded, work.bits)
    if work.figure:
        picture, seconds, looks = work.figure.restore(
            model, camera, first, frames, work.reference_frame, **work.compute
        )
    else:
        looks, started = None, time.monotonic()
        picture = modes.restore(
            model, frames, work.mode, work.reference_frame, camera.padded_columns, **work.compute
        )
        seconds = time.monotonic() - started
    truth, truth_file = truth.result()
    rows, columns = (rows, columns) if truth is None else truth.shape[:2]
    picture = picture[:rows, :columns]
    return _Restored(picture, truth, truth_file, levels, len(frames), seconds, looks)


def _finish(restored, burst, folder, work, background):
    """Writes, scores and draws; `background` packs and writes the picture meanwhile."""
    picture, truth = restored.picture, restored.truth
    path = picture_path(folder, burst)
    writing = background.submit(pictures.write_png, path, picture, work.bits)
    if truth is not None:
        truth = reading.as_float(truth)
        files.write_whole(picture_path(folder, burst, "gt"), restored.truth_file)
    figures = dict.fromkeys(("psnr", "ssim_range2", "ssim_range1", "lpips"))
    if burst.scored:
        figures = score(picture, truth, work.lpips)
    writing.result()
    result = results.Result(
        scene=burst.scene,
        exposure=burst.exposure,
        ratio=burst.ratio,
        frames=restored.frames,
        scored=burst.scored,
        **figures,
        seconds=restored.seconds,
    )
    if work.figure:
        work.figure.draw(folder, burst, restored.looks, truth, result)
    return result, restored.levels


def evaluate(model, bursts, camera, folder, done=(), *, keep_going=False, work=None):
    """Restores, writes, scores and notes down bursts, one after another.

    Args:
      model: what `load_pretrained` returns.
      bursts: list of `sid.Burst`.
      camera: `cameras.Camera`.
      folder: a result folder that `results.begin` has prepared.
      done: the `results.Result` list it returned; these bursts are left out.
      keep_going: go on after a burst that cannot be restored.
      work: `Work`, None for its defaults.

    Returns:
      (list of all `results.Result`, those of `done` first; list of sentences, one for each
      burst that could not be restored).

    Raises:
      InputError: a burst cannot be restored, and not `keep_going`.
    """
    work = work or Work()
    rows, failures, levels_said = list(done), [], None
    finished = {row.key for row in done}
    todo = [burst for burst in bursts if (burst.scene, burst.exposure) not in finished]
    if len(todo) < len(bursts):
        progress.say(f"{len(bursts) - len(todo)} of {len(bursts)} bursts are done already.")
    if model.white_balance and todo:
        progress.say(white_balance.describe(model.white_balance))
    started = time.monotonic()
    most_frames = modes.MODES[work.mode].most_frames

    def place(number):
        return f"[{number + len(bursts) - len(todo)}/{len(bursts)}] {todo[number - 1].name}"

    def opened(number, background):
        if number <= len(todo):
            return DarkFrames(
                todo[number - 1], camera, background, most_frames, model.white_balance
            )

    def skip(number, error):
        if not keep_going:
            raise error
        failures.append(str(error))
        progress.say(f"{place(number)} skipped: {error}")

    def finish(number, burst, restored):
        nonlocal levels_said
        row, levels = _finish(restored, burst, folder, work, background)
        if levels != levels_said:
            progress.say(f"Raw levels: {levels}.")
            levels_said = levels
        rows.append(results.append(folder, row))
        left = f"; {progress.time_left(started, number, len(todo))}" if number < len(todo) else ""
        progress.say(f"{place(number)}, {_line(row)}{left}")

    def settle(number, job):
        try:
            job.result()
        except InputError as error:
            skip(number, error)

    # While the networks work on a burst, the one before it is written, scored and noted down, and
    # the next one's first file is read. Leaving waits for that: what was restored is not lost.
    with futures.ThreadPoolExecutor(2) as background, futures.ThreadPoolExecutor(1) as finisher:
        frames, before = opened(1, background), None
        for number, burst in enumerate(todo, 1):
            now, frames = frames, opened(number + 1, background)
            job = failed = None
            try:
                restored = _restore(model, burst, now, camera, work, background)
                job = finisher.submit(finish, number, burst, restored)
            except InputError as error:
                # Its traceback would keep the burst's levels in memory.
                failed = error.with_traceback(None)
            # The finisher alone holds the pictures from here on.
            restored = None
            if before:
                settle(*before)
            if failed:
                skip(number, failed)
            before = (number, job) if job else None
        if before:
            settle(*before)
    results.save_published(folder, rows)
    return rows, failures


def _line(row):
    frames = "1 frame" if row.frames == 1 else f"{row.frames} frames"
    if not row.scored:
        return f"{frames}: not scored, {row.seconds:.1f} s"
    lpips = "" if row.lpips is None else f", LPIPS {row.lpips:.4f}"
    return f"{frames}: PSNR {row.psnr:.2f}, SSIM {row.ssim_range2:.4f}{lpips}, {row.seconds:.1f} s"


def where_to_look(folder, bursts):
    """Where the results are, as lines of text; a few pictures are named one by one."""
    pairs = (picture_path(folder, burst, what) for burst in bursts for what in ("out", "gt"))
    names = [f"  {path}" for path in pairs if path.is_file()] if len(bursts) <= 3 else []
    return "\n".join([f"Pictures and figures are in {folder}/", *names])
