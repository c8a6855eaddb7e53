"""Restoring your own photographs: bursts of any camera, without a ground truth.

Bursts are read one after another, checked, brightened, balanced, aligned, restored and written.
No more than one burst is in memory at a time.
"""

import pathlib
import time

import numpy as np

from dbp_tf import pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.photos import alignment, brightness, bursts
from dbp_tf.raw import levels, packing, reading, white_balance
from dbp_tf.restore import modes

# Raw pixels a side below which there is nothing for the network to see.
_LEAST_SIDE = 32


def read_burst(burst, overrides, camera, n_burst=None):
    """Reads the frames of a burst and checks that they belong together.

    Args:
      burst: `bursts.Burst`.
      overrides: `overrides.Overrides`.
      camera: `cameras.Camera` the weights are for: the files must have its kind of mosaic.
      n_burst: read that many frames at the most.

    Returns:
      (list of `reading.RawFrame`, list of sentences about what looks odd).

    Raises:
      InputError: a file cannot be used, its black level cannot be true, or a frame differs from
        the first in camera, exposure, size or colour filters.
    """
    frames, notes = [], []
    first = burst.frames[0]
    for number, frame in enumerate(burst.frames[:n_burst], 1):
        progress.status(f"{burst.name}: reading frame {number}")
        # What the tags tell is cheaper to compare than what the whole file holds.
        bursts.check_shot(frame, first)
        raw_frame = reading.read_raw(frame.path, overrides=overrides)
        _check_mosaic(raw_frame, frames[0] if frames else None, camera, overrides)
        odd = levels.check(raw_frame, overrides)
        # What is odd about one file of a camera is so about all.
        notes = notes or odd
        frames.append(raw_frame)
    return frames, notes


def _check_mosaic(frame, first, camera, overrides):
    if frame.layout.name != camera.mosaic:
        raise InputError(
            f"{frame.path} has a {frame.layout.name} mosaic, but the weights of --camera "
            f"{camera.name} are for a {camera.mosaic} one: give the other camera"
        )
    rows, columns = frame.mosaic.shape
    if min(rows, columns) < _LEAST_SIDE:
        raise InputError(
            f"{overrides.area_given or frame.path} has {rows} x {columns} usable pixels: at least "
            f"{_LEAST_SIDE} a side are needed"
        )
    if first is None:
        return
    # First the phase: the same sensor from another one has whole periods of another number.
    if frame.offset != first.offset:
        raise InputError(
            f"{frame.path} has its colour filters laid out from {frame.offset}, but "
            f"{first.path.name} from {first.offset}: a burst's frames have one phase"
        )
    if frame.mosaic.shape != first.mosaic.shape:
        raise InputError(
            f"{frame.path} has {rows} x {columns} pixels, but {first.path.name} has "
            f"{first.mosaic.shape[0]} x {first.mosaic.shape[1]}: a burst's frames are of one size"
        )


def picture_path(folder, burst, kind):
    """Where the picture of a `bursts.Burst` goes; `kind` is a key of `pictures.FORMATS`."""
    return pathlib.Path(folder) / (burst.name + pictures.FORMATS[kind].suffix)


def check_paths(folder, found, kind, overwrite):
    """Raises InputError before any work is done if a picture could not be written, or would
    be overwritten unasked."""
    pictures.check_kind(kind)
    for path in (picture_path(folder, burst, kind) for burst in found):
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already: give --overwrite to replace it")


def packed_frames(frames, trained, ratio, balance):
    """Frames as the network wants them.

    Args:
      frames: list of `reading.RawFrame`.
      trained: multipliers (R, G, B) that the weights were trained for.
      ratio: exposure ratio; None to find it in the raw signal.
      balance: what `white_balance.parse` returns.

    Returns:
      (list of [H, W, C] float32 in 0..1, exposure ratio, line about the white balance).

    Raises:
      InputError: there is no light from which to estimate a white balance.
    """
    first = frames[0]
    estimated = None
    needs_estimate = white_balance.needs_estimate(balance, first.white_balance)
    if ratio is None or needs_estimate:
        blocks = brightness.block_means(frame.signal() for frame in frames)
    if needs_estimate:
        estimated = white_balance.estimate(blocks, first.layout, first.path)
    colours, said = white_balance.scales(balance, first.white_balance, trained, estimated)
    scales = np.array(white_balance.channel_scales(colours, first.layout))
    if ratio is None:
        baked_in = white_balance.channel_scales(trained, first.layout)
        ratio = brightness.auto_ratio(blocks, scales * baked_in)
    return [frame.packed(ratio * scales) for frame in frames], ratio, said


def restore_burst(
    model,
    burst,
    camera,
    folder,
    *,
    mode,
    reference_frame,
    n_burst,
    ratio,
    balance,
    overrides,
    align,
    motion_mask,
    keep_all,
    kind,
    overwrite,
    **compute,
):
    """Restores one burst and writes its picture.

    Args:
      model: what `load_pretrained` returns.
      burst: `bursts.Burst`.
      camera: `cameras.Camera` the weights were trained on.
      folder: where the picture goes.
      mode: a key of `modes.MODES`.
      reference_frame: "first", "center" or "sharpest".
      n_burst: frames of a burst at the most.
      ratio, balance: see `packed_frames`.
      overrides: `overrides.Overrides`.
      align, motion_mask, keep_all: see `alignment.align_burst`.
      kind: a key of `pictures.FORMATS`.
      overwrite: replace a picture that is there.
      **compute: `precision` and `stripe_columns` of the model's `enhance`.

    Returns:
      list of lines for the log: what was used, what was done, where the picture is.

    Raises:
      InputError: a file cannot be used, frames do not belong together, the output is not a
        number, or the picture is there already.
    """
    frames, notes = read_burst(burst, overrides, camera, n_burst)
    first = frames[0]
    progress.status(f"{burst.name}: preparing")
    packed, used_ratio, balance_line = packed_frames(
        frames, model.white_balance or camera.white_balance, ratio, balance
    )
    names = [frame.path.name for frame in frames]
    if len({frame.flip for frame in frames}) > 1:
        notes.append("its frames were held upright and on their side: the first one decides")
    # Eight mosaics of 12 megapixels are 200 MB.
    del frames
    lines = [
        *_description(first, len(packed), overrides),
        balance_line,
        f"exposure ratio {used_ratio:.3g} ({'found in the signal' if ratio is None else 'given'})",
        *(f"note: {note}" for note in (*bursts.odd_about(burst, n_burst), *notes)),
    ]
    packed, place, found = _aligned(
        model, packed, first.layout, mode, reference_frame, align, motion_mask, keep_all
    )
    if len(names) > 1:
        # Files say more than numbers, which are those of the order of capture.
        lines += [f"{names[note.frame]}: {note.text.partition(': ')[2]}" for note in found]
    started = time.monotonic()
    # The reference goes first, where every mode looks; the others' order is of no account.
    packed.insert(0, packed.pop(place))
    picture = modes.restore(model, packed, mode, "first", **compute)
    seconds = time.monotonic() - started
    del packed
    progress.status(f"{burst.name}: writing")
    path = picture_path(folder, burst, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures.write_picture(path, pictures.upright(picture, first.flip), kind, overwrite)
    return [*lines, f"{path} ({seconds:.1f} s)"]


def _aligned(model, packed, layout, mode, reference_frame, align, motion_mask, keep_all):
    """(packed frames, index of the reference, list of `alignment.Note` about what was done)."""
    if model.coarse is None:
        # The SID baseline brings no coarse outputs, on which frames could be compared.
        if reference_frame == "sharpest":
            raise InputError(
                "--reference_frame sharpest needs a coarse network, which the SID baseline of "
                "--checkpoint has not: give first or center"
            )
        place = {"first": 0, "center": len(packed) // 2}[reference_frame]
        return packed, place, [alignment.Note(place, reference=True)]
    needed = len(packed) > 1 and modes.MODES[mode].most_frames != 1
    packed, place, notes = alignment.align_burst(
        packed,
        model.coarse,
        layout,
        reference_frame,
        align=align and needed,
        motion_mask=motion_mask and needed,
        keep_all=keep_all,
    )
    if not (needed and (align or motion_mask)):
        # To say of every other frame that it is as it was would tell nothing.
        notes = [note for note in notes if note.reference]
    return packed, place, notes


def _description(frame, count, overrides):
    """What is used of a burst's files, as lines of text."""
    rows, columns = frame.mosaic.shape
    filters = "/".join(frame.layout.colours) if frame.layout is packing.BAYER else "X-Trans"
    given = " (--pattern)" if overrides.pattern else ""
    area = overrides.area_given and f", {overrides.area_given}"
    return [
        f"{'1 frame' if count == 1 else f'{count} frames'}, {rows} x {columns} pixels, {filters} "
        f"from row {frame.offset[0]}, column {frame.offset[1]} on{given}{area}",
        frame.levels,
    ]


def restore_all(model, found, camera, folder, *, keep_going=False, **how):
    """Restores bursts one after another.

    Args:
      model, camera, folder: see `restore_burst`.
      found: list of `bursts.Burst`.
      keep_going: go on after a burst that cannot be restored.
      **how: the other arguments of `restore_burst`.

    Returns:
      list of sentences, one for each burst that could not be restored.

    Raises:
      InputError: a burst cannot be restored, and not `keep_going`.
    """
    failures = []
    started = time.monotonic()
    for number, burst in enumerate(found, 1):
        place = f"[{number}/{len(found)}] {burst.name}"
        try:
            lines = restore_burst(model, burst, camera, folder, **how)
        except InputError as error:
            if not keep_going:
                raise
            failures.append(str(error))
            progress.say(f"{place} skipped: {error}")
            continue
        if number < len(found):
            lines[-1] += f"; {progress.time_left(started, number, len(found))}"
        progress.say("\n  ".join([place, *lines]))
    return failures
