"""Bursts of your own raw files: which belong together, and in which order.

No dataset's names are needed: files are listed, lie in folders, or are told apart by the pauses
between their capture times. Everything that is named is used, once, or said to be left out.
"""

import dataclasses
import datetime
import itertools
import math
import os
import pathlib
import re
from collections.abc import Sequence

from dbp_tf import errors
from dbp_tf.errors import InputError
from dbp_tf.raw import exif, named_files
from dbp_tf.raw.exif import Shot

_FINISHED_SUFFIXES = frozenset(".jpg .jpeg .png .heic .heif .tif .tiff .webp .avif".split())

# Folders below a named one that are searched for raw files which lie too deep.
_MOST_FOLDERS = 1000

# Factor by which exposures may differ that were meant to be equal: cameras round them.
_SAME_EXPOSURE = 1.02

# A pause in a folder's frames that makes one ask whether they are one burst.
_LONG_PAUSE = datetime.timedelta(seconds=60)


@dataclasses.dataclass(frozen=True)
class Burst:
    """Raw files that show one scene.

    Attributes:
      name: of the picture to be written.
      frames: the shots in the order in which they were taken.
    """

    name: str
    frames: tuple[Shot, ...]


def find_bursts(
    names: Sequence[str | os.PathLike], gap: float | None = None, *, problems: list | None = None
) -> tuple[list[Burst], list[str]]:
    """The bursts that files and folders make up.

    Args:
      names: files and folders. All files that are named are one burst; the raw files of a folder
        are another, and those of each folder in it one more. If a shot lies there in two
        formats, such as ARW and DNG, the camera's own is used.
      gap: seconds; a pause between two frames, from the end of one to the start of the next, that
        is longer begins a new burst. None: the files of a folder are one burst.
      problems: list that gets a sentence for each file without the capture time that `gap` needs
        and for each folder in a named one that cannot be read, which are then left out; None to
        raise the first of them.

    Returns:
      (list of `Burst`, list of sentences about files that are not used). Frames are ordered by
      capture time if all of a group's files tell it, else by name, where numbers count as numbers.

    Raises:
      InputError: a file or folder is missing or named twice, there are no raw files, or two bursts
        would have one name; without `problems` also: a capture time is missing for `gap`.
    """
    bursts: list[Burst] = []
    notes: list[str] = []
    groups = _groups(names, notes, problems)
    for folder, paths in groups:
        frames = in_order(_one_of_each_shot([exif.read_shot(path) for path in paths], notes))
        for group in [frames] if gap is None else _by_pauses(frames, gap, problems):
            name = group[0].path.stem
            if folder is not None and gap is None:
                name = folder
            elif folder is not None and len(groups) > 1:
                name = f"{folder}_{name}"
            bursts.append(Burst(name, tuple(group)))
    first_of: dict[str, Burst] = {}
    for burst in bursts:
        other = first_of.setdefault(burst.name.lower(), burst)
        if other is not burst:
            raise InputError(
                f"the bursts of {other.frames[0].path} and {burst.frames[0].path} would both be "
                f"written as {burst.name}: rename one of them"
            )
    return bursts, notes


def _groups(names, notes, problems):
    """[(name of the folder or None for files that were named, raw files)], without empty ones."""
    if not names:
        raise InputError(
            "no raw files are named: give those of a burst, such as IMG_1.dng IMG_2.dng, or a "
            "folder of them"
        )
    named, folders = named_files.find(names, "of the files named", notes)
    groups = [(None, named)] if named else []
    for folder in folders:
        groups += _folders(folder, notes, problems)
    named_files.check_distinct(path for _, paths in groups for path in paths)
    return groups


def _folders(folder, notes, problems):
    """[(name of the folder, its raw files)] of a folder and of those in it, without empty ones."""
    inside = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    # The name of "." is that of the folder it stands for.
    groups = [(folder.resolve().name or "burst", named_files.raw_files_in(folder, notes))]
    for one in inside:
        try:
            groups.append((one.name, named_files.raw_files_in(one, notes)))
        except OSError as error:
            errors.raise_or_note(error, problems)
    groups = [(name, paths) for name, paths in groups if paths]
    deeper = [path for one in inside for path in _with_raw_files_below(one)]
    if groups:
        notes += [f"{path} lies too deep and is not used: name it to restore it" for path in deeper]
        return groups
    also = f"; {deeper[0]} does: name that" if deeper else ""
    finished = [p.name for p in folder.iterdir() if p.suffix.lower() in _FINISHED_SUFFIXES]
    if finished:
        also += (
            f"; pictures such as {min(finished)} are finished, and what the dark held is lost in "
            f"them"
        )
    raise InputError(f"{folder} holds no raw files, nor does a folder in it{also}")


def _with_raw_files_below(folder):
    """The folders below this one in which raw files lie."""
    found = []
    for path, folders, names in itertools.islice(os.walk(folder), _MOST_FOLDERS):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        if any(named_files.is_raw_name(name) and name[0] != "." for name in names):
            found.append(pathlib.Path(path))
    return [path for path in found if path != folder]


def _one_of_each_shot(frames, notes):
    """The frames without those that show another one's shot in another format."""
    used, kept, same = {}, [], []
    # The camera's own file first: DNG files are made of it.
    for frame in sorted(frames, key=lambda frame: frame.path.suffix.lower() == ".dng"):
        keys = [(frame.path.parent, frame.path.stem.lower())]
        if frame.subsecond is not None:
            keys.append((frame.camera, frame.captured, frame.subsecond))
        others = (used[key] for key in keys if key in used)
        other = next((one for one in others if _shows_the_same(frame, one)), None)
        if other is None:
            kept.append(frame)
            used |= dict.fromkeys(keys, frame)
        else:
            same.append(f"{frame.path.name} shows {other.path.name}")
    if same:
        notes.append(
            f"{len(same)} of {len(frames)} files not used, the same shots in another format: "
            f"{named_files.some(same)}"
        )
    return kept


def _shows_the_same(frame, other):
    """Whether two frames of one name, or of one moment, are one shot in two formats."""
    times = {one.captured for one in (frame, other)} - {None}
    return frame.path.suffix.lower() != other.path.suffix.lower() and len(times) < 2


def in_order(frames: list[Shot]) -> list[Shot]:
    """Frames by capture time if all tell it, else by name with its numbers as numbers.

    Parts of a second count only if all frames tell them. Frames of one time go by name.
    """

    def by_name(frame):
        parts = re.split(r"(\d+)", frame.path.name.lower(), flags=re.ASCII)
        return [int(part) if index % 2 else part for index, part in enumerate(parts)]

    frames = sorted(frames, key=by_name)
    if any(frame.captured is None for frame in frames):
        return frames
    exact = all(frame.subsecond is not None for frame in frames)
    return sorted(frames, key=lambda frame: _start(frame, exact))


def _start(shot, exact=True):
    return shot.captured + datetime.timedelta(seconds=(shot.subsecond or 0) if exact else 0)


def _pauses(frames):
    """Time from the end of each frame but the last to the start of the next one."""
    return [
        _start(after) - _start(frame) - datetime.timedelta(seconds=min(frame.exposure or 0, 86400))
        for frame, after in itertools.pairwise(frames)
    ]


def _by_pauses(frames, gap, problems):
    for frame in frames:
        if frame.captured is None:
            error = InputError(
                f"{frame.path} is damaged or does not tell when it was taken, so --burst_gap "
                f"cannot tell its burst: put every burst into a folder of its own"
            )
            errors.raise_or_note(error, problems)
    # With such a file among them, the others are not in the order of their times.
    frames = in_order([frame for frame in frames if frame.captured is not None])
    groups = []
    pauses = [math.inf, *(pause.total_seconds() for pause in _pauses(frames))]
    for frame, pause in zip(frames, pauses, strict=False):
        if pause > gap:
            groups.append([])
        groups[-1].append(frame)
    return groups


def check_shot(frame: Shot, first: Shot) -> None:
    """Raises InputError if a frame was taken otherwise than the burst's first one."""
    if frame.camera and first.camera and frame.camera != first.camera:
        raise InputError(
            f"{frame.path} was taken with {frame.camera}, but {first.path.name} with "
            f"{first.camera}: a burst comes from one camera"
        )
    for ours, theirs, text in (
        (frame.exposure, first.exposure, "for {} s"),
        (frame.iso, first.iso, "at ISO {}"),
        (frame.f_number, first.f_number, "at f/{}"),
    ):
        if ours and theirs and max(ours, theirs) > _SAME_EXPOSURE * min(ours, theirs):
            said, expected = (text.format(f"{value:.4g}") for value in (ours, theirs))
            raise InputError(
                f"{frame.path} was exposed {said}, but {first.path.name} {expected}: the frames "
                f"of a burst have one exposure; if these are several bursts, give --burst_gap or "
                f"a folder to each"
            )


def odd_about(burst: Burst, n_burst: int | None = None) -> list[str]:
    """Sentences about a burst's files that may not be meant so."""
    notes: list[str] = []
    count = len(burst.frames)
    if n_burst is not None and count > n_burst:
        notes.append(f"the first {n_burst} of {count} frames are used (--n_burst)")
    frames = burst.frames[:n_burst]
    if all(frame.captured is not None for frame in frames):
        longest = max(_pauses(frames), default=datetime.timedelta())
        if longest > _LONG_PAUSE:
            notes.append(
                f"{longest.total_seconds():.0f} s lie between two of its frames: if they are "
                f"several bursts, give --burst_gap"
            )
    return notes
