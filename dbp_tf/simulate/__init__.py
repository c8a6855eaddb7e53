"""The simulator: a photograph becomes a dark burst and its bright ground truth, as raw files.

The photograph is un-processed to linear camera colours, softened as by a lens, filtered by the
sensor's mosaic and divided by the exposure ratio; then comes the noise of a sensor. The ground
truth is the same mosaic without noise. `python -m dbp_tf.simulate` does it from the command line.
"""

from dbp_tf.raw.cameras import Noise
from dbp_tf.raw.mosaics import mosaic
from dbp_tf.raw.noise import draw_offset, expose, expose_long
from dbp_tf.simulate.dng import SHORT_EXPOSURE, write_dng
from dbp_tf.simulate.photographs import SAMPLE, count_tiles, load_photo, photo_shape, tiles
from dbp_tf.simulate.scenes import (
    Scene,
    draw_white_balance,
    scene_numbers,
    simulate_scene,
    simulate_tree,
    write_scene,
)
from dbp_tf.simulate.unprocess import (
    camera_matrix,
    linear_to_srgb,
    shifted,
    soften,
    srgb_to_linear,
    unprocess,
)

__all__ = [
    "SAMPLE",
    "SHORT_EXPOSURE",
    "Noise",
    "Scene",
    "camera_matrix",
    "count_tiles",
    "draw_offset",
    "draw_white_balance",
    "expose",
    "expose_long",
    "linear_to_srgb",
    "load_photo",
    "mosaic",
    "photo_shape",
    "scene_numbers",
    "shifted",
    "simulate_scene",
    "simulate_tree",
    "soften",
    "srgb_to_linear",
    "tiles",
    "unprocess",
    "write_dng",
    "write_scene",
]
