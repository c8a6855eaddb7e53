"""Sample pictures of a run: input, output and ground truth of a training patch, side by side."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from dbp_tf import simulate
from dbp_tf.models.fusions import reference_index
from dbp_tf.raw.cameras import Camera
from dbp_tf.raw.white_balance import Multipliers
from dbp_tf.restore.enhancer import Enhancer


def sample_picture(
    enhancer: Enhancer, batch: dict[str, tf.Tensor], stage: str, camera: Camera
) -> np.ndarray:
    """Input, output and ground truth of a batch's first burst, side by side.

    Args:
      enhancer: `enhancer.Enhancer`.
      batch: dict as `dataset.training_dataset` yields it.
      stage: "coarse", "fine" or "burst"; the coarse one shows raw, coloured and brightened.
      camera: `cameras.Camera`.

    Returns:
      [rows, 3 * columns, 3] float32 sRGB in 0..1.
    """
    if stage == "coarse":
        frame, truth = batch["frames"][:1], batch["clean_low"][0]
        shown = frame[0], enhancer.models["coarse"](frame)[0], truth
        coloured = [raw_colours(x, camera, enhancer.white_balance) for x in shown]
        return np.concatenate(coloured, axis=1)
    frames = batch["frames"][: batch["lengths"][0]].numpy()
    reference = frames[reference_index(enhancer.reference_frame, len(frames))]
    dark = raw_colours(reference, camera, enhancer.white_balance)
    dark = dark.repeat(camera.scale, 0).repeat(camera.scale, 1)
    output = enhancer.enhance(frames)
    return np.concatenate([dark, np.clip(output, 0, 1), batch["truth"][0]], axis=1)


def raw_colours(
    packed: ArrayLike, camera: Camera, multipliers: Multipliers | None = None
) -> np.ndarray:
    """A packed frame as a picture: each colour's channels averaged, white balance, sRGB curve.

    Args:
      packed: [H, W, C] linear, 0..1.
      camera: `cameras.Camera`.
      multipliers: of red, green and blue; None for those of the camera in daylight.

    Returns:
      [H, W, 3] float32 in 0..1.
    """
    layout = camera.layout
    packed = np.clip(np.asarray(packed, np.float32), 0, 1)
    colours = np.array([layout.colours[row][column] for (row, column), *_ in layout.sites])
    rgb = np.stack([packed[..., colours == c].mean(-1) for c in "RGB"], axis=-1)
    linear = np.clip(rgb * np.array(multipliers or camera.white_balance, np.float32), 0, 1)
    return simulate.linear_to_srgb(linear).astype(np.float32)
