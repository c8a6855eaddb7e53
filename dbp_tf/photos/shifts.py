"""The shake of the hand: by how much two frames are shifted, and how a shift is undone.

Frames are compared as the coarse network sees them, which is clean enough even at an exposure ratio
of 300. A shift is undone in whole packed pixels: samples move, they are never mixed.

Axis letters: H W packed rows and columns, C packed channels; h w those of the half-size frames and
of the coarse outputs. A shift is (rows, columns) by which content lies further down and right than
in the reference.
"""

import dataclasses
import math

import numpy as np

from dbp_tf.raw.packing import Layout

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
_LEAN = 2  # pixels by which moving objects may draw a peak away

# Noise is taken to be at least that: without any, rounding would pass for a difference.
NOISE_FLOOR = 1e-3

MAD = 1.4826  # median of absolute values to standard deviation, for a normal distribution


@dataclasses.dataclass(frozen=True)
class Shift:
    """Where a frame's content lies against the reference, in half-size pixels.

    Attributes:
      rows, columns: how much further down and right.
      confidence: height of the correlation's peak over the spread around it.
      confidence_unshifted: the same at no shift at all.
    """

    rows: float
    columns: float
    confidence: float
    confidence_unshifted: float


def luminance(coarse: np.ndarray) -> np.ndarray:
    """[h, w]: mean of the channels, its square root, so that noise is as strong everywhere."""
    return np.sqrt(np.maximum(coarse.mean(-1, dtype=np.float64), 0) + _DARK)


def _spectrum(coarse):
    """Fourier transform of the luminance, faded out to the borders."""
    light = luminance(coarse)
    rows, columns = (np.hanning(size + 2)[1:-1] for size in light.shape)
    window = rows[:, None] * columns
    return np.fft.fft2((light - (window * light).sum() / window.sum()) * window)


def find_shift(coarse: np.ndarray, reference: np.ndarray) -> Shift:
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
    spread = MAD * np.median(np.abs(near - np.median(near)))
    # A bright object that moves may have the highest peak, but it is a small part of the picture.
    places = [(0, 0), *_peaks(near, reach)]
    light, light_of_reference = (
        neighbours(luminance(values), 1, np.add) / 9 for values in (coarse, reference)
    )
    whole = _least_different(light, light_of_reference, places)

    # The transform is evaluated between the pixels around the peak.
    between = np.arange(-1, 1 + _STEP / 2, _STEP)
    down, right = (
        np.exp(2j * math.pi * np.outer(place + between, values))
        for place, values in zip(whole, frequencies, strict=True)
    )
    fine = (down @ phases @ right.T).real / surface.size
    heights = np.array([fine.max(), surface[0, 0]]) - np.median(near)
    confidences = heights / max(spread, _FLAT**2)
    # Moving objects draw the peak towards themselves; the fit of most of the picture is not drawn.
    rows, columns = _refined(light, light_of_reference, whole)
    return Shift(rows, columns, *map(float, confidences))


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
    which a pixel counts less the more it differs, so that moving objects hardly count.
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
    # A moving object differs a lot under every shift; the bound keeps it from deciding.
    most = 3 * min(float(np.median(difference)) for difference in differences)
    costs = [float(np.minimum(difference, most).mean()) for difference in differences]
    return shifts[int(np.argmin(costs))]


def _overlap(shift, shape):
    """Slices of a shifted picture, and of an unshifted one, that show the same."""
    there, here = (
        tuple(
            slice(max(amount, 0), max(size + min(amount, 0), 0))
            for amount, size in zip(amounts, shape, strict=True)
        )
        for amounts in (shift, [-amount for amount in shift])
    )
    return there, here


def keeps_mosaic(shift: tuple[int, int], layout: Layout) -> bool:
    """Whether a shift by whole packed pixels puts every sample where its filter is.

    All do for Bayer. The X-Trans filters repeat after six pixels, two packed ones, and besides
    after three rows and three columns together: rows and columns must be both odd or both even.
    """
    # Where in its packed pixel each sample lies.
    places = np.array(layout.sites) % layout.scale
    places = places.reshape(layout.channels, layout.cells, layout.cells, 2)
    return np.array_equal(np.roll(places, shift, axis=(1, 2)), places)


def whole_shift(shift: Shift, layout: Layout) -> tuple[int, int]:
    """The shift in whole packed pixels nearest to the one found that `keeps_mosaic` allows."""
    wanted = 2 * shift.rows, 2 * shift.columns
    low = [math.floor(amount) for amount in wanted]
    around = [(low[0] + row, low[1] + column) for row in (0, 1) for column in (0, 1)]
    fitting = [place for place in around if keeps_mosaic(place, layout)]
    return min(fitting, key=lambda place: math.dist(place, wanted))


def shift_frame(frame: np.ndarray, shift: tuple[int, int], fill: np.ndarray) -> np.ndarray:
    """Moves a packed frame's content by whole packed pixels.

    Args:
      frame: [H, W, C].
      shift: (rows, columns) further down and right.
      fill: [H, W, C] the reference, whose samples fill the border that comes free. A mirror image
        would be false content, and the fusion, a maximum, keeps false content that is bright.

    Returns:
      [H, W, C], a new array.
    """
    moved = fill.copy()
    there, here = _overlap(shift, frame.shape[:2])
    moved[there] = frame[here]
    return moved


def misfit(rest: tuple[float, float], coarse: np.ndarray, noise_sample: np.ndarray) -> float:
    """How much the remainder of a shift changes the picture, as a share of the noise.

    Args:
      rest: (rows, columns) in half-size pixels.
      coarse: [h, w, C] coarse output of the reference.
      noise_sample: [h, w] difference of two half-size frames' luminances.

    Returns:
      root of the mean square over the picture, over the standard deviation of the noise.
    """
    if min(coarse.shape[:2]) < 2:
        return 0.0
    slopes = np.gradient(luminance(coarse))
    change = np.sqrt(np.mean((rest[0] * slopes[0] + rest[1] * slopes[1]) ** 2))
    difference = np.diff(np.diff(noise_sample, axis=0), axis=1) / 2
    counted = np.abs(difference[difference != 0])  # zero is the reference itself at the border
    noise = MAD * np.median(counted) if counted.size else 0
    return float(change / max(noise, NOISE_FLOOR))


def neighbours(values: np.ndarray, radius: int, combine: np.ufunc) -> np.ndarray:
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
            combine(values, piece, out=values)
    return values
