"""The weights that a command restores with: given ones, or the small ones of the project."""

import os
import pathlib
from typing import TYPE_CHECKING

from dbp_tf import environment, progress
from dbp_tf.errors import InputError
from dbp_tf.models.network_spec import NetworkSpec
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
    if model.spec.family == "coarse":
        raise InputError(
            "--checkpoint holds a coarse network alone, which gives no picture: give the weights "
            "of a fine or burst stage"
        )
    check_fits(model.spec, camera, "--checkpoint holds a network")
    modes.check_mode(mode, model)


def check_fits(spec: NetworkSpec, camera: cameras.Camera, holds: str) -> None:
    """Raises InputError if networks do not take a camera's frames or do not give its pictures.

    Args:
      spec: of the networks.
      camera: the camera.
      holds: the beginning of the error, such as "--checkpoint holds a network".
    """

    def differences(other):
        facts = {"packed channels": (spec.channels, other.channels)}
        if spec.family != "coarse":  # It gives no picture.
            facts["output pixels for each packed one"] = (spec.scale, other.scale)
        return [(what, *pair) for what, pair in facts.items() if pair[0] != pair[1]]

    for what, has, needed in differences(camera):
        fitting = [other.name for other in cameras.CAMERAS.values() if not differences(other)]
        hint = f"these are weights for --camera {fitting[0]}" if fitting else ""
        raise InputError(
            f"{holds} for {has} {what}, --camera {camera.name} has {needed}: "
            + (hint or "give weights of this camera")
        )
