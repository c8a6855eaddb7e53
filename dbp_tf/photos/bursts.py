"""Bursts of your own raw files: which belong together, and in which order.

No dataset's names are needed: files are listed, lie in folders, or are told apart by the pauses
between their capture times.
"""

import dataclasses
import datetime
import math
import os
import pathlib
import re
from collections.abc import Sequence

from dbp_tf.errors import InputError
from dbp_tf.raw import exif, reading

_FINISHED_SUFFIXES = frozenset(".jpg .jpeg .png .heic .heif .tif .tiff .webp .avif".split())

# By how much exposures may differ that were meant to be equal: cameras round what they note.
_SAME_EXPOSURE = 1.02

# A pause in a folder's frames that makes one ask whether they are one burst.
_LONG_PAUSE = datetime.timedelta(seconds=60)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A raw file and how it was taken."""

    path: pathlib.Path
    shot: exif.Shot


@dataclasses.dataclass(frozen=True)
class Burst:
    """Raw files that show one scene.

    Attributes:
      name: of the picture to be written.
      frames: `Frame`s in the order in which they were taken.
    """

    name: str
    frames: tuple[Frame, ...]


def find_bursts(
    names: Sequence[str | os.PathLike], gap: float | None = None, *, problems: list | None = None
) -> list[Burst]:
    """The bursts that files and folders make up.

    Args:
      names: files and folders. All files that are named are one burst; the raw files of a folder
        are another, and those of each folder in it one more.
      gap: seconds; a pause between two frames, from the end of one to the start of the next, that
        is longer begins a new burst. None: the files of a folder are one burst.
      problems: list that gets a sentence for each file without the capture time that `gap` needs,
        which is then left out; None to raise the first of them.

    Returns:
      list of `Burst`. Frames are ordered by capture time if all of a group's files tell it, else
      by name, where numbers count as numbers.

    Raises:
      InputError: a file or folder is missing, there are no raw files, or two bursts would have one
        name; without `problems` also: a capture time is missing for `gap`.
    """
    bursts = []
    groups = _groups([pathlib.Path(name) for name in names])
    for folder, paths in groups:
        frames = in_order([Frame(path, exif.read_shot(path)) for path in paths])
        for group in [frames] if gap is None else _by_pauses(frames, gap, problems):
            name = group[0].path.stem
            if folder is not None and gap is None:
                name = folder
            elif folder is not None and len(groups) > 1:
                name = f"{folder}_{name}"
            bursts.append(Burst(name, tuple(group)))
    first_of = {}
    for burst in bursts:
        other = first_of.setdefault(burst.name.lower(), burst)
        if other is not burst:
            raise InputError(
                f"the bursts of {other.frames[0].path} and {burst.frames[0].path} would both be "
                f"written as {burst.name}: rename one of them"
            )
    return bursts


def _groups(paths):
    """[(name of the folder or None for files that were named, raw files)], without empty ones."""
    if not paths:
        raise InputError(
            "no raw files are named: give those of a burst, such as IMG_1.dng IMG_2.dng, or a "
            "folder of them"
        )
    files, groups = [], []
    for path in paths:
        if path.is_dir():
            groups += _folders(path)
        elif not path.is_file():
            raise InputError(f"there is no file or folder {path}")
        elif path in files:
            raise InputError(f"{path} is named twice: name each file once")
        else:
            files.append(path)
    return ([(None, files)] if files else []) + groups


def _folders(folder):
    """[(name of the folder, its raw files)] of a folder and of those in it, without empty ones."""
    inside = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    # The name of "." is that of the folder it stands for.
    groups = [(folder.resolve().name, _raw_files(folder))]
    groups += [(one.name, _raw_files(one)) for one in inside]
    groups = [(name, paths) for name, paths in groups if paths]
    if not groups:
        finished = [p.name for p in folder.iterdir() if p.suffix.lower() in _FINISHED_SUFFIXES]
        also = ""
        if finished:
            also = (
                f"; pictures such as {min(finished)} are finished, and what the dark held is lost "
                f"in them"
            )
        raise InputError(f"{folder} holds no raw files, nor does a folder in it{also}")
    return groups


def _raw_files(folder):
    # Files that start with a dot are other programs' notes, such as macOS's "._IMG_1.DNG".
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in reading.RAW_SUFFIXES and path.is_file() and path.name[0] != "."
    ]


def in_order(frames):
    """`Frame`s by capture time if all tell it, else by name with its numbers as numbers.

    Parts of a second count only if all frames tell them. Frames of one time go by name.
    """

    def by_name(frame):
        parts = re.split(r"(\d+)", frame.path.name.lower(), flags=re.ASCII)
        return [int(part) if index % 2 else part for index, part in enumerate(parts)]

    frames = sorted(frames, key=by_name)
    if any(frame.shot.captured is None for frame in frames):
        return frames
    if any(frame.shot.subsecond is None for frame in frames):
        return sorted(frames, key=lambda frame: frame.shot.captured)
    return sorted(frames, key=lambda frame: _start(frame.shot))


def _start(shot):
    return shot.captured + datetime.timedelta(seconds=shot.subsecond or 0)


def _pauses(frames):
    """Time from the end of each frame but the last to the start of the next one."""
    starts = [_start(frame.shot) for frame in frames]
    ends = [
        start + datetime.timedelta(seconds=min(frame.shot.exposure or 0, 86400))
        for start, frame in zip(starts, frames, strict=True)
    ]
    return [start - end for end, start in zip(ends, starts[1:], strict=False)]


def _by_pauses(frames, gap, problems):
    for frame in frames:
        if frame.shot.captured is None:
            error = InputError(
                f"{frame.path} is damaged or does not tell when it was taken, so --burst_gap "
                f"cannot tell its burst: put every burst into a folder of its own"
            )
            if problems is None:
                raise error
            problems.append(str(error))
    # With such a file among them, the others are not in the order of their times.
    frames = in_order([frame for frame in frames if frame.shot.captured is not None])
    groups = []
    pauses = [math.inf, *(pause.total_seconds() for pause in _pauses(frames))]
    for frame, pause in zip(frames, pauses, strict=False):
        if pause > gap:
            groups.append([])
        groups[-1].append(frame)
    return groups


def check_shot(frame, first):
    """Raises InputError if a `Frame` was taken otherwise than the burst's first one."""
    shot, other = frame.shot, first.shot
    if shot.camera and other.camera and shot.camera != other.camera:
        raise InputError(
            f"{frame.path} was taken with {shot.camera}, but {first.path.name} with "
            f"{other.camera}: a burst comes from one camera"
        )
    for ours, theirs, text in (
        (shot.exposure, other.exposure, "for {} s"),
        (shot.iso, other.iso, "at ISO {}"),
        (shot.f_number, other.f_number, "at f/{}"),
    ):
        if ours and theirs and max(ours, theirs) > _SAME_EXPOSURE * min(ours, theirs):
            said, expected = (text.format(f"{value:.4g}") for value in (ours, theirs))
            raise InputError(
                f"{frame.path} was exposed {said}, but {first.path.name} {expected}: the frames "
                f"of a burst have one exposure; if these are several bursts, give --burst_gap or "
                f"a folder to each"
            )


def odd_about(burst, n_burst=None):
    """Sentences about a burst's files that may not be meant so."""
    notes, count = [], len(burst.frames)
    if n_burst is not None and count > n_burst:
        notes.append(f"the first {n_burst} of {count} frames are used (--n_burst)")
    frames = burst.frames[:n_burst]
    if all(frame.shot.captured is not None for frame in frames):
        longest = max(_pauses(frames), default=datetime.timedelta())
        if longest > _LONG_PAUSE:
            notes.append(
                f"{longest.total_seconds():.0f} s lie between two of its frames: if they are "
                f"several bursts, give --burst_gap"
            )
    return notes
