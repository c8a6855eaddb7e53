"""Restoring your own photographs: bursts of any camera, without a ground truth.

A burst goes through three steps: `look` reads its files one by one, checks them and measures their
light; `alignment` reads them again and finds what fits the reference; the network takes them in
one by one. No more than a few frames are in memory at a time, however long the burst.
"""

import dataclasses
import errno
import functools
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dbp_tf import errors, pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.photos import alignment, brightness, bursts
from dbp_tf.photos.settings import Settings
from dbp_tf.raw import packing, reading, white_balance
from dbp_tf.raw.overrides import Overrides
from dbp_tf.restore import modes

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and files are looked at before.
    from dbp_tf.restore.enhancer import Enhancer

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


class PackedFrames:
    """Frames as the network wants them, each made when it is asked for: [H, W, C] in 0..1."""

    def __init__(self, raw_frames: RawFrames, scales: np.ndarray):
        """`scales` [C]: exposure ratio and white balance of each packed channel."""
        self._raw_frames = raw_frames
        self._scales = scales

    def __len__(self) -> int:
        return len(self._raw_frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._raw_frames[index].packed(self._scales)


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
            f"{frame.path} has a {frame.layout.name} mosaic, but the weights of --camera "
            f"{camera.name} are for a {camera.mosaic} one: give the other camera"
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
            _check_headers(burst, settings)


def _check_headers(burst, settings):
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


def _packed_frames(seen, trained, settings):
    """(frames as the network wants them, exposure ratio, line about the white balance)."""
    first, balance, ratio = seen.raw_frames[0], settings.balance, settings.given_ratio
    estimated = None
    if white_balance.needs_estimate(balance, first.white_balance):
        estimated = white_balance.estimate(seen.blocks, first.layout, first.path)
    colours, said = white_balance.scales(balance, first.white_balance, trained, estimated)
    scales = np.array(white_balance.channel_scales(colours, first.layout))
    if ratio is None:
        baked_in = white_balance.channel_scales(trained, first.layout)
        ratio = brightness.auto_ratio(seen.blocks, scales * baked_in)
    return PackedFrames(seen.raw_frames, ratio * scales), ratio, said


def restore_burst(model: "Enhancer", seen: Look, settings: Settings) -> list[str]:
    """Restores one burst and writes its picture.

    Returns:
      Lines for the log: the frames and levels used, the steps taken, the path of the picture.

    Raises:
      InputError: there is no light from which to estimate a white balance, the output is not a
        number, or the picture is there already.
    """
    progress.status(f"{seen.name}: preparing")
    first = seen.raw_frames[0]
    trained = model.white_balance or settings.camera.white_balance
    packed, ratio, balance_line = _packed_frames(seen, trained, settings)
    found_or_given = "found in the signal" if settings.given_ratio is None else "given"
    lines = [
        *_description(first, len(packed), settings.overrides),
        balance_line,
        f"exposure ratio {ratio:.3g} ({found_or_given})",
        *(f"note: {note}" for note in seen.notes),
    ]
    fitting, about = _aligned(model, packed, first.layout, settings)
    if len(packed) > 1:
        # Files say more than numbers, which are those of the order of capture.
        names = [path.name for path in seen.raw_frames.paths]
        lines += [f"{names[note.frame]}: {note.text.partition(': ')[2]}" for note in about]
    started = time.monotonic()
    compute: dict[str, Any] = {} if settings.stripes else {"stripe_columns": None}
    # The reference comes first, where every mode looks; the others' order is of no account.
    picture = modes.restore(model, fitting, settings.mode, "first", **compute)
    seconds = time.monotonic() - started
    progress.status(f"{seen.name}: writing")
    path = picture_path(seen, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pictures.upright(picture, first.flip)
    pictures.write_picture(path, picture, settings.format, settings.overwrite)
    return [*lines, f"{path} ({seconds:.1f} s)"]


def _aligned(model, packed, layout, settings):
    """(iterable of frames that fit, the reference first; notes for the log)."""
    reference = settings.reference_frame or model.reference_frame_for(settings.camera)
    if model.coarse is None:
        # The SID baseline brings no coarse outputs, on which frames could be compared.
        if reference == "sharpest":
            raise InputError(
                "--reference_frame sharpest needs a coarse network, which the SID baseline of "
                "--checkpoint has not: give first or center"
            )
        place = {"first": 0, "center": len(packed) // 2}[reference]
        notes = [alignment.Note(n, reference=n == place) for n in range(len(packed))]
        fitting = alignment.AlignedFrames(packed, packed[place], notes)
    else:
        needed = len(packed) > 1 and modes.MODES[settings.mode].most_frames != 1
        fitting = alignment.align_burst(
            packed,
            model.coarse,
            layout,
            reference,
            align=settings.align and needed,
            motion_mask=settings.motion_mask and needed,
            keep_all=settings.keep_all,
        )
        if needed and (settings.align or settings.motion_mask):
            return fitting, fitting.notes
    # The other frames are unchanged: a line about each would say nothing.
    return fitting, [note for note in fitting.notes if note.reference]


def _description(frame, count, overrides):
    """Lines for the log: the parts of the files that are used, and their levels."""
    rows, columns = frame.mosaic.shape
    filters = "/".join(frame.layout.colours) if frame.layout is packing.BAYER else "X-Trans"
    given = " (--pattern)" if overrides.pattern else ""
    area = overrides.area_given and f", {overrides.area_given}"
    return [
        f"{'1 frame' if count == 1 else f'{count} frames'}, {rows} x {columns} pixels, {filters} "
        f"from row {frame.offset[0]}, column {frame.offset[1]} on{given}{area}",
        frame.levels,
    ]


def restore_all(
    load: Callable[[], "Enhancer"], found: list[bursts.Burst], settings: Settings
) -> list[str]:
    """Restores bursts one after another.

    Args:
      load: loads the networks; it is called once, when the first burst was looked at.
      found: the bursts.
      settings: how to restore them.

    Returns:
      A sentence for each burst that could not be restored.

    Raises:
      InputError: the networks cannot be loaded, or a burst cannot be restored and not
        `settings.keep_going`.
    """
    mendable = errors.MENDABLE if settings.keep_going else ()
    failures, model = [], None
    started = time.monotonic()

    def skip(place, error):
        failures.append(errors.sentence(error))
        progress.say(f"{place} skipped: {failures[-1]}")

    for number, burst in enumerate(found, 1):
        place = f"[{number}/{len(found)}] {burst.name}"
        try:
            _check_headers(burst, settings)
            seen = look(burst, settings)
        except mendable as error:
            skip(place, error)
            continue
        model = model or load()
        try:
            lines = restore_burst(model, seen, settings)
        except mendable as error:
            skip(place, error)
            continue
        finally:
            # Before the next burst is read.
            del seen
        if number < len(found):
            lines[-1] += f"; {progress.time_left(started, number, len(found))}"
        progress.say("\n  ".join([place, *lines]))
    return failures
