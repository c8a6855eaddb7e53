"""What the frames of each ISO setting give: the dark noise, the gain, the level of saturation."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dbp_tf.calibrate import checks, darks, pairs, transfer
from dbp_tf.calibrate.frames import Frame, Reader
from dbp_tf.errors import InputError
from dbp_tf.raw.exif import Shot

# To about this share the gain is in proportion to the ISO setting.
_GAIN_BY_ISO = 0.1

# Share of a saturated frame's pixels that have one value.
_LEAST_SATURATED = 0.9

# Share of the file's range at which saturation may lie. A file of 16 bit may hold 10 bits of a
# camera and state the white level of 16; below this there is hardly any light.
_LEAST_OF_RANGE = 0.01

# Share of the range that flat frames reach: they are to reach three quarters, and if they stay far
# below it, the white level may be that of more bits than the camera has.
_LEAST_OF_FLATS = 0.2


@dataclasses.dataclass
class Setting:
    """What was measured at one ISO setting.

    Attributes:
      iso: the setting.
      noise: of its dark frames.
      notes: sentences about its frames.
      gain: in DN per electron, 0 while it is unknown.
      gain_sd: one standard deviation of its error; None if it is unknown.
      gain_source: where the gain comes from, for the log.
      points: of its bright frames.
    """

    iso: float
    noise: darks.DarkNoise
    notes: list[str]
    gain: float = 0.0
    gain_sd: float | None = None
    gain_source: str = ""
    points: tuple[transfer.Point, ...] = ()


def of_darks(reader: Reader, iso: float, shots: Sequence[Shot]) -> Setting:
    """The noise of the dark frames of one ISO setting.

    Raises:
      InputError: see `Reader.read` and `checks.dark`.
    """
    frames = reader.read(shots, f"ISO {iso:g}, dark frames")
    stack = np.array([frame.samples for frame in frames])
    blacks = np.array([frame.black for frame in frames])
    noise = darks.measure(stack, blacks, frames[0].layout, frames[0].contiguous)
    return Setting(iso, noise, checks.dark(frames, noise))


def white_level(reader: Reader, shots: Sequence[Shot], notes: list[str]) -> float:
    """The level of saturation: that of overexposed frames or, without, the lowest of the files.

    Args:
      reader: has read the dark frames.
      shots: overexposed ones.
      notes: gets a sentence if the files do not agree.

    Raises:
      InputError: a frame is not saturated all over, or hardly above black.
    """
    frames = reader.read(shots, "saturated frames")
    if not frames:
        if len(reader.whites) > 1:
            notes.append(
                f"the files say white levels from {min(reader.whites):g} to "
                f"{max(reader.whites):g}: the lowest is taken; --saturated measures it"
            )
        return min(reader.whites)
    return float(min(map(_saturation, frames)))


def _saturation(frame: Frame) -> int:
    counts = np.bincount(frame.samples.ravel())
    commonest = int(counts.argmax())
    share = counts[commonest] / counts.sum()
    if share < _LEAST_SATURATED:
        raise InputError(
            f"{frame.path}, of --saturated, is not: its commonest value {commonest} is that of "
            f"{100 * share:.0f} % of the pixels; overexpose it all over, or leave --saturated out"
        )
    black = frame.black.mean()
    if commonest < black + _LEAST_OF_RANGE * (frame.white - black):
        raise InputError(
            f"{frame.path}, of --saturated, is not: nearly all its pixels are {commonest}, hardly "
            f"above black level {black:g}; overexpose it all over, or leave --saturated out"
        )
    return commonest


def add_gain(
    setting: Setting, reader: Reader, shots: Sequence[Shot], flag: str, white: float
) -> None:
    """Measures the gain from the bright frames of the setting.

    Args:
      setting: is given gain and points.
      reader: has read the dark frames.
      shots: of the setting.
      flag: by which they were given, "--flat" or "--picture".
      white: level of saturation in DN.

    Raises:
      InputError: see `Reader.read`, `pairs.of` and `checks`.
    """
    noise = setting.noise
    frames = reader.read(shots, f"ISO {setting.iso:g}, bright frames")
    if flag == "--flat":
        for frame in frames:
            checks.flat(frame, noise, white)
    found, notes = pairs.of(frames, flag)
    setting.notes += notes
    measured = []
    for pair in found:
        one = transfer.measure(
            [frame.samples for frame in pair],
            [frame.black + noise.level for frame in pair],
            noise.good,
            noise.total,
            white,
            frames[0].layout,
        )
        checks.pair(pair, one, flag)
        measured.append(one)
    checks.gains(found, measured, flag)
    setting.points = tuple(point for one in measured for point in one.points)
    setting.gain, setting.gain_sd = transfer.combined(setting.points)
    count = "one pair" if len(found) == 1 else f"{len(found)} pairs"
    setting.gain_source = f"{count} of {flag}"
    if len(found) == 1 and flag == "--flat":
        setting.notes.append(
            "the flat frames are of one brightness: others would show whether the sensor is linear"
        )
    if flag == "--flat":
        # Without the pixels that are hot or hit by a particle.
        top = max(np.quantile(frame.samples[noise.good], 0.999) for frame in frames)
        black = frames[0].black.mean()
        if top < black + _LEAST_OF_FLATS * (white - black):
            setting.notes.append(
                f"the flat frames reach {top:.0f} DN, far below white level {white:g}: if brighter "
                f"ones saturate below that level, give --saturated, which measures it"
            )


def fill_gains(settings: Sequence[Setting], given: float | None) -> None:
    """Gives settings without a gain one in proportion to their ISO.

    Args:
      settings: by rising ISO; without `given` at least one of them has a gain.
      given: DN per electron at the first of them; None if it was not given.
    """
    if given is not None:
        settings[0].gain, settings[0].gain_source = given, "--gain"
    known = [setting for setting in settings if setting.gain]
    for setting in settings:
        if not setting.gain:
            near = min(known, key=lambda one: abs(np.log(one.iso / setting.iso)))
            setting.gain = near.gain * setting.iso / near.iso
            setting.gain_sd = None if near.gain_sd is None else _GAIN_BY_ISO * setting.gain
            setting.gain_source = f"in proportion to that of ISO {near.iso:g}, not measured"
