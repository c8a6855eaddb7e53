"""What can be seen of a burst before it is restored: its files are read one by one and checked."""

import dataclasses
import errno
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from dbp_tf import pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.photos import brightness, bursts
from dbp_tf.photos.settings import Settings
from dbp_tf.raw import reading
from dbp_tf.raw.overrides import Overrides

# Raw pixels a side below which there is nothing for the network to see.
_LEAST_SIDE = 32

# Raw frames that stay in memory, so that the files of a usual burst are decoded once and not for
# each step: 25 MB each at 12 megapixels.
_MOST_KEPT = 8


class RawFrames:
    """The frames of raw files, each read when it is asked for; the last `_MOST_KEPT` are kept."""

    def __init__(self, paths: Iterable[pathlib.Path], overrides: Overrides):
        self.paths = list(paths)
        read = functools.partial(reading.read_raw, overrides=overrides)
        self._read = functools.lru_cache(_MOST_KEPT)(read)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> reading.RawFrame:
        return self._read(self.paths[index])


@dataclasses.dataclass(frozen=True)
class Look:
    """A burst whose files were all looked at.

    Attributes:
      name: of the burst.
      raw_frames: no shot twice.
      blocks: [h, w, C], see `brightness.block_means`.
      notes: sentences about oddities.
    """

    name: str
    raw_frames: RawFrames
    blocks: np.ndarray
    notes: list[str]


def look(burst: bursts.Burst, settings: Settings) -> Look:
    """Reads the files of a burst and checks that they can be restored together.

    Raises:
      InputError: a file cannot be used, its black level cannot be true, or a frame differs from
        the first in camera, exposure, size or colour filters.
    """
    files = burst.frames[: settings.n_burst]
    raw_frames = RawFrames([file.path for file in files], settings.overrides)
    notes = bursts.odd_about(burst, settings.n_burst)
    paths: dict[bytes, pathlib.Path] = {}
    flips = set()

    def checked() -> Iterator[reading.RawFrame]:
        for number, file in enumerate(files):
            progress.status(f"{burst.name}: reading frame {number + 1}")
            # The tags are cheaper to compare than the pixels.
            bursts.check_shot(file, files[0])
            frame = raw_frames[number]
            _check_mosaic(frame, raw_frames[0], settings)
            pixels = hashlib.blake2b(frame.mosaic.data).digest()
            if pixels in paths:
                other = paths[pixels].name
                notes.append(f"{file.path.name} holds the very pixels of {other}: used once")
                continue
            if not paths:
                # The files of one camera are odd in the same way.
                notes.extend(f"{file.path.name}: {note}" for note in frame.notes)
            paths[pixels] = file.path
            flips.add(frame.flip)
            yield frame

    blocks = brightness.block_means(frame.signal() for frame in checked())
    if len(flips) > 1:
        notes.append("its frames were held upright and on their side: the first one decides")
    if len(paths) < len(files):
        raw_frames = RawFrames(paths.values(), settings.overrides)
    return Look(burst.name, raw_frames, blocks, notes)


def _check_mosaic(frame, first, settings):
    camera = settings.camera
    if frame.layout.name != camera.mosaic:
        raise InputError(
            f"{frame.path} has the mosaic {frame.layout.name}, but the weights of --camera "
            f"{camera.name} are for {camera.mosaic}: give the other camera"
        )
    rows, columns = frame.mosaic.shape
    if min(rows, columns) < _LEAST_SIDE:
        raise InputError(
            f"{settings.overrides.area_given or frame.path} has {rows} x {columns} usable pixels: "
            f"at least {_LEAST_SIDE} a side are needed"
        )
    frame.check_fits(first)


def picture_path(burst: bursts.Burst | Look, settings: Settings) -> pathlib.Path:
    """Where the picture of a burst goes."""
    return settings.result_dir / (burst.name + pictures.FORMATS[settings.format].suffix)


def has_picture(burst: bursts.Burst, settings: Settings) -> bool:
    """Whether the picture of a burst is there already."""
    # Unlike pathlib's, this is no error if the name is too long.
    return os.path.exists(picture_path(burst, settings))


def check(found: list[bursts.Burst], settings: Settings) -> None:
    """Looks at all that can be seen before any work is done.

    Raises:
      InputError: a picture would be overwritten unasked; unless `keep_going` also: a picture's name
        is too long, or a file is not raw.
    """
    pictures.check_kind(settings.format)
    for burst in found:
        if has_picture(burst, settings) and not settings.overwrite:
            path = picture_path(burst, settings)
            raise InputError(f"{path} exists already: give --overwrite to replace it")
    if not settings.keep_going:
        for burst in found:
            check_headers(burst, settings)


def check_headers(burst: bursts.Burst, settings: Settings) -> None:
    """Raises InputError if the picture cannot be named, or a file's header is not a raw file's."""
    if _is_too_long(picture_path(burst, settings)):
        raise InputError(
            f"the picture of {burst.frames[0].path} would be called {burst.name} and more, which "
            f"is too long for this disk: rename the file or its folder"
        )
    for file in burst.frames[: settings.n_burst]:
        with reading.open_raw(file.path, unpack=False):
            pass


def _is_too_long(path):
    """Whether the disk takes no such name; the folder need not exist yet."""
    folder = path.parent.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        os.lstat(folder / path.name)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False
