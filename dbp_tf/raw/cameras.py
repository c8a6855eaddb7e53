"""The cameras of the See-in-the-Dark dataset: mosaic, levels, colour, evaluation habits.

Level and layout facts are those of the published code. Colour matrices are Adobe's
XYZ (D65) to camera coefficients as LibRaw lists them for each model.
"""

import dataclasses

from dbp_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera as the method sees it: plain numbers and texts, as a JSON file could hold them.

    Attributes:
      name: the name flags use, "sony" or "fuji".
      model: the manufacturer's name of the body.
      suffix: ending of the dataset's raw files, with the dot.
      mosaic: "bayer" or "xtrans".
      black: raw value of no light, in DN (14 bit).
      white: raw value of saturation, in DN (14 bit).
      channels: packed channels C (4 Bayer, 9 X-Trans).
      scale: output pixels per packed pixel S (2 Bayer, 3 X-Trans).
      xyz_to_camera: 3x3 row-major matrix, XYZ (D65) to linear camera RGB.
      white_balance: multipliers (R, G, B) of daylight, green 1: they turn the matrix's image of
        D65 white into equal values.
      padded_columns: columns the published evaluation adds at the right of a packed frame.
      reference_frame: reference of the published evaluation, "first" or "center".
      contextual_weight: weight of the contextual loss in the published training.
    """

    name: str
    model: str
    suffix: str
    mosaic: str
    black: int
    white: int
    channels: int
    scale: int
    xyz_to_camera: tuple[tuple[float, float, float], ...]
    white_balance: tuple[float, float, float]
    padded_columns: int
    reference_frame: str
    contextual_weight: float


SONY = Camera(
    name="sony",
    model="Sony ILCE-7SM2",
    suffix=".ARW",
    mosaic="bayer",
    black=512,
    white=16383,
    channels=4,
    scale=2,
    xyz_to_camera=(
        (0.5838, -0.1430, -0.0246),
        (-0.3497, 1.1477, 0.2297),
        (-0.0748, 0.1885, 0.5778),
    ),
    white_balance=(2.77, 1.0, 1.43),
    padded_columns=0,
    reference_frame="first",
    contextual_weight=1.0,
)

FUJI = Camera(
    name="fuji",
    model="Fujifilm X-T2",
    suffix=".RAF",
    mosaic="xtrans",
    black=1024,
    white=16383,
    channels=9,
    scale=3,
    xyz_to_camera=(
        (1.1434, -0.4948, -0.1210),
        (-0.3746, 1.2042, 0.1903),
        (-0.0666, 0.1479, 0.5235),
    ),
    white_balance=(2.29, 1.0, 1.61),
    # 2010 packed columns of the X-T2 become 2048, which four poolings divide evenly.
    padded_columns=38,
    reference_frame="center",
    contextual_weight=0.1,
)

CAMERAS = {camera.name: camera for camera in (SONY, FUJI)}


def camera_named(name: str) -> Camera:
    """The camera called `name`; raises InputError that lists the known names."""
    try:
        return CAMERAS[name]
    except KeyError:
        raise InputError(
            f"there is no camera {name!r}: choose one of {', '.join(CAMERAS)}"
        ) from None
