"""Motion in a burst: where a frame differs from the reference by more than noise explains.

Axis letters: H W packed rows and columns, C packed channels; h w those of the half-size frames and
of the coarse outputs.
"""

import math

import numpy as np

from dbp_tf.photos.shifts import MAD, NOISE_FLOOR, neighbours

# How far the squared difference of two pixels' channels exceeds that of noise alone, in standard
# deviations of that, before something has moved. A denoiser's errors have heavier tails than
# noise: at 6, up to 1 % of simulated still pictures passed for moving (up to 6 % behind a mere
# blur instead of the coarse network), at 4 up to 3 %; at 12, half of what moved was missed at
# ratio 300, which cost up to 4 dB there.
MOTION_SIGMAS = 6.0

# Means over windows of these radii, in half-size pixels, are compared: sharp outlines, and faint
# differences of something large.
_WINDOWS = (1, 4)

# Half-size pixels by which moving regions are widened, to cover an object's faint rim and the reach
# of the network's convolutions.
MOTION_MARGIN = 4


def _noise_curve(difference, brightness, bins=16):
    """Noise of one channel's difference [h, w] at each pixel's brightness [h, w].

    From blocks of 2 x 2 pixels, the difference of their diagonals, which sees only the edges of a
    moving object: its surface, brighter or darker than the reference, does not pass for noise.
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
    noise = [MAD * np.median(diagonal[which == index]) for index in filled]
    centres = [np.median(light[which == index]) for index in filled]
    # Noise grows with light; where it seems to shrink, saturation has cut it off.
    return np.interp(brightness, centres, np.maximum.accumulate(noise))


def _differing(coarse, reference, noise_sample, radius):
    """[h, w] bool: where means over (2 radius + 1)^2 pixels differ; see `moving_regions`."""
    window = 2 * radius + 1
    smooth, smooth_reference = (
        neighbours(values, radius, np.add) / window**2 for values in (coarse, reference)
    )
    difference = np.abs(smooth - smooth_reference)
    # The remainder of the shift and a denoiser's varying edges stay within the neighbours' range.
    slack = neighbours(smooth_reference, 1, np.maximum)
    slack -= neighbours(smooth_reference, 1, np.minimum)
    slack *= 0.5
    brightness = (smooth + smooth_reference) / 2
    total = np.zeros(coarse.shape[:2])
    for channel in range(coarse.shape[-1]):
        noise = _noise_curve(noise_sample[..., channel], brightness[..., channel])
        beyond = difference[..., channel]
        counted = beyond > 0  # zero is the reference itself at the border
        relative = beyond[counted] / np.maximum(noise[counted], NOISE_FLOOR)
        # The window leaves a part of the white noise, and a tenth may be common to whole rows. The
        # bound keeps a frame that differs everywhere from passing for a noisy one.
        left = math.hypot(1 / window, 0.1)
        if relative.size:
            left = min(left, MAD * np.median(relative))
        beyond = np.maximum(beyond - slack[..., channel], 0)
        total += (beyond / np.maximum(noise * left, NOISE_FLOOR)) ** 2
    # In pure noise the total follows a chi-square distribution of C degrees of freedom.
    freedom = coarse.shape[-1]
    return total > freedom + MOTION_SIGMAS * math.sqrt(2 * freedom)


def moving_regions(
    coarse: np.ndarray,
    reference: np.ndarray,
    half: np.ndarray,
    reference_half: np.ndarray,
    margin: int = MOTION_MARGIN,
) -> np.ndarray:
    """Where an aligned frame differs from the reference by more than noise explains.

    Args:
      coarse: [h, w, C] coarse output of the aligned frame.
      reference: [h, w, C] that of the reference.
      half: [h, w, C] the aligned frame at half size, as the coarse network got it: its noise is
        white, so that it can be measured even where something moves.
      reference_half: [h, w, C] that of the reference.
      margin: half-size pixels by which moving regions are widened.

    Returns:
      [h, w] bool.
    """
    moving = np.zeros(coarse.shape[:2], bool)
    for radius in _WINDOWS:
        moving |= _differing(coarse, reference, half - reference_half, radius)
    opened = neighbours(neighbours(moving, 1, np.logical_and), 1, np.logical_or)
    return neighbours(opened, margin, np.logical_or)


def replace_moving(frame: np.ndarray, reference: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The frame [H, W, C] with the reference's samples where `moving` [H/2, W/2] is true."""
    if not moving.any():
        return frame
    full = moving.repeat(2, 0).repeat(2, 1)
    return np.where(full[..., None], reference, frame)
