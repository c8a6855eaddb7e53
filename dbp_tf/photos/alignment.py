"""Hand-held bursts: undo the shake, leave out what does not match, keep what moves out of it.

Frames are compared as the coarse network sees them, which is clean enough even at an exposure
ratio of 300. What is found there is done to the packed frames themselves, in whole packed pixels:
samples move, they are never mixed. Everything is array in, array out; each frame is compared with
the reference, and what moves in any of them is kept out of all.

Axis letters: H W packed rows and columns, C packed channels; h w those of the half-size frames
and of the coarse outputs. A shift is (rows, columns) by which content lies further down and right
than in the reference.
"""

import dataclasses
import math

import numpy as np

from dbp_tf.errors import InputError
from dbp_tf.raw import packing

REFERENCES = ("first", "center", "sharpest")

# Peak of the correlation over the spread of what lies around it. Unrelated simulated frames came
# to 8.2 at the most, at ratio 300 and in sizes of 128 to 480 raw pixels a side.
LEAST_CONFIDENCE = 9.0

# The same where no shift is looked for: one place, not the best of thousands, has to stand out.
LEAST_CONFIDENCE_UNSHIFTED = 4.0

# Share of the picture that may differ from the reference before a frame counts as no match.
MOST_MOVING = 0.5

# What a rest of the shift, less than a packed pixel, may change at edges, as a share of the noise.
# Frames half a packed pixel off came to 0.3 to 0.9 at ratio 100, where they cost up to 1.8 dB
# against leaving them out, and to 0.1 to 0.45 at ratio 300, where the noise they take away counts
# for more.
MOST_REST = 0.4

# How far the squared difference of two pixels' channels exceeds what noise makes it, in standard
# deviations of that, before something has moved. A denoiser's errors have heavier tails than
# noise: at 6, up to 1 % of simulated still pictures passed for moving (up to 6 % behind a mere
# blur instead of the coarse network), at 4 up to 3 %; at 12, half of what moved was missed at
# ratio 300, which cost up to 4 dB there.
MOTION_SIGMAS = 6.0

# Means over windows of these radii, in half-size pixels, are compared: sharp outlines, and faint
# differences of something large.
_WINDOWS = (1, 4)

# Half-size pixels by which moving regions are widened: what the mask has to cover beyond what it
# saw is an object's faint rim and the reach of the network's convolutions.
MOTION_MARGIN = 4

# Added to light in 0..1 before its square root, which makes shot noise even over the picture:
# below about this, read noise dominates at ratios of 100 to 300.
_DARK = 0.1

# Standard deviation of the correlation's low-pass, in cycles a pixel. Above it lies mostly noise.
_LOW_PASS = 0.15

# Standard deviation of the luminance below which a picture is flat but for rounding.
_FLAT = 1e-6

_CANDIDATES = 8  # peaks of the correlation that are tried

_STEP = 1 / 32  # of the search between pixels, in pixels

_REFINEMENTS = 6  # steps of the least squares after that

_LEAN = 2  # pixels by which a peak may be wrong, drawn there by what moves

# Noise is taken to be at least that: without any, rounding would pass for motion.
_FLOOR = 1e-3

_MAD = 1.4826  # median of absolute values to standard deviation, for a normal distribution


@dataclasses.dataclass(frozen=True)
class Shift:
    """Where a frame's content lies against the reference, in half-size pixels.

    Attributes:
      rows, columns: how much further down and right.
      confidence: height of the correlation's peak over the spread around it. Unrelated frames
        stay below `LEAST_CONFIDENCE`.
      confidence_unshifted: the same at no shift at all.
    """

    rows: float
    columns: float
    confidence: float
    confidence_unshifted: float


@dataclasses.dataclass(frozen=True)
class Note:
    """What was found about one frame and done to it.

    Attributes:
      frame: its index in the burst.
      shift: (rows, columns) in packed pixels that were undone.
      reference: whether it is the frame the others have to fit.
      confidence: see `Shift`; None where nothing was to be aligned.
      rest: what the rest of the shift, less than a packed pixel, changes as a share of the noise;
        None as above.
      moving: share of the picture, 0..1, that moves against the reference; None where that was
        not looked for.
      masked: whether the reference's samples take the place of what moves.
      replaced: share of the picture where they do, because something moves in this frame or in
        another; None without a mask.
      kept: whether the frame is used.
    """

    frame: int
    shift: tuple[int, int] = (0, 0)
    reference: bool = False
    confidence: float | None = None
    rest: float | None = None
    moving: float | None = None
    masked: bool = False
    replaced: float | None = None
    kept: bool = True

    @property
    def text(self):
        """One line for the log."""
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
            found.append(f"left out: it does not match, {self._reason}")
        elif self.moving is not None:
            found.append(f"{100 * self.moving:.1f} % moves")
            if self.replaced:
                found.append(f"{100 * self.replaced:.1f} % taken from the reference")
        return f"frame {self.frame}: " + ("; ".join(found) or "as it is")

    @property
    def _reason(self):
        """Why it does not match."""
        if self.moving is not None and self.moving > MOST_MOVING:
            return f"{100 * self.moving:.1f} % differs"
        if not self.confidence >= LEAST_CONFIDENCE:
            return "no shift stands out"
        if self.rest > MOST_REST:
            return "its shift falls between two pixels"
        return f"{100 * self.moving:.1f} % moves, and the other frames show more without it"


def half_size(frame):
    """A packed frame [H, W, C] of even size to [H/2, W/2, C]: the mean of every 2 x 2 pixels.

    As the networks' own, without TensorFlow.
    """
    rows, columns, _ = frame.shape
    if rows % 2 or columns % 2:
        raise InputError(
            f"a packed frame has {rows} x {columns} pixels, an odd number: cut or pad it to even "
            f"ones"
        )
    return packing.halve(frame)


def _luminance(coarse):
    """[h, w]: mean of the channels, its square root, so that noise is as strong everywhere."""
    return np.sqrt(np.maximum(coarse.mean(-1, dtype=np.float64), 0) + _DARK)


def _spectrum(coarse):
    """Fourier transform of the luminance, faded out to the borders."""
    light = _luminance(coarse)
    rows, columns = (np.hanning(size + 2)[1:-1] for size in light.shape)
    window = rows[:, None] * columns
    return np.fft.fft2((light - (window * light).sum() / window.sum()) * window)


def find_shift(coarse, reference):
    """Global shift of a frame by phase correlation, to a fraction of a pixel.

    After Kuglin and Hines, The Phase Correlation Image Alignment Method, 1975; between the pixels
    by the transform's own interpolation (Guizar-Sicairos et al., Efficient Subpixel Image
    Registration Algorithms, 2008).

    Args:
      coarse: [h, w, C] coarse output of the frame, linear and brightened, about 0..1.
      reference: [h, w, C] that of the reference.

    Returns:
      `Shift`, of up to a quarter of the picture along rows and along columns.
    """
    shape = coarse.shape[:2]
    product = _spectrum(coarse) * np.conj(_spectrum(reference))
    size = np.abs(product)
    frequencies = [np.fft.fftfreq(count) for count in shape]
    low_pass = [np.exp(-0.5 * (values / _LOW_PASS) ** 2) for values in frequencies]
    # Phases count alike where the picture stands out from the noise and less where it does not.
    phases = product / (size + 3 * np.median(size) + _FLAT**2 * size.size)
    phases *= low_pass[0][:, None] * low_pass[1]
    surface = np.fft.ifft2(phases).real

    reach = [count // 4 for count in shape]
    offsets = [np.arange(-limit, limit + 1) for limit in reach]
    near = surface[np.ix_(*offsets)]
    spread = _MAD * np.median(np.abs(near - np.median(near)))
    # A bright object that moves may have the highest peak, but it is a small part of the picture.
    places = [(0, 0), *_peaks(near, reach)]
    lights = [_neighbours(_luminance(values), 1, np.add) / 9 for values in (coarse, reference)]
    whole = _least_different(*lights, places)

    # The transform is evaluated between the pixels around the peak.
    between = np.arange(-1, 1 + _STEP / 2, _STEP)
    down, right = (
        np.exp(2j * math.pi * np.outer(place + between, values))
        for place, values in zip(whole, frequencies, strict=True)
    )
    fine = (down @ phases @ right.T).real / surface.size
    heights = np.array([fine.max(), surface[0, 0]]) - np.median(near)
    confidences = heights / max(spread, _FLAT**2)
    # A peak leans towards what moves; where most of the picture fits does not.
    return Shift(*_refined(*lights, whole), *map(float, confidences))


def _peaks(surface, reach):
    """Shifts of the highest peaks of a correlation surface, whose middle is no shift."""
    left, found = surface.copy(), []
    for _ in range(_CANDIDATES):
        row, column = np.unravel_index(np.argmax(left), left.shape)
        found.append((int(row) - reach[0], int(column) - reach[1]))
        left[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = left.min()
    return found


def _refined(light, reference, shift):
    """A shift that is right to a pixel or so, made right to a fraction for most of the picture.

    After Lucas and Kanade, An iterative image registration technique, 1981, by least squares in
    which a pixel counts the less the more it differs, so that what is moving hardly does.
    """
    start = np.array(shift, float)
    shift = start
    for _ in range(_REFINEMENTS):
        whole = np.round(shift).astype(int)
        there, here = _overlap(whole, light.shape)
        difference = light[there] - reference[here]
        if min(difference.shape) < 2 or not np.isfinite(difference).all():
            break  # Nothing to go by; how sure the shift is tells the rest.
        slopes = np.stack(np.gradient((light[there] + reference[here]) / 2))
        rest = difference + np.tensordot(shift - whole, slopes, 1)
        most = 2 * np.median(np.abs(rest)) + _FLAT
        weighted = slopes / (1 + (rest / most) ** 2) ** 2
        square = np.tensordot(weighted, slopes, [(1, 2), (1, 2)])
        slope = np.tensordot(weighted, difference, 2)
        step = -np.linalg.solve(square + _FLAT**2 * light.size * np.eye(2), slope)
        shift = np.clip(whole + np.clip(step, -1, 1), start - _LEAN, start + _LEAN)
    return float(shift[0]), float(shift[1])


def _least_different(light, reference, shifts):
    """The shift, in whole pixels, after which most of two pictures [h, w] differs least."""
    differences = []
    for shift in shifts:
        there, here = _overlap(shift, light.shape)
        differences.append(np.abs(light[there] - reference[here]))
    # What is moving differs a lot wherever it is, and is not to count for more than that.
    most = 3 * min(float(np.median(difference)) for difference in differences)
    costs = [float(np.minimum(difference, most).mean()) for difference in differences]
    return shifts[int(np.argmin(costs))]


def _overlap(shift, shape):
    """Slices of a shifted picture, and of an unshifted one, that show the same."""
    there = tuple(
        slice(max(amount, 0), max(size + min(amount, 0), 0))
        for amount, size in zip(shift, shape, strict=True)
    )
    here = tuple(
        slice(max(-amount, 0), max(size - max(amount, 0), 0))
        for amount, size in zip(shift, shape, strict=True)
    )
    return there, here


def keeps_mosaic(shift, layout):
    """Whether a shift by whole packed pixels puts every sample where its filter is.

    All do for Bayer. The X-Trans filters repeat after six pixels, two packed ones, and besides
    after three rows and three columns together: rows and columns must be both odd or both even.
    """
    places = {
        channel: [(row % layout.scale, column % layout.scale) for row, column in sites]
        for channel, sites in enumerate(layout.sites)
    }
    cells = layout.cells
    return all(
        sites[row * cells + column]
        == sites[(row + shift[0]) % cells * cells + (column + shift[1]) % cells]
        for sites in places.values()
        for row in range(cells)
        for column in range(cells)
    )


def whole_shift(shift, layout, intact=True):
    """The shift in whole packed pixels that comes next to the one found.

    Args:
      shift: `Shift`, in half-size pixels.
      layout: `packing.BAYER` or `packing.XTRANS`.
      intact: only shifts that `keeps_mosaic` allows. Without it, every sample still stays in a
        channel of its colour, but red and blue ones of X-Trans may lie one raw pixel off.

    Returns:
      (rows, columns) in packed pixels.
    """
    wanted = 2 * shift.rows, 2 * shift.columns
    low = [math.floor(amount) for amount in wanted]
    around = [(low[0] + row, low[1] + column) for row in (0, 1) for column in (0, 1)]
    fitting = [place for place in around if not intact or keeps_mosaic(place, layout)]
    return min(fitting, key=lambda place: math.dist(place, wanted))


def shift_frame(frame, shift, fill):
    """Moves a packed frame's content by whole packed pixels.

    Args:
      frame: [H, W, C].
      shift: (rows, columns) further down and right; negative ones go up and left.
      fill: [H, W, C] the reference, whose samples fill the border that comes free. A mirror image
        would be false content, and the fusion, a maximum, keeps what is false and bright.

    Returns:
      [H, W, C], a new array.
    """
    moved = fill.copy()
    there, here = _overlap(shift, frame.shape[:2])
    moved[there] = frame[here]
    return moved


def _neighbours(values, radius, pick):
    """Combines (2 radius + 1)^2 neighbours of [h, w, ...] with a ufunc; borders are mirrored."""
    for axis in (0, 1):
        margins = [(0, 0)] * values.ndim
        margins[axis] = (radius, radius)
        padded = np.pad(values, margins, mode="symmetric")
        size = values.shape[axis]
        pieces = (
            padded[(slice(None),) * axis + (slice(start, start + size),)]
            for start in range(2 * radius + 1)
        )
        values = next(pieces).copy()
        for piece in pieces:
            pick(values, piece, out=values)
    return values


def _noise_curve(difference, brightness, bins=16):
    """Noise of one channel's difference [h, w] at each pixel's brightness [h, w].

    From blocks of 2 x 2 pixels, the difference of their diagonals, which sees nothing of what moves
    but its edges: what is bright only because something moved there does not pass for noise.
    """
    rows, columns = (size // 2 * 2 for size in difference.shape)
    blocks = difference[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
    diagonal = blocks[:, 0, :, 0] - blocks[:, 0, :, 1] - blocks[:, 1, :, 0] + blocks[:, 1, :, 1]
    diagonal = np.abs(diagonal) / 2
    light = brightness[:rows:2, :columns:2]
    counted = diagonal > 0  # zero: saturated, or the reference itself at the border
    if not counted.any():
        return np.zeros_like(brightness)
    diagonal, light = diagonal[counted], light[counted]
    edges = np.quantile(light, np.linspace(0, 1, bins + 1))
    which = np.clip(np.searchsorted(edges, light, side="right") - 1, 0, bins - 1)
    filled = [index for index in range(bins) if (which == index).any()]
    noise = [_MAD * np.median(diagonal[which == index]) for index in filled]
    centres = [np.median(light[which == index]) for index in filled]
    # Noise grows with light; where it seems to shrink, saturation has cut it off.
    return np.interp(brightness, centres, np.maximum.accumulate(noise))


def _differing(coarse, reference, noise_sample, radius, sigmas):
    """[h, w] bool: where means over (2 radius + 1)^2 pixels differ; see `moving_regions`."""
    window = 2 * radius + 1
    smooth, smooth_reference = (
        _neighbours(values, radius, np.add) / window**2 for values in (coarse, reference)
    )
    difference = np.abs(smooth - smooth_reference)
    # What is left of the shift and a denoiser's varying edges stay within the neighbours' range.
    slack = _neighbours(smooth_reference, 1, np.maximum)
    slack -= _neighbours(smooth_reference, 1, np.minimum)
    slack *= 0.5
    brightness = (smooth + smooth_reference) / 2
    total = np.zeros(coarse.shape[:2])
    for channel in range(coarse.shape[-1]):
        noise = _noise_curve(noise_sample[..., channel], brightness[..., channel])
        beyond = difference[..., channel]
        counted = beyond > 0  # zero is the reference itself at the border
        relative = beyond[counted] / np.maximum(noise[counted], _FLOOR)
        # The window leaves a part of the white noise, and a tenth may be common to whole rows. The
        # bound keeps a frame that differs everywhere from passing for a noisy one.
        left = math.hypot(1 / window, 0.1)
        if relative.size:
            left = min(left, _MAD * np.median(relative))
        beyond = np.maximum(beyond - slack[..., channel], 0)
        total += (beyond / np.maximum(noise * left, _FLOOR)) ** 2
    # In pure noise the total follows a chi-square distribution of C degrees of freedom.
    freedom = coarse.shape[-1]
    return total > freedom + sigmas * math.sqrt(2 * freedom)


def moving_regions(
    coarse, reference, half, reference_half, sigmas=MOTION_SIGMAS, margin=MOTION_MARGIN
):
    """Where an aligned frame differs from the reference by more than noise explains.

    Args:
      coarse: [h, w, C] coarse output of the aligned frame.
      reference: [h, w, C] that of the reference.
      half: [h, w, C] the aligned frame at half size, as the coarse network got it: its noise is
        white, so that it can be measured whatever moves.
      reference_half: [h, w, C] that of the reference.
      sigmas: see `MOTION_SIGMAS`.
      margin: half-size pixels by which moving regions are widened.

    Returns:
      [h, w] bool.
    """
    moving = np.zeros(coarse.shape[:2], bool)
    for radius in _WINDOWS:
        moving |= _differing(coarse, reference, half - reference_half, radius, sigmas)
    opened = _neighbours(_neighbours(moving, 1, np.logical_and), 1, np.logical_or)
    return _neighbours(opened, margin, np.logical_or) if margin else opened


def replace_moving(frame, reference, moving):
    """The frame [H, W, C] with the reference's samples where `moving` [H/2, W/2] is true."""
    if not moving.any():
        return frame
    full = moving.repeat(2, 0).repeat(2, 1)
    return np.where(full[..., None], reference, frame)


def _misfit(rest, coarse, noise_sample):
    """What a rest of the shift changes, as a share of the noise.

    Args:
      rest: (rows, columns) in half-size pixels.
      coarse: [h, w, C] coarse output of the reference.
      noise_sample: [h, w] difference of two half-size frames' luminances.

    Returns:
      root of the mean square over the picture, over the standard deviation of the noise.
    """
    if min(coarse.shape[:2]) < 2:
        return 0.0
    slopes = np.gradient(_luminance(coarse))
    change = np.sqrt(np.mean((rest[0] * slopes[0] + rest[1] * slopes[1]) ** 2))
    difference = np.diff(np.diff(noise_sample, axis=0), axis=1) / 2
    counted = np.abs(difference[difference != 0])  # zero is the reference itself at the border
    noise = _MAD * np.median(counted) if counted.size else 0
    return float(change / max(noise, _FLOOR))


def sharpness(coarse):
    """Gradient energy of a coarse output [h, w, C]: greatest for the frame least blurred."""
    light = _luminance(coarse)
    return float((np.diff(light, axis=0) ** 2).mean() + (np.diff(light, axis=1) ** 2).mean())


@dataclasses.dataclass(frozen=True)
class View:
    """A packed frame and what is compared of it.

    Attributes:
      frame: [H, W, C].
      half: [h, w, C] at half size.
      coarse: [h, w, C] coarse output.
    """

    frame: np.ndarray
    half: np.ndarray
    coarse: np.ndarray


def view_of(frame, coarse_model):
    """The `View` of a packed frame; `coarse_model` as for `align_burst`."""
    half = half_size(frame)
    return View(frame, half, np.asarray(coarse_model(half[None]), np.float32)[0])


def match_frame(
    view,
    reference,
    coarse_model,
    layout,
    *,
    index=0,
    align=True,
    motion_mask=True,
    keep_all=False,
    intact=True,
):
    """Makes one frame fit the reference. For the arguments not named here see `align_burst`.

    Args:
      view: `View` of the frame.
      reference: `View` of the reference.
      index: of the frame in the burst, for the note.

    Returns:
      (packed frame [H, W, C], where it moves [H/2, W/2] bool, `Note`). The frame is the very array
      of `view` if it is not shifted; if `Note.kept` is false, it is not to be used.
    """
    shift, confidence, rest, matches = (0, 0), None, None, True
    if align:
        found = find_shift(view.coarse, reference.coarse)
        confidence = found.confidence
        nearest = whole_shift(found, layout, intact)
        if confidence >= LEAST_CONFIDENCE:
            shift = nearest
        else:
            agrees = found.confidence_unshifted >= LEAST_CONFIDENCE_UNSHIFTED
            matches = agrees and not any(nearest)
    if any(shift):
        moved = shift_frame(view.frame, (-shift[0], -shift[1]), reference.frame)
        view = view_of(moved, coarse_model)
    if align:
        left = found.rows - shift[0] / 2, found.columns - shift[1] / 2
        noise_sample = _luminance(view.half) - _luminance(reference.half)
        rest = _misfit(left, reference.coarse, noise_sample)
        matches = matches and rest <= MOST_REST
    moving = moving_regions(view.coarse, reference.coarse, view.half, reference.half)
    share = float(moving.mean())
    note = Note(
        frame=index,
        shift=shift,
        confidence=confidence,
        rest=rest,
        moving=share,
        masked=motion_mask,
        kept=keep_all or not align or (matches and share <= MOST_MOVING),
    )
    return view.frame, moving, note


def align_burst(
    frames,
    coarse_model,
    layout,
    reference="first",
    *,
    align=True,
    motion_mask=True,
    keep_all=False,
    intact=True,
):
    """Makes the frames of a hand-held burst fit its reference.

    Args:
      frames: sequence of F packed frames [H, W, C] float32 in 0..1, brightened by the exposure
        ratio, H and W even. Each is asked for once, or twice if the reference is "sharpest".
      coarse_model: callable from half-size frames [1, h, w, C] to coarse outputs of the same
        shape, such as `Enhancer.coarse`.
      layout: `packing.BAYER` or `packing.XTRANS`.
      reference: index of the frame the others have to fit, "first", "center" (F // 2) or
        "sharpest" (of the greatest `sharpness`).
      align: undo each frame's shift, and leave out those that do not match the reference:
        neither a shift was found nor do they agree as they are, its rest between the packed pixels
        changes more than `MOST_REST`, or more than `MOST_MOVING` of the picture differs. With
        `motion_mask` also those that would mask more of the others than they show.
      motion_mask: put the reference's samples where something moves in any frame that matches.
      keep_all: leave out none.
      intact: see `whole_shift`.

    Returns:
      (list of packed frames, index of the reference in it, list of F `Note`). The frames given are
      not changed; those that nothing was done to are the same arrays.

    Raises:
      InputError: no frames, unequal or odd sizes, or a reference that is not there.
    """
    count = len(frames)
    if not count:
        raise InputError("a burst needs at least one frame")
    index = _reference_index(frames, coarse_model, reference)
    fixed = view_of(frames[index], coarse_model)
    kept, regions, notes, place = [], [], [], 0
    for number in range(count):
        if number == index:
            place = len(kept)
            kept.append(fixed.frame)
            regions.append(np.zeros(fixed.half.shape[:2], bool))
            notes.append(Note(number, reference=True))
            continue
        frame = frames[number]
        if frame.shape != fixed.frame.shape:
            raise InputError(
                f"frame {number} has the shape {list(frame.shape)}, the reference, frame {index}, "
                f"{list(fixed.frame.shape)}: a burst's frames are of one size"
            )
        if not (align or motion_mask):
            kept.append(frame)
            notes.append(Note(number))
            continue
        frame, moving, note = match_frame(
            view_of(frame, coarse_model),
            fixed,
            coarse_model,
            layout,
            index=number,
            align=align,
            motion_mask=motion_mask,
            keep_all=keep_all,
            intact=intact,
        )
        notes.append(note)
        if note.kept:
            kept.append(frame)
            regions.append(moving)
    if motion_mask:
        numbers = [note.frame for note in notes if note.kept]
        if align and not keep_all:
            used = _worth_keeping(regions, place)
            dropped = {numbers[index] for index in range(len(kept)) if index not in used}
            notes = [
                dataclasses.replace(note, kept=False) if note.frame in dropped else note
                for note in notes
            ]
            kept, regions = [kept[index] for index in used], [regions[index] for index in used]
            place = used.index(place)
        kept = _replace_everywhere(kept, regions, place)
        replaced = float(_path(regions).mean())
        notes = [
            dataclasses.replace(note, replaced=replaced) if note.masked and note.kept else note
            for note in notes
        ]
    return kept, place, notes


def _path(regions):
    """[h, w] bool: where any frame that matches the reference was seen to move."""
    return np.logical_or.reduce([moving for moving in regions if moving.mean() <= MOST_MOVING])


def _worth_keeping(regions, place):
    """Indices of the frames, that of the reference among them, which show most together.

    What moves in one of them is lost of all. As long as the others show more without one than with
    it, counted in frames times share of the picture, it is left out.
    """
    used = list(range(len(regions)))

    def shown(indices):
        moving = np.logical_or.reduce([regions[index] for index in indices])
        return (len(indices) - 1) * (1 - moving.mean())

    while len(used) > 2:
        fewer = [[other for other in used if other != index] for index in used if index != place]
        best = max(fewer, key=shown)
        if shown(best) <= shown(used):
            break
        used = best
    return used


def _replace_everywhere(frames, regions, place):
    """Puts the reference's samples where any frame that matches it was seen to move.

    What moves is on its way from frame to frame, and where it is hard to see in one it is not in
    another.
    """
    path = _path(regions)
    return [
        frame if number == place else replace_moving(frame, frames[place], moving | path)
        for number, (frame, moving) in enumerate(zip(frames, regions, strict=True))
    ]


def _reference_index(frames, coarse_model, reference):
    count = len(frames)
    if reference == "sharpest":
        return max(
            range(count), key=lambda number: sharpness(view_of(frames[number], coarse_model).coarse)
        )
    index = {"first": 0, "center": count // 2}.get(reference, reference)
    if not isinstance(index, int) or not 0 <= index < count:
        raise InputError(
            f"the reference frame {reference!r} is none of the {count} frames: give "
            f"{', '.join(REFERENCES)}, or an index from 0 to {count - 1}"
        )
    return index
