"""Packed frames developed by LibRaw alone: the pictures to compare a restored one with.

The samples go back into the buffer of the raw file they came from, which is then developed as
the ground truth is, so that nothing but the samples differs.

Axis letters: H W packed rows and columns, C packed channels.
"""

from typing import TYPE_CHECKING

import numpy as np

from dbp_tf.raw import packing, reading, white_balance

if TYPE_CHECKING:  # TensorFlow takes seconds to import.
    from dbp_tf.restore.enhancer import Enhancer


def develop_packed(frame: reading.RawFrame, packed: np.ndarray) -> np.ndarray:
    """Develops packed samples as the raw file they belong to.

    Args:
      frame: of the file.
      packed: [H, W, C] float, linear, 0 at the black and 1 at the white level; values outside
        are clipped. The brightened frame itself gives the traditional picture.

    Returns:
      [rows, columns, 3] float32 sRGB in 0..1, as large as `reading.read_truth` would return it.

    Raises:
      InputError: the file cannot be read or developed.
    """
    black = np.asarray(frame.black, np.float32)
    samples = np.rint(black + np.clip(packed, 0, 1) * (np.float32(frame.white) - black))
    mosaic = packing.unpack(samples.astype(np.uint16), frame.layout)
    with reading.open_raw(frame.path) as raw:
        visible = raw.raw_image_visible
        places = [
            _continued(visible.shape[axis], frame.offset[axis], mosaic.shape[axis], frame.layout)
            for axis in (0, 1)
        ]
        visible[:] = mosaic[np.ix_(*places)]
        picture = reading.develop(raw)[frame.offset[0] :, frame.offset[1] :]
    return reading.as_float(picture)


def _continued(length, start, inside, layout):
    """For each visible row (or column), the index of the row of the mosaic that stands there.

    The mosaic has whole periods only. Rows that it lacks are filled from its first or last period:
    left dark, they would darken their neighbours in the demosaicing.
    """
    places = np.arange(length) - start
    period = layout.period
    before, after = places < 0, places >= inside
    places[before] %= period
    places[after] = inside - period + places[after] % period
    return places


def coarse(model: "Enhancer", frame: reading.RawFrame, packed: np.ndarray) -> np.ndarray:
    """The coarse network's output as a picture: enlarged, unpacked, developed.

    Args:
      model: it has a coarse network.
      frame: see `develop_packed`.
      packed: [H, W, C] float32 in 0..1, the brightened frame as the model wants it.

    Returns:
      See `develop_packed`.
    """
    # TensorFlow takes seconds to import, which the traditional picture does without.
    from dbp_tf.models import layers

    enlarged = layers.EnlargeTwice()(model.coarse_output(packed)[np.newaxis])
    scales = white_balance.channel_scales_for(
        frame.white_balance, model.white_balance, frame.layout
    )
    return develop_packed(frame, enlarged[0].numpy() / scales.astype(np.float32))
