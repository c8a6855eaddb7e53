"""White balance across sensors: another camera's colours brought to those of the training camera.

The network learnt to turn the raw colours of one camera into balanced ones, so that camera's
multipliers are part of its weights. On another sensor, or in another light, grey has other raw
values: scaled by the quotient of the multipliers, grey becomes the training camera's grey. Colours
other than grey still differ by the two sensors' colour matrices.

Simulated sensors of three other makers and the training camera itself, in daylight and tungsten
light, restored by an ideal network (benchmarks/white_balance.py, four photographs that scikit-image
brings): colours as they are come within 14 to 27 dB of the truth, scaled ones within 31 to 34 dB;
the training camera in its own light comes within 34 dB either way. Hence the default.
"""

import math

from dbp_tf.errors import InputError

CHOICES = ("none", "camera")
DEFAULT = "camera"


def parse(text):
    """What `--white_balance` says.

    Args:
      text: "none", "camera", or multipliers "R,G,B".

    Returns:
      "none", "camera", or three multipliers, green 1.

    Raises:
      InputError: it is none of these.
    """
    if text in CHOICES:
        return text
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        red = green = blue = math.nan
    if not all(0.01 <= value <= 100 for value in (red, green, blue)):
        raise InputError(
            f"--white_balance={text}: give none, camera, or three multipliers R,G,B such as "
            f"2.1,1,1.6"
        )
    return red / green, 1.0, blue / green


def scales(choice, file_multipliers, training_multipliers, name):
    """What each colour of a file is to be multiplied by before the network.

    Args:
      choice: what `parse` returns.
      file_multipliers: (R, G, B), green 1, as the camera noted them; None if it noted none.
      training_multipliers: (R, G, B), green 1, of the camera the weights were trained on,
        `Camera.white_balance`.
      name: of the file, for the error.

    Returns:
      (R, G, B), green 1.

    Raises:
      InputError: the choice is "camera", but the file holds no multipliers.
    """
    if choice == "none":
        return 1.0, 1.0, 1.0
    multipliers = file_multipliers if choice == "camera" else choice
    if multipliers is None:
        raise InputError(
            f"{name} holds no white balance: give --white_balance none, or multipliers R,G,B"
        )
    return tuple(a / b for a, b in zip(multipliers, training_multipliers, strict=True))


def channel_scales(colour_scales, layout):
    """Colours (R, G, B) to packed channels [C]."""
    colours = (layout.colours[sites[0][0]][sites[0][1]] for sites in layout.sites)
    return tuple(colour_scales["RGB".index(colour)] for colour in colours)
