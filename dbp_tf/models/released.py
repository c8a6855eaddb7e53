"""Released checkpoints: TensorFlow 1 Saver files, their variable names and what they tell.

All published names stand in this module. A convolution's variables are named as its layer,
`<layer>/weights` and `<layer>/biases`; the exceptions are in the tables below.
"""

import math
import pathlib
import re

import tensorflow as tf

from dbp_tf.errors import InputError
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

_OPTIMIZER_SLOT = re.compile(r"(.*/Adam(_1)?|beta[12]_power)")
_RESIDUAL = re.compile(r"g_res(\d+)_conv1_fine/weights")


def published_name(layer, weight):
    """The published name of a weight: layer "g_res0_conv1_fine_norm", weight "gamma", ..."""
    if layer in UP_CONVOLUTIONS:
        return UP_CONVOLUTIONS[layer]
    if weight in WEIGHT_NAMES:
        return f"{layer}/{WEIGHT_NAMES[weight]}"
    return f"{layer.removesuffix('_norm')}/InstanceNorm/{weight}"


def published_variables(models):
    """{published name: Keras variable} of the networks that `network_spec.build` returns."""
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


def find_prefix(path):
    """The checkpoint prefix in a folder, or the prefix itself.

    The published `checkpoint` file carries its author's absolute path; only the last part of
    it counts, in the folder the file lies in.

    Returns:
      str, or None if `path` holds no TensorFlow checkpoint at all.

    Raises:
      InputError: several checkpoints and no word which, or the `.data` file is missing.
    """
    path = pathlib.Path(path)
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
    if not any(prefix.parent.glob(f"{prefix.name}.data-*-of-*")):
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


def open_checkpoint(prefix):
    """(reader, {variable name: shape}) of a checkpoint, optimizer slots left out."""
    try:
        reader = tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"{prefix}.index is not a readable TensorFlow checkpoint ({str(error).splitlines()[0]})"
        ) from None
    shapes = reader.get_variable_to_shape_map()
    return reader, {
        name: tuple(shape) for name, shape in shapes.items() if not _OPTIMIZER_SLOT.fullmatch(name)
    }


def spec_of(shapes, source):
    """Reads the `NetworkSpec` off the variable shapes.

    Args:
      shapes: {published name: shape}.
      source: what to call the checkpoint in errors.

    Raises:
      InputError: the variables that would tell are missing, or those of two families are mixed.
    """

    def last(name, axis):
        if len(shapes.get(name, ())) != 4:
            raise InputError(
                f"{source} is not a checkpoint of the published networks: it has no convolution "
                f"{name} (it holds {_listed(sorted(shapes))})"
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
    bottleneck = {"fusion": "max"}
    if "g_res_fine/weights" in shapes:
        bottleneck = {
            "residual_blocks": sum(bool(_RESIDUAL.fullmatch(name)) for name in shapes),
            "squeeze_excite": any("_se_fc_" in name for name in shapes),
        }
    return NetworkSpec(
        family="fine",
        channels=channels,
        width=width,
        scale=scale,
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


def check(variables, shapes, source):
    """Raises InputError that lists what is missing, unknown or of another shape, if anything is.

    Args:
      variables: {published name: Keras variable} of the networks.
      shapes: {published name: shape} of what is stored.
      source: what to call the store in the error.
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


def restore(models, reader, shapes, source):
    """Fills the networks with a checkpoint's values.

    Raises:
      InputError: see `check`, or the values cannot be read; then no network is changed.
    """
    variables = published_variables(models)
    check(variables, shapes, source)
    try:
        values = {name: reader.get_tensor(name) for name in variables}
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        raise InputError(
            f"{source}.data-00000-of-00001 is damaged or cut short "
            f"({str(error).splitlines()[0]}): copy it again"
        ) from None
    for name, value in values.items():
        variables[name].assign(value)


def _listed(names, most=20):
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
