"""The weights that a command restores with: given ones, or the small ones of the project."""

import os
import pathlib
from typing import TYPE_CHECKING

from dbp_tf import environment, progress
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras
from dbp_tf.restore import modes

if TYPE_CHECKING:  # TensorFlow takes seconds to import.
    from dbp_tf.restore.enhancer import Enhancer

FOLDER = pathlib.Path(__file__).parents[2] / "checkpoints"

# The small weights that come with the project, for each mosaic.
_BUNDLED = {camera.mosaic: camera for camera in (cameras.SONY, cameras.FUJI)}


def load(
    checkpoint: str | os.PathLike | None,
    camera: cameras.Camera,
    mode: str,
    precision: str = "float32",
) -> "tuple[Enhancer, str | os.PathLike]":
    """Loads TensorFlow and the weights, and checks that these can do what is asked.

    Args:
      checkpoint: folder or prefix of the weights; None for the small ones of the same mosaic that
        come with the project, checkpoints/sony_small or fuji_small.
      camera: the camera whose files are restored.
      mode: a key of `modes.MODES`.
      precision: see `pretrained.load_pretrained`.

    Returns:
      (`Enhancer`, the folder or prefix of its weights).

    Raises:
      InputError: there are no weights, or they are of another camera or mode.
    """
    bundled = _BUNDLED[camera.mosaic]
    own = FOLDER / f"{bundled.name}_small"
    folder = checkpoint or own
    if not checkpoint and not own.is_dir():
        raise InputError(
            f"the weights that come with the project are not in {own}: run this where the "
            f"project lies with its checkpoints/, or give the folder of others with --checkpoint"
        )
    progress.status("loading TensorFlow and the weights")
    environment.import_tensorflow()
    # It imports TensorFlow, which is slow and, if not told otherwise, talkative.
    from dbp_tf.restore import pretrained

    model = pretrained.load_pretrained(folder, precision)
    check_model(model, camera, mode)
    if not checkpoint and camera != bundled:
        progress.say(
            f"Weights: {own}, trained for the {bundled.model}, whose mosaic the {camera.model} has "
            f"too; for weights of its own, give --checkpoint."
        )
    return model, folder


def check_model(model: "Enhancer", camera: cameras.Camera, mode: str) -> None:
    """Raises InputError if the model's weights are not for the camera or cannot do the mode."""
    spec = model.spec
    if spec.family == "coarse":
        raise InputError(
            "--checkpoint holds a coarse network alone, which gives no picture: give the weights "
            "of a fine or burst stage"
        )
    if (spec.channels, spec.scale) != (camera.channels, camera.scale):
        fitting = [
            f"these are weights for --camera {other.name}"
            for other in cameras.CAMERAS.values()
            if (other.channels, other.scale) == (spec.channels, spec.scale)
        ]
        raise InputError(
            f"--camera {camera.name} packs {camera.channels} channels and needs {camera.scale} "
            f"output pixels for each packed one, but --checkpoint holds a network for "
            f"{spec.channels} and {spec.scale}: " + (fitting or ["give weights of this camera"])[0]
        )
    modes.check_mode(mode, model)
