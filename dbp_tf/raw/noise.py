"""Noise of a sensor: a mosaic of light becomes the raw values of a dark frame.

Wei et al., A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising, CVPR 2020,
"ELD": shot noise, read noise, row noise, an offset of each colour's black level, rounding to whole
DN; and column noise and a fixed pattern where a camera's description has them. Mosaics are
[rows, columns] in raw pixels. DN are those of the camera's raw files.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbp_tf.errors import InputError
from dbp_tf.raw.cameras import Camera, Noise, Uncertainty
from dbp_tf.raw.mosaics import colour_indices, spread

# Shapes of Tukey's lambda that differ by less give the same noise; at 0 its formulas divide by 0.
_SHAPE_OF_LOGISTIC = 1e-5

# Levels that grow with the ISO setting.
_LEVELS = ("gain_dn_per_electron", "read_noise_dn", "row_noise_dn", "column_noise_dn")


def noise_at(camera: Camera, iso: float) -> Noise:
    """The camera's noise at an ISO setting.

    Between two calibrated settings, gain and noise levels are interpolated by their logarithms over
    that of the ISO setting, as they grow with it; the shape and the black error linearly over the
    same.

    Raises:
      InputError: the setting lies beyond the calibrated ones.
    """
    known = camera.noise
    for entry in known:
        if entry.iso == iso:
            return entry
    for low, high in itertools.pairwise(known):
        if low.iso < iso < high.iso:
            return _between(low, high, iso)
    calibrated = ", ".join(f"{entry.iso:g}" for entry in known)
    raise InputError(
        f"--iso {iso:g} lies beyond the settings at which {camera.name} was calibrated "
        f"({calibrated}): give one of these" + (" or one between them" if len(known) > 1 else "")
    )


def _between(low, high, iso):
    share = math.log(iso / low.iso) / math.log(high.iso / low.iso)

    def mixed(name):
        one, other = (np.asarray(getattr(entry, name), float) for entry in (low, high))
        if name in _LEVELS and one > 0 and other > 0:
            return float(one ** (1 - share) * other**share)
        mean = (1 - share) * one + share * other
        return tuple(mean.tolist()) if mean.ndim else float(mean)

    names = {field.name for field in dataclasses.fields(Noise)} - {"iso", "uncertainty"}
    return Noise(iso=iso, uncertainty=Uncertainty(), **{name: mixed(name) for name in names})


def draw_noise(camera: Camera, rng: np.random.Generator) -> Noise:
    """The noise of a burst: at a random ISO setting, log-uniform over the calibrated ones.

    A camera with one setting has the noise of that one, and no random number is used.
    """
    least, most = camera.noise[0].iso, camera.noise[-1].iso
    if least == most:
        return camera.noise[0]
    iso = float(np.exp(rng.uniform(math.log(least), math.log(most))))
    return noise_at(camera, min(max(iso, least), most))


def draw_offset(noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """[3] error of the black level of one burst (R, G, B), in DN."""
    return np.array(noise.black_error_dn) + noise.black_error_spread_dn * rng.standard_normal(3)


def draw_fixed_pattern(
    noise: Noise, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray | None:
    """[rows, columns] offset of each pixel in all frames of a burst, in DN; None without any.

    Without any, no random number is used.
    """
    if not noise.fixed_pattern_dn:
        return None
    return rng.normal(0, noise.fixed_pattern_dn, shape)


def tukey_deviation(shape: float) -> float:
    """Standard deviation of Tukey's lambda distribution of scale 1; `shape` is above -0.5."""
    if abs(shape) < _SHAPE_OF_LOGISTIC:
        return math.pi / math.sqrt(3)
    squares = 1 / (1 + 2 * shape) - math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2)
    return math.sqrt(2 * squares) / abs(shape)


def tukey_quantiles(log_below: np.ndarray, log_above: np.ndarray, shape: float) -> np.ndarray:
    """Values of Tukey's lambda distribution of scale 1, by the logarithms of the shares p and 1 - p
    of all values that lie below and above them: (p^s - (1 - p)^s) / s for the `shape` s."""
    if abs(shape) < _SHAPE_OF_LOGISTIC:
        return log_below - log_above
    return np.expm1(shape * log_below) / shape - np.expm1(shape * log_above) / shape


def _read_noise(noise, shape, rng):
    """[rows, columns] read noise of a frame: Tukey's lambda at uniform random numbers."""
    uniform = rng.random(shape)
    # 0 is drawn once in 2**53 times.
    np.maximum(uniform, np.finfo(float).tiny, out=uniform)
    values = tukey_quantiles(np.log(uniform), np.log1p(-uniform), noise.read_noise_shape)
    return values * (noise.read_noise_dn / tukey_deviation(noise.read_noise_shape))


def expose(
    samples: np.ndarray,
    ratio: float,
    camera: Camera,
    noise: Noise,
    offset: ArrayLike,
    rng: np.random.Generator,
    pattern: Sequence[str] | None = None,
    fixed_pattern: np.ndarray | None = None,
) -> np.ndarray:
    """A dark frame.

    Shot noise is Poisson in electrons. Read noise follows Tukey's lambda distribution, whose tails
    are heavier than a Gaussian's: specks in the dark.

    Args:
      samples: [rows, columns] mosaic of the long exposure in 0..1.
      ratio: long over short exposure.
      camera: `Camera`, for its levels.
      noise: `Noise`.
      offset: [3] error of the black level (R, G, B), in DN.
      rng: `numpy.random.Generator`.
      pattern: the mosaic's filters; those of the camera by default.
      fixed_pattern: [rows, columns] of the burst, see `draw_fixed_pattern`.

    Returns:
      [rows, columns] uint16 in DN, 0 to the camera's white level.
    """
    gain = noise.gain_dn_per_electron
    signal = float(gain) * rng.poisson(_light(samples, camera) / (ratio * gain))
    signal += _read_noise(noise, samples.shape, rng)
    signal += rng.normal(0, noise.row_noise_dn, (samples.shape[0], 1))
    if noise.column_noise_dn:
        signal += rng.normal(0, noise.column_noise_dn, (1, samples.shape[1]))
    if fixed_pattern is not None:
        signal += fixed_pattern
    colours = colour_indices(pattern or camera.filters)
    signal += spread(np.asarray(offset)[colours], samples.shape)
    return _to_raw(signal, camera)


def expose_long(samples: np.ndarray, camera: Camera) -> np.ndarray:
    """The long exposure without noise: [rows, columns] uint16 in DN. See `expose`."""
    return _to_raw(_light(samples, camera), camera)


def _light(samples, camera):
    """The signal of the long exposure in DN above black, float64."""
    return np.multiply(samples, camera.white - camera.black, dtype=np.float64)


def _to_raw(signal, camera):
    return np.clip(np.rint(signal + camera.black), 0, round(camera.white)).astype(np.uint16)
