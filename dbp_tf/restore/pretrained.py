"""Weights on disk.

Two formats load: the published TensorFlow 1 checkpoints, and the project's own, a folder with
`network.json` (the spec) and `model.weights.h5` (Keras).
"""

import dataclasses
import json
import os
import pathlib
import tempfile

import keras
import numpy as np

from dbp_tf import files
from dbp_tf.errors import InputError
from dbp_tf.models import network_spec, released
from dbp_tf.raw import white_balance
from dbp_tf.restore.enhancer import Enhancer, empty

SPEC_FILE = "network.json"
WEIGHTS_FILE = "model.weights.h5"
FORMAT = 1

# Families as files of version 0.1 call them.
_OLD_FAMILIES = {"burst": "fine", "single": "sid"}
_REVISED_ONLY = ("residual_blocks", "squeeze_excite", "reference_frame")


def load_pretrained(path, precision="float32"):
    """Loads weights.

    Args:
      path: a folder with a TensorFlow 1 checkpoint or the project's own weights, or the prefix
        of a checkpoint.
      precision: "float32" or "bfloat16", in which the weights are held, rounded to it for good,
        and which the networks compute in unless they are asked for the other one.

    Returns:
      `Enhancer`; what the network is is read off the files.

    Raises:
      InputError: nothing there, a file missing, variables missing, unknown, mis-shaped or of
        mixed families.
    """
    path = files.expand(path)
    if (path / SPEC_FILE).is_file():
        return _load_own(path, precision)
    prefix = released.find_prefix(path)
    if prefix is None:
        raise InputError(
            f"{path} holds no weights: neither a TensorFlow checkpoint (model.ckpt.index) nor the "
            f"project's own ({SPEC_FILE})"
            if path.exists()
            else f"there is no checkpoint {path}"
        )
    reader, shapes = released.open_checkpoint(prefix)
    spec = released.spec_of(shapes, prefix)
    model = empty(spec, precision)
    released.restore(model.models, reader, shapes, prefix)
    return model


def untrained(spec, seed=0):
    """An `Enhancer` with new random weights; what it restores shows nothing."""
    keras.utils.set_random_seed(seed)
    return Enhancer(spec, network_spec.build(spec))


class _NamedArrays(keras.layers.Layer):
    """What Keras writes into and reads from `.weights.h5`: arrays by their published names.

    Keras itself would name nested models' weights by their position, which differs between its
    versions, and would pass over what it does not find.
    """

    def __init__(self, write=None, read=None):
        super().__init__(name="named_arrays")
        self.write = write
        self.read = read

    def call(self, inputs):
        return inputs  # Keras only saves what has been called.

    def save_own_variables(self, store):
        for name, array in self.write():
            store[name.replace("/", ".")] = array

    def load_own_variables(self, store):
        # One at a time, as the arrays of large networks should not all be in memory at once.
        self.read((name.replace(".", "/"), store[name]) for name in store.keys())


def _weights_model(**how):
    return keras.Sequential([keras.Input((1,)), _NamedArrays(**how)])


def save_pretrained(model, folder, *, half=False):
    """Writes the project's own format; `load_pretrained(folder)` gives the same outputs.

    Args:
      model: `Enhancer`.
      folder: made if missing. Each file is replaced whole or not at all.
      half: store float16 (half the size, about three digits).
    """
    folder = files.expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = {"format": FORMAT, "network": dataclasses.asdict(model.spec)}
    if model.white_balance:
        description["white_balance"] = model.white_balance

    def arrays():
        for name, variable in released.published_variables(model.models).items():
            array = keras.ops.convert_to_numpy(variable)
            yield name, array.astype(np.float16) if half else array

    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
        scratch = pathlib.Path(scratch)
        _weights_model(write=arrays).save_weights(scratch / WEIGHTS_FILE)
        (scratch / SPEC_FILE).write_text(json.dumps(description, indent=2) + "\n")
        for name in (WEIGHTS_FILE, SPEC_FILE):
            os.replace(scratch / name, folder / name)


def _renewed(network):
    """A network's description as this version writes it."""
    family = network["family"]
    network = network | {"family": _OLD_FAMILIES.get(family, family)}
    if network["fusion"] == "max":
        # It was described by what the revised version has beside it.
        network = {k: v for k, v in network.items() if k not in _REVISED_ONLY}
    return network


def _load_own(folder, precision):
    spec_file, weights_file = folder / SPEC_FILE, folder / WEIGHTS_FILE
    try:
        description = json.loads(spec_file.read_text())
        if description["format"] != FORMAT:
            raise InputError(
                f"{spec_file} is of format {description['format']}, this version of dbp_tf reads "
                f"format {FORMAT}: update dbp_tf"
            )
        spec = network_spec.NetworkSpec(**_renewed(description["network"]))
        trained = description.get("white_balance")
        if trained is not None:
            trained = white_balance.checked(trained, spec_file)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{spec_file} does not describe a network ({error})") from None
    if not weights_file.is_file():
        raise InputError(f"{folder} holds {SPEC_FILE} but no {WEIGHTS_FILE}: copy that too")
    model = empty(spec, precision)
    model.white_balance = trained
    variables = released.published_variables(model.models)
    shapes = {}

    def read(arrays):
        for name, array in arrays:
            shapes[name] = array.shape
            if name in variables and variables[name].shape == array.shape:
                variables[name].assign(np.asarray(array, np.float32))

    try:
        _weights_model(read=read).load_weights(weights_file)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"{weights_file} is damaged or no weights file ({str(error).splitlines()[0]}): copy it "
            f"again"
        ) from None
    # Behind Keras, which would put its own words around it.
    released.check(variables, shapes, weights_file)
    return model
