"""Weights on disk.

Three formats load: the published TensorFlow 1 checkpoints, the published frozen graph, and the
project's own, a folder with `network.json` (what the network is) and `model.weights.h5` (HDF5:
one array for each published name).
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator

import h5py
import keras
import numpy as np

from dbp_tf import files
from dbp_tf.errors import InputError, first_line
from dbp_tf.models import networks, released
from dbp_tf.models.fusions import FUSIONS
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw import white_balance
from dbp_tf.restore.enhancer import Enhancer, empty

SPEC_FILE = "network.json"
WEIGHTS_FILE = "model.weights.h5"
FROZEN_FILE = "frozen_model.pb"

# Version 0.1 wrote format 1, which knew these families by other names.
FORMAT = 2
_FORMATS = (1, 2)
_OLD_FAMILIES = {"burst": "fine", "single": "sid"}

# The arrays' group in WEIGHTS_FILE.
_GROUP = "layers/__named_arrays/vars"


def load_pretrained(path: str | os.PathLike, precision: str = "float32") -> Enhancer:
    """Loads weights.

    Args:
      path: a folder with a TensorFlow 1 checkpoint, the published frozen graph or the project's own
        weights; or the prefix of a checkpoint, or a file of any of them.
      precision: "float32" or "bfloat16", in which the networks hold their weights and compute.

    Returns:
      `Enhancer`; its network is read off the files.

    Raises:
      InputError: nothing there, a file missing, variables missing, unknown, mis-shaped or of
        mixed families.
    """
    path = files.expand(path)
    if path.name in (SPEC_FILE, WEIGHTS_FILE, "checkpoint") and path.is_file():
        path = path.parent
    if (path / SPEC_FILE).is_file():
        return _load_own(path, precision)
    prefix = released.find_prefix(path)
    if prefix:
        with released.open_checkpoint(prefix) as arrays:
            return _load_released(arrays, precision)
    graph = path / FROZEN_FILE if path.is_dir() else path
    if graph.suffix == ".pb" and graph.is_file():
        return _load_released(released.read_frozen_graph(graph), precision)
    raise InputError(
        f"{path} holds no weights: neither a TensorFlow checkpoint (model.ckpt.index), nor a "
        f"frozen graph ({FROZEN_FILE}), nor the project's own ({SPEC_FILE})"
        if path.exists()
        else f"there is no checkpoint {path}"
    )


def untrained(spec: NetworkSpec, seed: int = 0) -> Enhancer:
    """An `Enhancer` with new random weights; its pictures show nothing."""
    keras.utils.set_random_seed(seed)
    return Enhancer(spec, networks.build(spec))


def save_pretrained(model: Enhancer, folder: str | os.PathLike, *, bits: int = 32) -> None:
    """Writes the project's own format; `load_pretrained(folder)` gives the same outputs.

    Args:
      model: `Enhancer`.
      folder: made if missing. Each file is replaced whole or not at all.
      bits: 32: exact. 16: float16, about three digits.

    Raises:
      InputError: other bits.
    """
    if bits not in (16, 32):
        raise InputError(f"weights are stored in 16 or 32 bits, not {bits!r}")
    folder = files.expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = {"format": FORMAT, "network": dataclasses.asdict(model.spec)}
    if model.white_balance:
        description["white_balance"] = model.white_balance
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as made:
        scratch = pathlib.Path(made)
        with h5py.File(scratch / WEIGHTS_FILE, "w") as file:
            group = file.create_group(_GROUP)
            for name, variable in released.published_variables(model.models).items():
                array = np.asarray(keras.ops.convert_to_numpy(variable), f"float{bits}")
                group.create_dataset(name.replace("/", "."), data=array)
        (scratch / SPEC_FILE).write_text(json.dumps(description, indent=2) + "\n")
        for name in (WEIGHTS_FILE, SPEC_FILE):
            os.replace(scratch / name, folder / name)


def _load_released(arrays, precision):
    model = empty(released.spec_of(arrays.shapes, arrays.source), precision)
    released.fill(model.models, arrays)
    return model


def _load_own(folder, precision):
    spec, trained = _read_description(folder / SPEC_FILE)
    if not (folder / WEIGHTS_FILE).is_file():
        raise InputError(f"{folder} holds {SPEC_FILE} but no {WEIGHTS_FILE}: copy that too")
    model = empty(spec, precision)
    model.white_balance = trained
    with _open_own(folder / WEIGHTS_FILE) as arrays:
        released.fill(model.models, arrays)
    return model


def _read_description(path):
    """(`NetworkSpec`, multipliers of the white balance or None)."""
    try:
        description = json.loads(path.read_text())
        if description["format"] not in _FORMATS:
            raise InputError(
                f"{path} is of format {description['format']}, this version of dbp_tf reads up to "
                f"format {FORMAT}: update dbp_tf"
            )
        network = description["network"]
        network = network | {"family": _OLD_FAMILIES.get(network["family"], network["family"])}
        fusion = FUSIONS.get(network["fusion"])
        # Format 1 could describe a bottleneck that is not there.
        lacking = [field for field, has_it in fusion.has.items() if not has_it] if fusion else []
        network = {field: value for field, value in network.items() if field not in lacking}
        try:
            spec = NetworkSpec(**network)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        trained = description.get("white_balance")
        return spec, None if trained is None else white_balance.checked(trained, path)
    except InputError:
        raise
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not describe a network ({error})") from None


@contextlib.contextmanager
def _open_own(path: pathlib.Path) -> Iterator[released.Arrays]:
    def damaged(error):
        return InputError(
            f"{path} is damaged or no weights file ({first_line(error)}): copy it again"
        )

    try:
        file = h5py.File(path)
        group = file[_GROUP]
        shapes = {name.replace(".", "/"): dataset.shape for name, dataset in group.items()}
    except (OSError, KeyError, AttributeError) as error:
        raise damaged(error) from None

    def read(name):
        try:
            return np.float32(group[name.replace("/", ".")])
        except (OSError, KeyError) as error:
            raise damaged(error) from None

    with file:
        yield released.Arrays(os.fspath(path), shapes, read)
