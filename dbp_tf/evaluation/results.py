"""A result folder: metrics.csv row by row, settings.json, results.npy, and the table of averages.

A run that stops at any moment leaves a folder from which `resume` goes on.
"""

import collections
import csv
import dataclasses
import io
import json
import math
import os
import pathlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from dbp_tf import config, files
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation.settings import Settings
from dbp_tf.parameters import parameters

METRICS = "metrics.csv"
SETTINGS = "settings.json"
PUBLISHED = "results.npy"
SAMPLE = "sample"

# A resumed run must have the same values, or one table would mix two experiments.
_FLAGS_THAT_MATTER = tuple(
    name for name, about in parameters(Settings).items() if not about["may_change"]
)
# These matter while the same figure is drawn; a resumed run may draw another one.
_FLAGS_OF_FIGURES = ("box", "sid_checkpoint")
_NETWORK_THAT_MATTERS = ("weights_crc32", "fusion", "noise_map", "depth_to_space")
_DIGITS = 7


@dataclasses.dataclass(frozen=True)
class Result:
    """A row of metrics.csv.

    Attributes:
      scene: five digits.
      exposure: of a dark frame, in seconds.
      ratio: by which the frames were brightened.
      frames: how many the mode looked at.
      scored: whether the row counts in averages; the four scores are None if not.
      psnr: in dB, output clipped, data range 1.
      ssim_range2: scikit-image's default with data range 2, as published; output clipped.
      ssim_range1: the same with data range 1.
      lpips: of the unclipped output; None without its graph.
      seconds: time of the networks and of reading that they waited for, without scoring and
        writing.
    """

    scene: str
    exposure: float
    ratio: float
    frames: int
    scored: bool
    psnr: float | None
    ssim_range2: float | None
    ssim_range1: float | None
    lpips: float | None
    seconds: float

    @property
    def key(self) -> tuple[str, float]:
        """(scene, exposure), by which bursts are told apart."""
        return self.scene, self.exposure


SCORES = ("psnr", "ssim_range2", "ssim_range1", "lpips")
_COLUMNS = [field.name for field in dataclasses.fields(Result)]


def _to_row(result):
    def text(value):
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(int(value))
        return repr(round(value, _DIGITS)) if isinstance(value, float) else str(value)

    return [text(getattr(result, name)) for name in _COLUMNS]


def _from_row(row):
    def number(text):
        return float(text) if text else None

    scene, exposure, ratio, frames, scored, *figures, seconds = row
    if len(figures) != len(SCORES) or scored not in ("0", "1"):
        raise ValueError(row)
    return Result(
        scene,
        float(exposure),
        float(ratio),
        int(frames),
        scored == "1",
        *map(number, figures),
        float(seconds),
    )


def _lines(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def picture_path(folder: str | os.PathLike, burst: sid.Burst, what: str = "out") -> pathlib.Path:
    """The published name of a picture, `IIIII_00_RRR_out.png`, in a result folder."""
    return pathlib.Path(folder) / f"{burst.name}_{what}.png"


def pictures_of(
    folder: str | os.PathLike, bursts: Sequence[sid.Burst]
) -> dict[tuple[str, float], pathlib.Path]:
    """{(scene, exposure): path} of the pictures to be restored.

    Raises:
      InputError: two bursts of one scene and ratio would be written under one name.
    """
    owners: dict[pathlib.Path, sid.Burst] = {}
    for burst in bursts:
        path = picture_path(folder, burst)
        other = owners.setdefault(path, burst)
        if other is not burst:
            raise InputError(
                f"{other.frames[0].name} and {burst.frames[0].name} are both of ratio "
                f"{int(burst.ratio)}, and their pictures would have one name ({path.name}): move "
                f"one of the bursts to another folder"
            )
    return {burst.key: path for path, burst in owners.items()}


def where_to_look(folder: str | os.PathLike, bursts: Sequence[sid.Burst]) -> str:
    """Where the results are, as lines of text; a few pictures are named one by one."""
    pairs = (picture_path(folder, burst, what) for burst in bursts for what in ("out", "gt"))
    names = [f"  {path}" for path in pairs if path.is_file()] if len(bursts) <= 3 else []
    return "\n".join([f"Pictures and figures are in {folder}/", *names])


def check_folder(folder: str | os.PathLike[str], resume: bool) -> None:
    """Raises InputError unless the folder is new, empty or, with `resume`, one to go on with.

    Besides, files can be written there, see `files.check_writable`.
    """
    folder = pathlib.Path(folder)
    files.check_writable(folder)
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # The sample is simulated first: a folder that holds nothing else has no results yet.
    inside -= {SAMPLE}
    # A crash in the middle of `files.write_whole` leaves these.
    inside = {name for name in inside if not (name.startswith(".") and name.endswith(".part"))}
    if inside and not resume:
        go_on = "add --resume to go on with it, or " if SETTINGS in inside else ""
        raise InputError(
            f"--result_dir: {folder} is not empty: {go_on}give a new or an empty folder"
        )
    if inside and SETTINGS not in inside:
        raise InputError(
            f"--resume: {folder} holds no {SETTINGS}, so it is not a folder of results: give "
            f"another --result_dir"
        )


def begin(
    folder: str | os.PathLike[str],
    settings: dict[str, Any],
    pictures: dict[tuple[str, float], pathlib.Path],
    resume: bool = False,
    redo: Collection[tuple[str, float]] = (),
) -> list[Result]:
    """Starts a result folder, which is made if missing, or goes on with one.

    Args:
      folder: of the results.
      settings: the content of settings.json; "flags" and "network" must be as they were.
      pictures: {(scene, exposure): path} of the pictures to restore; a row whose picture is
        missing is dropped, so that the burst is restored again.
      resume: go on with the results that are there.
      redo: {(scene, exposure)} of bursts to restore again, as if their picture were missing.

    Returns:
      The results that need not be done again.

    Raises:
      InputError: see `check_folder`; the settings differ in what matters; metrics.csv has been
        changed by other hands.
    """
    folder = pathlib.Path(folder)
    check_folder(folder, resume)
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    if (folder / SETTINGS).is_file():
        _check_settings(folder, settings)
        rows = {result.key: result for result in read(folder / METRICS) if result.key not in redo}
        done = [r for key, r in rows.items() if key not in pictures or pictures[key].is_file()]
    # Settings are written first: a folder that holds them can be resumed.
    files.write_whole(folder / SETTINGS, json.dumps(settings, indent=2).encode() + b"\n")
    write(folder / METRICS, done)
    return done


def _check_settings(folder, settings):
    before = read_settings(folder)
    flags, network = before["flags"], before["network"]
    same_figure = flags.get("figure") == settings["flags"].get("figure")
    for name in _FLAGS_THAT_MATTER + (_FLAGS_OF_FIGURES if same_figure else ()):
        if flags.get(name) != settings["flags"].get(name):
            before, now = config.shown(flags.get(name), settings["flags"][name])
            raise InputError(
                f"--resume: {folder} was made with --{name} {before}, not {now}: give the same "
                f"flag or another --result_dir"
            )
    # Another version may describe the same weights in other words.
    if any(network.get(name) != settings["network"].get(name) for name in _NETWORK_THAT_MATTERS):
        raise InputError(
            f"--resume: the weights of --checkpoint are not those {folder} was made with: give "
            f"another --result_dir"
        )


def read_settings(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """What settings.json holds under "flags", "network" and "versions".

    Raises:
      InputError: the file has been changed by other hands.
    """
    path = pathlib.Path(folder) / SETTINGS
    try:
        settings = json.loads(path.read_bytes())
        return {part: dict(settings[part]) for part in ("flags", "network", "versions")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be understood ({error!r}): restore it, or evaluate into a new folder"
        ) from None


def write(path: pathlib.Path, results: Iterable[Result]) -> None:
    """Writes a table whole or not at all; of equal bursts and numbers of frames the last."""
    rows = {(*result.key, result.frames): result for result in results}
    files.write_whole(path, _lines([_COLUMNS, *map(_to_row, rows.values())]))


def read(path: pathlib.Path) -> list[Result]:
    """The results in metrics.csv or a table like it; none if there is no such file.

    A last line cut short by a crash is left out.

    Raises:
      InputError: the table has been changed by other hands.
    """
    if not path.is_file():
        return []
    try:
        whole_lines = path.read_text().rpartition("\n")[0]
        header, *rows = csv.reader(io.StringIO(whole_lines))
        if header != _COLUMNS:
            raise ValueError(header)
        return [_from_row(row) for row in rows]
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path} has a line that test_burst.py did not write ({error}): mend it, or "
            f"evaluate into a new folder"
        ) from None


def append(folder: str | os.PathLike[str], result: Result) -> Result:
    """Adds one row to metrics.csv and waits until it is on the disk.

    Returns:
      The result as the file holds it, rounded, so that averages come out the same whether a run
      was stopped in between or not.
    """
    row = _to_row(result)
    path = pathlib.Path(folder) / METRICS
    try:
        with path.open("ab") as file:
            file.write(_lines([row]))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    return _from_row(row)


def published_array(results: Iterable[Result]) -> np.ndarray:
    """[5, N] float32 as the published results.npy: a column for each scored burst.

    Rows: SSIM (data range 2), PSNR, LPIPS (NaN without its graph), ratio, seconds.
    """
    columns = [
        (r.ssim_range2, r.psnr, math.nan if r.lpips is None else r.lpips, r.ratio, r.seconds)
        for r in results
        if r.scored
    ]
    return np.array(columns, np.float32).reshape(-1, 5).T


def save_published(folder: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Writes `published_array` as results.npy."""
    data = io.BytesIO()
    np.save(data, published_array(results))
    files.write_whole(pathlib.Path(folder) / PUBLISHED, data.getvalue())


def groups(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The scored results under "all", "ratio R" and "frames F"; {} if none is scored."""
    scored = [result for result in results if result.scored]
    split = {"all": scored} if scored else {}
    for title, key in (("ratio", lambda r: int(r.ratio)), ("frames", lambda r: r.frames)):
        by_key = collections.defaultdict(list)
        for result in scored:
            by_key[key(result)].append(result)
        split |= {f"{title} {value}": by_key[value] for value in sorted(by_key)}
    return split


def mean(group: Iterable[Result], name: str) -> float | None:
    """The mean of a field over the results that have it; None if none has."""
    values = [value for result in group if (value := getattr(result, name)) is not None]
    return sum(values) / len(values) if values else None


def table(results: Sequence[Result]) -> str:
    """The averages of all scored bursts, by ratio and by number of frames, as lines of text.

    A single burst needs no averages: its figures are one line.
    """
    split = groups(results)
    if not results:
        return "No burst was restored."
    if not split:
        return f"{len(results)} restored, none of them scored (misaligned or no ground truth)."
    if len(results) == 1:
        (row,) = results
        lpips = "" if row.lpips is None else f", LPIPS {row.lpips:.4f}"
        return (
            f"PSNR {row.psnr:.2f} dB, SSIM {row.ssim_range2:.4f} as published (data range 2), "
            f"{row.ssim_range1:.4f} of data range 1{lpips}"
        )
    heads = ("bursts", "PSNR", "SSIM", "SSIM 0..1", "LPIPS", "seconds")
    lines = ["".join([f"{'':<12}", *(f"{head:>11}" for head in heads)])]
    for title, group in split.items():
        line = f"{title:<12}{len(group):>11}"
        for name in (*SCORES, "seconds"):
            value, digits = mean(group, name), 2 if name in ("psnr", "seconds") else 4
            line += f"{'-':>11}" if value is None else f"{value:>11.{digits}f}"
        lines.append(line)
    lines.append("SSIM as published (data range 2); SSIM 0..1 is that of data range 1.")
    unscored = len(results) - len(split["all"])
    if unscored:
        lines.append(f"{unscored} more restored but not scored (misaligned or no ground truth).")
    return "\n".join(lines)
