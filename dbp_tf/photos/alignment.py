"""Hand-held bursts: undo the shake, leave out frames that do not match, mask what moves.

Each frame is compared with the reference (`shifts`, `motion`). A region that moves in any frame is
taken from the reference in all. Frames are read one after another, and again when they are used, so
that memory grows with their number by no more than a mask [h, w] each.

Axis letters: H W packed rows and columns, C packed channels; h w those of the half-size frames
and of the coarse outputs.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from dbp_tf import progress
from dbp_tf.errors import InputError
from dbp_tf.photos import motion, shifts
from dbp_tf.raw import packing

REFERENCES = ("first", "center", "sharpest")

# Peak of the correlation over the spread of what lies around it. Unrelated simulated frames came
# to 8.2 at the most, at ratio 300 and in sizes of 128 to 480 raw pixels a side.
LEAST_CONFIDENCE = 9.0

# The same where no shift is looked for: one place, not the best of thousands, has to stand out.
LEAST_CONFIDENCE_UNSHIFTED = 4.0

# Share of the picture that may differ from the reference before a frame counts as no match.
MOST_MOVING = 0.5

# The remainder of a shift, less than a packed pixel, may change edges by this share of the noise.
# Frames half a packed pixel off came to 0.3 to 0.9 at ratio 100, where they cost up to 1.8 dB
# against leaving them out, and to 0.1 to 0.45 at ratio 300, where the noise they take away counts
# for more.
MOST_REST = 0.4


@dataclasses.dataclass(frozen=True)
class Note:
    """Findings about one frame, and what was done to it.

    Attributes:
      frame: its index in the burst.
      shift: (rows, columns) in packed pixels that were undone.
      reference: whether it is the frame the others have to fit.
      confidence: see `shifts.Shift`; None where nothing was to be aligned.
      rest: change of the picture by the remainder of the shift, less than a packed pixel, as a
        share of the noise; None as above.
      moving: share of the picture, 0..1, that moves against the reference; None where that was
        not looked for.
      replaced: share of the picture where the reference's samples take the frame's place, because
        something moves in this frame or in another; None without a mask.
      kept: whether the frame is used.
    """

    frame: int
    shift: tuple[int, int] = (0, 0)
    reference: bool = False
    confidence: float | None = None
    rest: float | None = None
    moving: float | None = None
    replaced: float | None = None
    kept: bool = True

    @property
    def text(self) -> str:
        """A line for the log."""
        found = []
        if self.reference:
            found.append("the reference")
        if self.confidence is not None:
            rows, columns = self.shift
            found.append(
                f"shift of {rows:+d} rows, {columns:+d} columns (packed pixels) undone"
                if any(self.shift)
                else "not shifted"
            )
            found.append(f"confidence {self.confidence:.0f}")
        if not self.kept:
            found.append(f"left out: it does not match, {self._mismatch()}")
        elif self.moving is not None:
            found.append(f"{100 * self.moving:.1f} % moves")
            if self.replaced:
                found.append(f"{100 * self.replaced:.1f} % taken from the reference")
        return f"frame {self.frame}: " + ("; ".join(found) or "as it is")

    def _mismatch(self):
        if self.moving > MOST_MOVING:
            return f"{100 * self.moving:.1f} % differs"
        if not self.confidence >= LEAST_CONFIDENCE:
            return "no shift stands out"
        if self.rest > MOST_REST:
            return "its shift falls between two pixels"
        return f"{100 * self.moving:.1f} % moves, and the other frames show more without it"


def sharpness(coarse: np.ndarray) -> float:
    """Gradient energy of a coarse output [h, w, C]: greatest for the frame least blurred."""
    light = shifts.luminance(coarse)
    return float((np.diff(light, axis=0) ** 2).mean() + (np.diff(light, axis=1) ** 2).mean())


@dataclasses.dataclass(frozen=True)
class View:
    """A packed frame and its versions that are compared.

    Attributes:
      frame: [H, W, C].
      half: [h, w, C] at half size.
      coarse: [h, w, C] coarse output.
    """

    frame: np.ndarray
    half: np.ndarray
    coarse: np.ndarray


def view_of(frame: np.ndarray, coarse_model: Callable[[np.ndarray], Any]) -> View:
    """The `View` of a packed frame; `coarse_model` as for `align_burst`."""
    half = packing.halve(frame)
    return View(frame, half, np.asarray(coarse_model(half[None]), np.float32)[0])


def _match(view, reference, coarse_model, layout, index, align, keep_all):
    """(`Note` on the `View` of a frame, where it moves [h, w] bool once it is shifted)."""
    shift, confidence, rest, matches = (0, 0), None, None, True
    if align:
        found = shifts.find_shift(view.coarse, reference.coarse)
        confidence = found.confidence
        nearest = shifts.whole_shift(found, layout)
        if confidence >= LEAST_CONFIDENCE:
            shift = nearest
        else:
            agrees = found.confidence_unshifted >= LEAST_CONFIDENCE_UNSHIFTED
            matches = agrees and not any(nearest)
    if any(shift):
        moved = shifts.shift_frame(view.frame, (-shift[0], -shift[1]), reference.frame)
        view = view_of(moved, coarse_model)
    if align:
        left = found.rows - shift[0] / 2, found.columns - shift[1] / 2
        noise_sample = shifts.luminance(view.half) - shifts.luminance(reference.half)
        rest = shifts.misfit(left, reference.coarse, noise_sample)
        matches = matches and rest <= MOST_REST
    moving = motion.moving_regions(view.coarse, reference.coarse, view.half, reference.half)
    share = float(moving.mean())
    note = Note(
        frame=index,
        shift=shift,
        confidence=confidence,
        rest=rest,
        moving=share,
        kept=keep_all or not align or (matches and share <= MOST_MOVING),
    )
    return note, moving


class Frames(Protocol):
    """Packed frames [H, W, C], held or made when they are asked for: a list will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class AlignedFrames:
    """The frames of a burst that match its reference, made to fit it; the reference comes first.

    They are made one after another, anew whenever they are iterated over; `len` tells how many.

    Attributes:
      frames: F packed frames, see `align_burst`.
      reference: the reference frame [H, W, C].
      notes: F notes, in the order of the burst, frames that are left out included.
      moving: {index of a frame: where it moves [h, w] bool}.
      path: [h, w] bool, where any frame moves; None to replace nothing.
    """

    frames: Frames
    reference: np.ndarray
    notes: list[Note]
    moving: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    path: np.ndarray | None = None

    def __len__(self) -> int:
        return sum(note.kept for note in self.notes)

    def __iter__(self) -> Iterator[np.ndarray]:
        yield self.reference
        yield from map(self._fitted, (n for n in self.notes if n.kept and not n.reference))

    def _fitted(self, note):
        frame = self.frames[note.frame]
        if any(note.shift):
            frame = shifts.shift_frame(frame, (-note.shift[0], -note.shift[1]), self.reference)
        if self.path is None:
            return frame
        return motion.replace_moving(frame, self.reference, self.moving[note.frame] | self.path)


def align_burst(
    frames: Frames,
    coarse_model: Callable[[np.ndarray], Any],
    layout: packing.Layout,
    reference: str | int = "first",
    *,
    align: bool = True,
    motion_mask: bool = True,
    keep_all: bool = False,
) -> AlignedFrames:
    """Makes the frames of a hand-held burst fit its reference.

    Args:
      frames: F packed frames [H, W, C] float32 in 0..1, brightened by the exposure ratio, H and W
        even. Each is asked for once here, or twice if the reference is "sharpest", and again
        whenever the result is iterated over.
      coarse_model: from half-size frames [1, h, w, C] to coarse outputs of the same shape, such as
        `Enhancer.coarse`; not called where no frame is compared.
      layout: `packing.BAYER` or `packing.XTRANS`.
      reference: index of the frame the others have to fit, "first", "center" (F // 2) or
        "sharpest" (of the greatest `sharpness`).
      align: undo each frame's shift, and leave out those that do not match the reference:
        neither a shift was found nor do they agree as they are, the remainder of the shift changes
        more than `MOST_REST`, or more than `MOST_MOVING` of the picture differs. With `motion_mask`
        also those that would mask more of the others than they show.
      motion_mask: put the reference's samples where something moves in any frame that matches.
      keep_all: leave out none.

    Returns:
      `AlignedFrames`. The frames given are not changed; those that nothing was done to are the
      same arrays.

    Raises:
      InputError: no frames, unequal sizes, or a reference that is not there.
    """
    count = len(frames)
    if not count:
        raise InputError("a burst needs at least one frame")
    index = _reference_index(frames, coarse_model, reference)
    fixed = frames[index]
    seen = view_of(fixed, coarse_model) if align or motion_mask else None
    notes: list[Note] = []
    moving: dict[int, np.ndarray] = {}
    for number in range(count):
        if number == index:
            notes.append(Note(number, reference=True))
            continue
        progress.status(f"comparing frame {number + 1} of {count} with the reference")
        frame = frames[number]
        if frame.shape != fixed.shape:
            raise InputError(
                f"frame {number} has the shape {list(frame.shape)}, the reference, frame {index}, "
                f"{list(fixed.shape)}: a burst's frames are of one size"
            )
        if seen is None:
            notes.append(Note(number))
            continue
        view = view_of(frame, coarse_model)
        note, region = _match(view, seen, coarse_model, layout, number, align, keep_all)
        notes.append(note)
        if note.kept:
            moving[number] = region
    path = None
    if motion_mask:
        shape = fixed.shape[0] // 2, fixed.shape[1] // 2
        used = worth_keeping(moving, shape) if align and not keep_all else list(moving)
        path = path_of([moving[number] for number in used], shape)
        replaced = float(path.mean())
        notes = [
            dataclasses.replace(note, replaced=replaced)
            if note.frame in used
            else dataclasses.replace(note, kept=note.reference)
            for note in notes
        ]
    return AlignedFrames(frames, fixed, notes, moving, path)


def path_of(regions: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Where any frame that matches the reference was seen to move, [h, w] bool.

    An object is on its way from frame to frame, and where it is hard to see in one frame it is not
    in another.

    Args:
      regions: where each frame moves [h, w] bool.
      shape: (h, w).
    """
    path = np.zeros(shape, bool)
    for moving in regions:
        if moving.mean() <= MOST_MOVING:
            path |= moving
    return path


def worth_keeping(regions: dict[int, np.ndarray], shape: tuple[int, int]) -> list[int]:
    """The indices of the frames which, beside the reference, show most together.

    A region that moves in one of them is lost in all. As long as the others show more without a
    frame than with it, counted in frames times share of the picture, it is left out.

    Args:
      regions: {index of a frame: where it moves [h, w] bool}.
      shape: (h, w).
    """
    used = list(regions)
    moving = np.zeros(shape, np.int32)  # in how many frames
    for region in regions.values():
        moving += region

    def shown(frames, moving):
        return frames * (1 - (moving > 0).mean())

    def shown_without(index):
        return shown(len(used) - 1, moving - regions[index])

    while len(used) > 1:
        worst = max(used, key=shown_without)
        if shown_without(worst) <= shown(len(used), moving):
            break
        used.remove(worst)
        moving -= regions[worst]
    return used


def _reference_index(frames, coarse_model, reference):
    count = len(frames)
    if reference == "sharpest":
        sharp = [sharpness(view_of(frames[n], coarse_model).coarse) for n in range(count)]
        return sharp.index(max(sharp))
    index = {"first": 0, "center": count // 2}.get(reference, reference)
    if not isinstance(index, int) or not 0 <= index < count:
        raise InputError(
            f"the reference frame {reference!r} is none of the {count} frames: give "
            f"{', '.join(REFERENCES)}, or an index from 0 to {count - 1}"
        )
    return index
