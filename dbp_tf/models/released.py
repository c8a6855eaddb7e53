"""Released weights, TensorFlow 1 checkpoints and frozen graphs: their names and their networks.

All published names stand in this module. A convolution's variables are named as its layer,
`<layer>/weights` and `<layer>/biases`; the exceptions are in the tables below.
"""

import contextlib
import dataclasses
import glob
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from dbp_tf import files
from dbp_tf.errors import InputError, first_line
from dbp_tf.models import fusions
from dbp_tf.models.network_spec import NetworkSpec

# The published up-convolutions were created without names of their own.
UP_CONVOLUTIONS = {
    "g_up6": "Variable",
    "g_up7": "Variable_1",
    "g_up8": "Variable_2",
    "g_up9": "Variable_3",
    "g_up6_fine": "deconv_fine_0",
    "g_up7_fine": "deconv_fine_0_1",
    "g_up8_fine": "deconv_fine_0_2",
    "g_up9_fine": "deconv_fine_0_3",
}
WEIGHT_NAMES = {"kernel": "weights", "bias": "biases"}

# Frozen graphs have other constants beside the weights.
_PUBLISHED_NAME = re.compile(
    r"g_\w+/(weights|biases|InstanceNorm/(gamma|beta))|(Variable|deconv_fine_0)(_\d+)?"
)
_OPTIMIZER_SLOT = re.compile(r"(.*/Adam(_1)?|beta[12]_power)")
_CHECKPOINT_FILE = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")
_RESIDUAL = re.compile(r"g_res(\d+)_conv1_fine/weights")


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Weights as they are stored.

    Attributes:
      source: their name in errors.
      shapes: {published name: shape}.
      read: function of a published name that returns the array.
    """

    source: str
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def published_name(layer: str, weight: str) -> str:
    """The published name of a weight: layer "g_res0_conv1_fine_norm", weight "gamma", ..."""
    if layer in UP_CONVOLUTIONS:
        return UP_CONVOLUTIONS[layer]
    if weight in WEIGHT_NAMES:
        return f"{layer}/{WEIGHT_NAMES[weight]}"
    return f"{layer.removesuffix('_norm')}/InstanceNorm/{weight}"


def published_variables(models: dict[str, keras.Model]) -> dict[str, keras.Variable]:
    """{published name: Keras variable} of the networks that `networks.build` returns."""
    table = {}
    for model in models.values():
        for layer in _weighted_layers(model):
            for variable in layer.weights:
                table[published_name(layer.name, variable.name)] = variable
    return table


def _weighted_layers(model):
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _weighted_layers(layer)
        elif layer.weights:
            yield layer


def find_prefix(path: str | os.PathLike) -> str | None:
    """The checkpoint prefix in a folder, or the prefix itself, also given as one of its files.

    The published `checkpoint` file carries its author's absolute path; only the last part of
    it counts, in the folder the file lies in.

    Returns:
      str, or None if `path` holds no TensorFlow checkpoint at all.

    Raises:
      InputError: several checkpoints and no word which, or the `.data` file is missing.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        path = path.with_name(_CHECKPOINT_FILE.sub("", path.name))
    if path.is_dir():
        prefixes = sorted(index.with_suffix("") for index in path.glob("*.index"))
        if len(prefixes) > 1:
            latest = _latest_name(path / "checkpoint")
            prefixes = [p for p in prefixes if p.name == latest] or prefixes
        if len(prefixes) > 1:
            raise InputError(
                f"{path} holds several checkpoints ({', '.join(p.name for p in prefixes)}): "
                f"give one of them as {prefixes[0]}"
            )
        if not prefixes:
            if any(path.glob("*.data-*-of-*")):
                raise InputError(f"{path} holds a checkpoint's .data file but no .index file")
            return None
        prefix = prefixes[0]
    elif path.with_name(path.name + ".index").is_file():
        prefix = path
    else:
        return None
    if not any(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*-of-*")):
        raise InputError(
            f"{prefix}.index has no {prefix.name}.data-00000-of-00001 beside it: copy that too"
        )
    return str(prefix)


def _latest_name(checkpoint_file):
    if not checkpoint_file.is_file():
        return None
    text = checkpoint_file.read_text(errors="replace")
    match = re.search(r'^model_checkpoint_path: "(.*)"', text, re.MULTILINE)
    return re.split(r"[/\\]", match[1])[-1] if match else None


@contextlib.contextmanager
def open_checkpoint(prefix: str) -> Iterator[Arrays]:
    """The variables of a checkpoint, optimizer slots left out.

    Raises:
      InputError: it cannot be read; also where `Arrays.read` finds it damaged.
    """
    with _plain_prefix(pathlib.Path(prefix)) as plain:
        try:
            reader = tf.train.load_checkpoint(plain)
            shapes = reader.get_variable_to_shape_map()
        except (tf.errors.OpError, ValueError) as error:
            raise InputError(
                f"{prefix}.index is not a readable TensorFlow checkpoint ({first_line(error)})"
            ) from None

        def read(name):
            try:
                return reader.get_tensor(name)
            except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
                raise InputError(
                    f"{prefix}.data-00000-of-00001 is damaged or cut short "
                    f"({first_line(error)}): copy it again"
                ) from None

        names = [name for name in shapes if not _OPTIMIZER_SLOT.fullmatch(name)]
        yield Arrays(prefix, {name: tuple(shapes[name]) for name in names}, read)


@contextlib.contextmanager
def _plain_prefix(prefix):
    """The prefix of a checkpoint as TensorFlow finds it, which takes `[` and `*` for patterns."""
    if not set(prefix.name) & set("*?[]\\"):
        yield os.path.join(files.plain_alias(prefix.parent), prefix.name)
        return
    with tempfile.TemporaryDirectory() as links:
        for path in prefix.parent.iterdir():
            if path.name.startswith(f"{prefix.name}."):
                link = os.path.join(links, "model" + path.name.removeprefix(prefix.name))
                os.symlink(path.absolute(), link)
        yield os.path.join(links, "model")


def read_frozen_graph(path: pathlib.Path) -> Arrays:
    """The weights in a frozen graph, the constants that carry published names.

    Raises:
      InputError: it is no frozen graph, or damaged.
    """
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise InputError(
            f"{path} is damaged or no frozen graph ({first_line(error)}): copy it again"
        ) from None
    tensors = {
        node.name: node.attr["value"].tensor
        for node in graph.node
        if node.op == "Const" and _PUBLISHED_NAME.fullmatch(node.name)
    }
    shapes = {
        name: tuple(axis.size for axis in tensor.tensor_shape.dim)
        for name, tensor in tensors.items()
    }

    def read(name):
        try:
            return tf.make_ndarray(tensors[name])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} is damaged at {name} ({first_line(error)}): copy it again"
            ) from None

    return Arrays(os.fspath(path), shapes, read)


def spec_of(shapes: dict[str, tuple[int, ...]], source: str) -> NetworkSpec:
    """Reads the `NetworkSpec` off the variable shapes.

    Args:
      shapes: {published name: shape}.
      source: name of the checkpoint in errors.

    Raises:
      InputError: variables that are needed for it are missing, or two families are mixed.
    """

    def last(name, axis):
        if len(shapes.get(name, ())) != 4:
            raise InputError(
                f"{source} is not a checkpoint of the published networks: it has no convolution "
                f"{name} (it holds {_listed(sorted(shapes)) or 'no weights'})"
            )
        return shapes[name][axis]

    channels, width = last("g_conv1_1/weights", 2), last("g_conv1_1/weights", 3)
    outputs = last("g_conv10/weights", 3)
    fine = [name for name in shapes if "_fine" in name]
    if not fine:
        if outputs == channels:
            return NetworkSpec(family="coarse", channels=channels, width=width, scale=1)
        return NetworkSpec(
            family="sid", channels=channels, width=width, scale=_scale(outputs, source)
        )
    if outputs != channels:
        raise InputError(
            f"{source} mixes families: g_conv10 gives {outputs} channels as in the SID baseline, "
            f"yet there are fine variables ({_listed(fine)})"
        )
    inputs = last("g_conv1_1_fine/weights", 2)
    if inputs not in (2 * channels, 3 * channels):
        raise InputError(
            f"{source} mixes families: {channels} packed channels in the coarse network make "
            f"{2 * channels} or {3 * channels} inputs of g_conv1_1_fine, not {inputs}"
        )
    scale = _scale(last("g_conv10_fine/weights", 3), source)
    has_bottleneck = "g_res_fine/weights" in shapes
    bottleneck: dict[str, Any] = {}
    if has_bottleneck:
        bottleneck = {
            "residual_blocks": sum(bool(_RESIDUAL.fullmatch(name)) for name in shapes),
            "squeeze_excite": any("_se_fc_" in name for name in shapes),
        }
    return NetworkSpec(
        family="fine",
        channels=channels,
        width=width,
        scale=scale,
        fusion=fusions.published(has_bottleneck),
        noise_map=inputs == 3 * channels,
        depth_to_space=scale > 1,
        **bottleneck,
    )


def _scale(outputs, source):
    scale = math.isqrt(outputs // 3)
    if 3 * scale**2 != outputs:
        raise InputError(
            f"{source}: {outputs} output channels are not 3 colours of S x S pixels each"
        )
    return scale


def check(
    variables: dict[str, keras.Variable], shapes: dict[str, tuple[int, ...]], source: str
) -> None:
    """Raises InputError if weights are missing, unknown or of another shape, and lists them.

    Args:
      variables: {published name: Keras variable} of the networks.
      shapes: {published name: shape} of the stored weights.
      source: their name in the error.
    """
    wrong = {
        "missing": sorted(variables.keys() - shapes.keys()),
        "unknown": sorted(shapes.keys() - variables.keys()),
        "of another shape": [
            f"{name} {list(shapes[name])} instead of {list(variable.shape)}"
            for name, variable in variables.items()
            if name in shapes and shapes[name] != tuple(variable.shape)
        ],
    }
    wrong = {what: names for what, names in wrong.items() if names}
    if wrong:
        raise InputError(
            f"{source} does not fit its network: "
            + "; ".join(f"{len(names)} {what}: {_listed(names)}" for what, names in wrong.items())
        )


def fill(models: dict[str, keras.Model], arrays: Arrays) -> None:
    """Fills networks with stored values, one array in memory at a time.

    Raises:
      InputError: see `check`, before anything is changed; or a value cannot be read.
    """
    variables = published_variables(models)
    check(variables, arrays.shapes, arrays.source)
    for name, variable in variables.items():
        variable.assign(np.asarray(arrays.read(name), np.float32))


def _listed(names, most=20):
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
