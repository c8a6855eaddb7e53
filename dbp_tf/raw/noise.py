"""Noise of a sensor: a mosaic of light becomes the raw values of a dark frame.

Wei et al., A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising, CVPR 2020,
"ELD": shot noise, read noise, row noise, an offset of each colour's black level, rounding to whole
DN. Mosaics are [rows, columns] in raw pixels. DN are 14-bit raw values.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbp_tf.raw import cameras
from dbp_tf.raw.mosaics import colour_indices, pattern_of, spread


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise of one sensor at one ISO setting, in DN of a 14-bit raw file.

    The defaults are those of a full-frame sensor at ISO 800. There the Sony A7S II was
    calibrated, after ELD's model, to 0.765 DN per electron, 3.55 DN read noise and 0.57 DN row
    noise (Feng et al., Learnability Enhancement for Low-light Raw Denoising, ACM MM 2022).
    There is no published calibration of the Fuji X-T2: it gets the same.

    Attributes:
      gain: DN per electron; scales the shot noise.
      read: standard deviation of the read noise.
      row: standard deviation of the offset that a row's pixels share.
      offset: mean error of the black level (R, G, B). ELD's calibration of the A7S II gives
        0.61, 0.58, 0.61 at the fourth of its nine ISO settings, -1.6 to 4.3 over all of them.
      offset_spread: standard deviation of each colour's error about that mean, drawn once a
        burst. The spread over the colours is 0.02 to 0.4 (0.24 on average) in ELD's calibrations
        of five cameras.
    """

    gain: float = 0.8
    read: float = 3.5
    row: float = 0.5
    offset: tuple[float, float, float] = (0.6, 0.6, 0.6)
    offset_spread: float = 0.25


def draw_offset(noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """[3] error of the black level of one burst (R, G, B), in DN."""
    return np.array(noise.offset) + noise.offset_spread * rng.standard_normal(3)


def expose(
    samples: np.ndarray,
    ratio: float,
    camera: cameras.Camera,
    noise: Noise,
    offset: ArrayLike,
    rng: np.random.Generator,
    pattern: Sequence[str] | None = None,
    black: ArrayLike | None = None,
) -> np.ndarray:
    """A dark frame.

    Shot noise is Poisson in electrons. Read noise follows the logistic distribution, which is
    ELD's Tukey lambda of shape 0: the A7S II was calibrated to shape -0.008 at ISO 800, 0.149 at
    ISO 100 and -0.091 at ISO 25600 (Feng et al., see `Noise`). Its tails are heavier than a
    Gaussian's: specks in the dark.

    Args:
      samples: [rows, columns] mosaic of the long exposure in 0..1.
      ratio: long over short exposure.
      camera: `cameras.Camera`, for its levels.
      noise: `Noise`.
      offset: [3] error of the black level (R, G, B), in DN.
      rng: `numpy.random.Generator`.
      pattern: the mosaic's filters; those of the camera by default.
      black: black level of each filter site [period, period], in DN; the camera's by default.

    Returns:
      [rows, columns] uint16 in DN, 0 to the camera's white level.
    """
    levels = spread([[camera.black]] if black is None else black, samples.shape)
    electrons = samples * (camera.white - levels) / (ratio * noise.gain)
    signal = float(noise.gain) * rng.poisson(electrons)
    # The standard deviation of a logistic variable is pi / sqrt(3) times its scale.
    signal += rng.logistic(0, noise.read * math.sqrt(3) / math.pi, samples.shape)
    signal += rng.normal(0, noise.row, (samples.shape[0], 1))
    colours = colour_indices(pattern or pattern_of(camera))
    signal += spread(np.asarray(offset)[colours], samples.shape)
    return _to_raw(signal, levels, camera)


def expose_long(
    samples: np.ndarray, camera: cameras.Camera, black: ArrayLike | None = None
) -> np.ndarray:
    """The long exposure without noise: [rows, columns] uint16 in DN. See `expose`."""
    levels = spread([[camera.black]] if black is None else black, samples.shape)
    return _to_raw(samples * (camera.white - levels), levels, camera)


def _to_raw(signal, levels, camera):
    return np.clip(np.rint(signal + levels), 0, camera.white).astype(np.uint16)
