"""From a camera's file to packed frames.

    from dbp_tf import raw

    frame = raw.read_raw("IMG_1.dng")
    packed = frame.packed(ratio=100)  # [H, W, C] float32 in 0..1

`opening` opens files with LibRaw, `reading` makes frames of them; `levels` decides black and white
level and checks them by the pixels; `dng`, `exif` and `tiff` read tags that LibRaw leaves out;
`opcodes` are changes that a DNG asks for; `packing` turns mosaics into packed channels; `camera`
says what a camera is, `cameras` has the built-in ones and reads others, `mosaics` and `noise`
describe their sensors; `overrides` are the user's own levels, filters and area; `white_balance`
brings another sensor's colours to the training camera's.
"""

from dbp_tf.raw.cameras import CAMERAS, FUJI, SONY, Camera, camera_named
from dbp_tf.raw.exif import Shot, read_shot
from dbp_tf.raw.overrides import Overrides
from dbp_tf.raw.packing import BAYER, XTRANS, Layout, normalise, pack, unpack
from dbp_tf.raw.reading import RawFrame, develop, open_raw, read_raw, read_truth

__all__ = [
    "BAYER",
    "CAMERAS",
    "FUJI",
    "SONY",
    "XTRANS",
    "Camera",
    "Layout",
    "Overrides",
    "RawFrame",
    "Shot",
    "camera_named",
    "develop",
    "normalise",
    "open_raw",
    "pack",
    "read_raw",
    "read_shot",
    "read_truth",
    "unpack",
]
