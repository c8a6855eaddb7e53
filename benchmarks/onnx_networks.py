"""The networks as ONNX graphs, and ONNX Runtime to restore with them: a rival to measure against.

`export` needs the package onnx, `Restorer` needs onnxruntime; TensorFlow only the former.
"""

import os
import pathlib
from collections.abc import Iterable

import numpy as np

_ENCODE, _DECODE, _EXTENSION = "encode", "decode", ".onnx"
_OPSET = 17

HOW_TO_INSTALL = 'it needs onnx and onnxruntime: pip install "dbp_tf[benchmarks]"'


def installed() -> bool:
    """Whether both packages are."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


def export(model, rows: int, columns: int, folder: str | os.PathLike) -> None:
    """Writes the networks of an `Enhancer` as two graphs, for `Restorer`.

    Sizes are fixed, which lets ONNX Runtime plan its memory. "encode" takes a frame
    [1, H, W, C] and the maxima of the frames before, and gives the five levels [1, c, h, w];
    "decode" makes the picture [S*H, S*W, 3] of them.

    Args:
      model: of a coarse and a fine network, float32.
      rows, columns: of the packed frames, even.
      folder: an existing one.
    """
    from dbp_tf.models import networks

    encoder, bottleneck, decoder = networks.parts(model.fine)
    channels = model.spec.channels
    fused = range(2 if model.spec.refers else 1, 6)

    graph = _Graph((rows, columns))
    frame = graph.input("frame", [1, rows, columns, channels])
    frame = graph.node("Transpose", frame, perm=[0, 3, 1, 2])
    half = graph.node("AveragePool", frame, kernel_shape=[2, 2], strides=[2, 2])
    graph.sizes[half] = (rows // 2, columns // 2)
    levels = graph.network(encoder, [frame, *graph.network(model.coarse, [half])])
    for number, level in enumerate(levels, 1):
        if number in fused:
            filters = encoder.outputs[number - 1].shape[-1]
            # Height and width may be 1, as they are before the first frame.
            sizes = [f"{axis}{number}" for axis in "hw"]
            before = graph.input(f"maximum{number}", [1, filters, *sizes])
            level = graph.node("Max", level, before)
        graph.output(level)
    graph.save(pathlib.Path(folder) / (_ENCODE + _EXTENSION))

    sizes = [graph.sizes[level] for level in levels]
    graph = _Graph((rows, columns))
    levels = []
    for number, size in enumerate(sizes, 1):
        filters = encoder.outputs[number - 1].shape[-1]
        levels.append(graph.input(f"level{number}", [1, filters, *size]))
        graph.sizes[levels[-1]] = size
    if bottleneck:
        levels[-1:] = graph.network(bottleneck, levels[-1:])
    (picture,) = graph.network(decoder, levels)
    picture = graph.node("Transpose", picture, perm=[0, 2, 3, 1])
    graph.output(graph.node("Squeeze", picture, graph.weight(np.array([0]))))
    graph.save(pathlib.Path(folder) / (_DECODE + _EXTENSION))


class _Graph:
    """An ONNX graph that grows node by node; values are their names.

    Attributes:
      sizes: {value: (rows, columns)}.
    """

    def __init__(self, size):
        self.sizes = {}
        self._size, self._count = size, 0
        self._nodes, self._weights, self._inputs, self._outputs = [], [], [], []

    def input(self, name, shape):
        self._inputs.append(_described(name, shape))
        self.sizes[name] = self._size
        return name

    def output(self, value):
        self._outputs.append(_described(value, None))

    def weight(self, array):
        from onnx import numpy_helper

        name = self._new()
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operation, *values, **attributes):
        """Adds a node; its value is of its first input's size unless `sizes` is told another."""
        from onnx import helper

        name = self._new()
        self._nodes.append(helper.make_node(operation, values, [name], **attributes))
        self.sizes[name] = self.sizes.get(values[0])
        return name

    def network(self, model, inputs):
        """Adds the layers of a Keras model; returns its outputs."""
        values = dict(zip(map(id, model.inputs), inputs, strict=True))
        for layer in model.layers:
            if id(layer.output) not in values:
                taken = layer.input if isinstance(layer.input, list) else [layer.input]
                of_kind = _LAYERS[type(layer).__name__]
                value = of_kind(self, layer, *(values[id(tensor)] for tensor in taken))
                values[id(layer.output)] = value
        return [values[id(tensor)] for tensor in model.outputs]

    def save(self, path):
        import onnx
        from onnx import helper

        made = helper.make_graph(self._nodes, path.stem, self._inputs, self._outputs, self._weights)
        # Without it the newest version of the format is written, which ONNX Runtime may not know.
        version = helper.make_opsetid("", _OPSET)
        ir_version = helper.find_min_ir_version_for([version])
        onnx.save(helper.make_model(made, opset_imports=[version], ir_version=ir_version), path)

    def _new(self):
        self._count += 1
        return f"v{self._count}"


def _described(name, shape):
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


# A function for each kind of layer: (graph, layer, values that it takes) to the value it gives.


def _convolution(graph, layer, value):
    kernel = graph.weight(layer.kernel.numpy().transpose(3, 2, 0, 1))
    bias = [graph.weight(layer.bias.numpy())] if layer.use_bias else []
    return graph.node("Conv", value, kernel, *bias, auto_pad="SAME_UPPER")


def _up_convolution(graph, layer, below, skip):
    pads = [2 * a - b for a, b in zip(graph.sizes[below], graph.sizes[skip], strict=True)]
    kernel = graph.weight(layer.kernel.numpy().transpose(3, 2, 0, 1))
    up = graph.node("ConvTranspose", below, kernel, strides=[2, 2], pads=[0, 0, *pads])
    graph.sizes[up] = graph.sizes[skip]
    return up


def _pool(graph, layer, value):
    pooled = graph.node(
        "MaxPool", value, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"
    )
    graph.sizes[pooled] = tuple(-(-size // 2) for size in graph.sizes[value])
    return pooled


def _merge(graph, layer, frame, coarse):
    scales = graph.weight(np.float32([1, 1, 2, 2]))
    enlarged = graph.node(
        "Resize",
        coarse,
        "",
        scales,
        mode="linear",
        coordinate_transformation_mode="asymmetric",
    )
    noise = [graph.node("Sub", frame, enlarged)] if layer.noise_map else []
    return graph.node("Concat", frame, *noise, enlarged, axis=1)


def _instance_norm(graph, layer, value):
    weights = [graph.weight(weight.numpy()) for weight in (layer.gamma, layer.beta)]
    return graph.node("InstanceNormalization", value, *weights, epsilon=layer.EPSILON)


def _dense(graph, layer, value):
    """On [1, C, 1, 1], which the mean over height and width stays here."""
    kernel = graph.weight(layer.kernel.numpy().T[..., None, None])
    value = graph.node("Conv", value, kernel, graph.weight(layer.bias.numpy()))
    return graph.node("Relu", value)


_LAYERS = {
    "Conv2D": _convolution,
    "UpConvolution": _up_convolution,
    "MaxPooling2D": _pool,
    "_MergeInputs": _merge,
    "InstanceNorm": _instance_norm,
    "Dense": _dense,
    "Activation": lambda graph, layer, value: graph.node("Sigmoid", value),
    "Reshape": lambda graph, layer, value: value,
    "LeakyReLU": lambda graph, layer, value: graph.node(
        "LeakyRelu", value, alpha=float(layer.negative_slope)
    ),
    "GlobalAveragePooling2D": lambda graph, layer, value: graph.node("GlobalAveragePool", value),
    "Multiply": lambda graph, layer, *values: graph.node("Mul", *values),
    "Add": lambda graph, layer, *values: graph.node("Add", *values),
    "Concatenate": lambda graph, layer, *values: graph.node("Concat", *values, axis=1),
    "DepthToSpace": lambda graph, layer, value: graph.node(
        "DepthToSpace", value, blocksize=layer.scale, mode="DCR"
    ),
}


class Restorer:
    """Restores bursts with the graphs of `export`, a frame at a time, on all processors."""

    def __init__(self, folder: str | os.PathLike):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # By default it takes one thread for two processors that share a core.
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        # It saves no time here, and takes a third more memory.
        options.enable_mem_pattern = False
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy
        self._encode, self._decode = (
            onnxruntime.InferenceSession(
                pathlib.Path(folder) / (name + _EXTENSION),
                options,
                providers=["CPUExecutionProvider"],
            )
            for name in (_ENCODE, _DECODE)
        )

    def enhance(self, frames: Iterable[np.ndarray]) -> np.ndarray:
        """The picture [S*H, S*W, 3] float32 of packed frames [H, W, C]; the first is the reference.

        Levels stay values of ONNX Runtime between its runs, as arrays would be copies.
        """
        (frame_name, *names), outputs = _names(self._encode)
        levels = [
            self._value(np.full((1, each.shape[1], 1, 1), -np.inf, np.float32))
            for each in self._encode.get_inputs()[1:]
        ]
        reference = []
        for frame in frames:
            # The maxima of the levels that are fused, which are the last ones.
            fused = dict(zip(names, levels[-len(names) :], strict=True))
            taken = {frame_name: self._value(frame[None])} | fused
            levels = self._encode.run_with_ort_values(outputs, taken)
            # The first level is the reference's alone where it is not fused: of other frames it is
            # not asked for.
            reference = reference or levels[: -len(names)]
            outputs = outputs[-len(names) :]
        inputs, outputs = _names(self._decode)
        taken = dict(zip(inputs, [*reference, *levels[-len(names) :]], strict=True))
        (picture,) = self._decode.run_with_ort_values(outputs, taken)
        return picture.numpy()


def _names(session):
    """Of a session's inputs and outputs, in order."""
    return [[each.name for each in some] for some in (session.get_inputs(), session.get_outputs())]
