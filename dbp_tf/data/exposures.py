"""Dark bursts drawn anew from a clean long exposure, so that a network never sees noise twice."""

import dataclasses

import numpy as np

from dbp_tf.raw import cameras, mosaics, packing
from dbp_tf.raw.cameras import Noise
from dbp_tf.raw.noise import draw_fixed_pattern, draw_noise, draw_offset, expose
from dbp_tf.raw.white_balance import Multipliers

# Exposure ratios: most bursts are dark, and a fifth has next to no noise, to learn detail from.
_DARK, _BRIGHT, _BRIGHT_SHARE = (30, 330), (1, 30), 0.2

# Half of the bursts have exactly the sensor's noise; of the others gain, read and row noise vary by
# this standard deviation of their logarithm.
_KNOWN_SHARE, _NOISE_SPREAD = 0.5, 0.3

# Lights: that of the photograph, usual ones (Brooks et al., Unprocessing Images for Learned Raw
# Denoising, CVPR 2019) and any from tungsten to shade; ranges of the multipliers of red and blue.
_LIGHTS = None, ((1.9, 2.4), (1.5, 1.9)), ((1.3, 3.2), (1.2, 2.9))
_LIGHT_SHARES = 0.4, 0.4, 0.2


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How a dark burst is taken.

    Attributes:
      ratio: exposure ratio, long over short.
      light: multipliers (R, G, B) of the light; None for that of the long exposure.
      noise: of the sensor.
      offset: error of the black level (R, G, B), in DN.
      seed: of the noise of the frames.
    """

    ratio: float
    light: tuple[float, float, float] | None
    noise: Noise
    offset: tuple[float, float, float]
    seed: int


def draw_exposure(rng: np.random.Generator, vary_light: bool, camera: cameras.Camera) -> Exposure:
    """Draws ratio, light and noise level of a burst.

    Args:
      rng: random numbers.
      vary_light: whether light may differ from that of the long exposure.
      camera: `cameras.Camera`, for the noise of its sensor.
    """
    low, high = _BRIGHT if rng.random() < _BRIGHT_SHARE else _DARK
    ratio = min(float(np.exp(rng.uniform(np.log(low), np.log(high)))), packing.MAX_RATIO)
    ranges = _LIGHTS[rng.choice(len(_LIGHTS), p=_LIGHT_SHARES)] if vary_light else None
    light = None
    if ranges:
        red, blue = (float(rng.uniform(*ends)) for ends in ranges)
        light = red, 1.0, blue
    noise = draw_noise(camera, rng)
    factors = np.exp(_NOISE_SPREAD * rng.standard_normal(3))
    if rng.random() >= _KNOWN_SHARE:
        known = noise.gain_dn_per_electron, noise.read_noise_dn, noise.row_noise_dn
        gain, read, row = (factors * known).tolist()
        noise = dataclasses.replace(
            noise, gain_dn_per_electron=gain, read_noise_dn=read, row_noise_dn=row
        )
    offset = tuple(draw_offset(noise, rng).tolist())
    return Exposure(ratio, light, noise, offset, int(rng.integers(2**62)))


def dark_frames(
    clean: np.ndarray,
    exposure: Exposure,
    count: int,
    camera: cameras.Camera,
    noted: Multipliers | None,
) -> np.ndarray:
    """Dark frames of a clean long exposure.

    Args:
      clean: [H, W, C] packed long exposure, linear in 0..1, of whole periods.
      exposure: `Exposure`.
      count: F.
      camera: `cameras.Camera`, for the mosaic and the levels.
      noted: multipliers (R, G, B) of the long exposure's light; None with exposure.light None.

    Returns:
      [F, H, W, C] uint16 in DN of the camera's levels.
    """
    layout = camera.layout
    samples = packing.unpack(clean, layout)
    if exposure.light is not None:
        factors = np.asarray(noted, np.float32) / np.asarray(exposure.light, np.float32)
        sites = factors[mosaics.colour_indices(layout.colours)]
        samples = np.minimum(samples * mosaics.spread(sites, samples.shape), 1)
    rng = np.random.Generator(np.random.Philox(exposure.seed))
    fixed = draw_fixed_pattern(exposure.noise, samples.shape, rng)
    noise, offset = exposure.noise, exposure.offset
    # A packed picture starts with the layout's filters, wherever those of the camera's files do.
    frames = [
        expose(samples, exposure.ratio, camera, noise, offset, rng, layout.colours, fixed)
        for _ in range(count)
    ]
    return np.stack([packing.pack(frame, layout) for frame in frames])
