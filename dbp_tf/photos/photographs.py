"""Restoring your own photographs: bursts of any camera, without a ground truth.

A burst goes through three steps: `looking` reads its files one by one, checks them and measures
their light; `alignment` reads them again and finds what fits the reference; the network takes them
in one by one. No more than a few frames are in memory at a time, however long the burst.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dbp_tf import errors, pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.photos import alignment, brightness, bursts
from dbp_tf.photos.looking import Look, RawFrames, check_headers, look, picture_path
from dbp_tf.photos.settings import Settings
from dbp_tf.raw import packing, white_balance
from dbp_tf.restore import modes

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and files are looked at before.
    from dbp_tf.restore.enhancer import Enhancer


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
    # The reference comes first, where every mode looks; the others' order is of no account.
    picture = modes.restore(model, fitting, settings.mode, "first", **settings.compute)
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
    # The SID baseline brings no coarse outputs, on which frames could be compared.
    if model.coarse is None and reference == "sharpest":
        raise InputError(
            "--reference_frame sharpest needs a coarse network, which the SID baseline of "
            "--checkpoint has not: give first or center"
        )
    of_several = len(packed) > 1 and modes.MODES[settings.mode].most_frames != 1
    compared = of_several and model.coarse is not None
    fitting = alignment.align_burst(
        packed,
        model.coarse,
        layout,
        reference,
        align=settings.align and compared,
        motion_mask=settings.motion_mask and compared,
        keep_all=settings.keep_all,
    )
    if compared and (settings.align or settings.motion_mask):
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
        f"{progress.plural(count, 'frame')}, {rows} x {columns} pixels, {filters} "
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
            check_headers(burst, settings)
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
