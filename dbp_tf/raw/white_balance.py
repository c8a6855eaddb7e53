"""White balance across sensors: another camera's colours brought to those of the training camera.

The network learnt to turn the raw colours of one camera into balanced ones, so that camera's
multipliers are part of its weights. On another sensor, or in another light, grey has other raw
values: scaled by the quotient of the multipliers, grey becomes the training camera's grey. Colours
other than grey still differ by the two sensors' colour matrices.

Simulated sensors of three other makers and the training camera itself, in daylight and tungsten
light, restored by an ideal network (benchmarks/white_balance.py, four photographs that scikit-image
brings): colours as they are come within 14 to 27 dB of the ground truth, scaled ones within 31 to
34 dB; the training camera in its own light comes within 34 dB either way. Hence the default.

Weights of this project may say for which multipliers they were trained (`trained_for`); the
published ones do not. `channel_scales_for` decides for evaluation, training and Python alike;
`scales` adds the choices that own photographs have.

A file that notes no balance gets one estimated from its signal: the scene is taken for grey on
average (Buchsbaum, A spatial processor model for object colour perception, 1980).
"""

import math
import os
from collections.abc import Sequence

import numpy as np

from dbp_tf.errors import InputError
from dbp_tf.raw.cameras import Camera
from dbp_tf.raw.packing import Layout

CHOICES = ("none", "camera", "auto")
DEFAULT = "camera"

# Multipliers of red, green and blue, green 1.
Multipliers = tuple[float, float, float]

# Multipliers that differ by less are of one light: files store them with three or four digits.
_SAME_LIGHT = 1e-3

# Blocks whose brightest channel lies above this share of the white level hold saturated pixels.
_SATURATED = 0.8

# The darkest quarter of a dark frame is mostly black level and noise; the brightest fiftieth are
# lamps, whose colour is not the scene's.
_DARKEST, _BRIGHTEST = 0.25, 0.98

# Sensors under daylight, tungsten and shade lie well within; a scene of one colour does not.
_LEAST, _MOST = 0.4, 5.0


def parse(text: str) -> str | Multipliers:
    """The value of `--white_balance`: one of `CHOICES`, or multipliers "R,G,B" with green 1.

    Raises:
      InputError: it is none of these.
    """
    return text if text in CHOICES else _given(text, "none, camera, auto")


def trained_for(text: str, camera: Camera) -> Multipliers | None:
    """Reads the value of the training programs' `--white_balance`.

    Args:
      text: "none" (published: frames are left as they are), "camera" (the camera's multipliers),
        or multipliers "R,G,B".
      camera: of the training frames.

    Returns:
      Multipliers to which all training frames are scaled, green 1; None to leave them.

    Raises:
      InputError: it is none of these.
    """
    named = {"none": None, "camera": camera.white_balance}
    return named[text] if text in named else _given(text, "none, camera")


def _given(text, words):
    """Multipliers given as "R,G,B"; `words` are the flag's other values, for the error."""
    try:
        return checked(text.split(","), "")
    except InputError:
        raise InputError(
            f"--white_balance={text}: give {words}, or three multipliers R,G,B such as 2.1,1,1.6"
        ) from None


def checked(multipliers: Sequence[float | str], source: str | os.PathLike) -> Multipliers:
    """Multipliers (R, G, B) with green brought to 1.

    Raises:
      InputError: they are not three numbers in a plausible range; `source` is named.
    """
    try:
        red, green, blue = map(float, multipliers)
    except (TypeError, ValueError):
        red = green = blue = math.nan
    if not all(0.01 <= value <= 100 for value in (red, green, blue)):
        raise InputError(
            f"{source} says white_balance {multipliers!r}: it is three multipliers [R, G, B] such "
            f"as [2.1, 1, 1.6], or null"
        )
    return red / green, 1.0, blue / green


def channel_scales_for(
    noted: Multipliers | None, trained: Multipliers | None, layout: Layout
) -> np.ndarray:
    """The factors that bring a file's packed channels to the white balance weights expect.

    They are applied after black level and exposure ratio, before the clip at 1. All frames of a
    burst take the factors of the first one, as the camera's automatic may change its mind between
    two shots of one light.

    Args:
      noted: multipliers of the file, `RawFrame.white_balance` or `raw_cache.Entry.white_balance`.
      trained: multipliers that the weights were trained for, `Enhancer.white_balance`.
      layout: `packing.BAYER` or `packing.XTRANS`.

    Returns:
      [C] float64; ones where the file or the weights say nothing, or both the same light.
    """
    if noted is None or trained is None or np.allclose(noted, trained, rtol=_SAME_LIGHT, atol=0):
        return np.ones(layout.channels)
    return np.array(channel_scales(_quotient(noted, trained), layout))


def describe(trained: Multipliers) -> str:
    """The line for the log of a run whose weights say their white balance."""
    return (
        f"White balance: the weights were trained for {_text(trained)}; colours are scaled to that "
        f"from the multipliers in the files."
    )


def needs_estimate(choice: str | Multipliers, noted: Multipliers | None) -> bool:
    """Whether `scales` needs multipliers that are estimated from the signal."""
    return choice == "auto" or (choice == "camera" and noted is None)


def estimate(blocks: np.ndarray, layout: Layout, name: str | os.PathLike) -> Multipliers:
    """The white balance under which the scene is grey on average.

    Saturated blocks, the darkest quarter and the brightest fiftieth are left out.

    Args:
      blocks: [h, w, C] means of the packed signal over blocks of pixels, 0 at the black and 1 at
        the white level, not brightened and not clipped (`photos.brightness.block_means`).
      layout: `packing.BAYER` or `packing.XTRANS`.
      name: of the file or burst, for the error.

    Raises:
      InputError: there is no light from which to estimate.
    """
    blocks = np.asarray(blocks, np.float64).reshape(-1, layout.channels)
    unsaturated = blocks[blocks.max(1) < _SATURATED]
    blocks = unsaturated if len(unsaturated) else blocks
    brightness = blocks.mean(1)
    low, high = np.quantile(brightness, [_DARKEST, _BRIGHTEST])
    light = blocks[(brightness >= low) & (brightness <= high)].mean(0)
    colours = np.array(layout.channel_colours)
    red, green, blue = (light[colours == colour].mean() for colour in "RGB")
    if not green > 0:
        raise InputError(
            f"{name} shows no light from which to estimate the white balance: give "
            f"--white_balance none, or multipliers R,G,B"
        )
    # A channel without light may lie a little below black.
    red, blue = np.clip(np.array([red, blue]) / green, 1 / _MOST, 1 / _LEAST)
    return float(1 / red), 1.0, float(1 / blue)


def scales(
    choice: str | Multipliers,
    noted: Multipliers | None,
    trained: Multipliers,
    estimated: Multipliers | None = None,
) -> tuple[Multipliers, str]:
    """The factors that bring a file's colours to those that the network was trained on.

    Args:
      choice: see `parse`.
      noted: multipliers that the camera noted in the file, `RawFrame.white_balance`.
      trained: multipliers of the camera and light that the weights were trained on.
      estimated: see `estimate`; needed where `needs_estimate` says so.

    Returns:
      (factors of red, green and blue, a line for the log).
    """
    said = "the file notes none" if noted is None else f"the file notes {_text(noted)}"
    if choice == "none":
        return (1.0, 1.0, 1.0), f"white balance: {said}; left to the network"
    if isinstance(choice, tuple):
        said += f"; {_text(choice)} given"
        multipliers = choice
    elif choice == "camera" and noted is not None:
        multipliers = noted
    elif estimated is None:
        raise ValueError("the white balance of this file has to be estimated first")
    else:
        said += f"; {_text(estimated)} estimated from the signal, grey on average"
        multipliers = estimated
    factors = _quotient(multipliers, trained)
    return factors, f"white balance: {said}; colours scaled by {_text(factors)}"


def _quotient(here: Multipliers, there: Multipliers) -> Multipliers:
    return here[0] / there[0], here[1] / there[1], here[2] / there[2]


def channel_scales(colour_scales: Multipliers, layout: Layout) -> tuple[float, ...]:
    """Factors of red, green and blue as factors of the packed channels [C]."""
    return tuple(colour_scales["RGB".index(colour)] for colour in layout.channel_colours)


def _text(values):
    return "/".join(f"{value:.3g}" for value in values)
