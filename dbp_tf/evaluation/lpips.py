"""LPIPS, the learned perceptual distance, from the frozen graph the published script used.

The graph (AlexNet with linear heads, version 0.1; Zhang et al. 2018, exported by
alexlee-gk/lpips-tensorflow) is not part of this project: it is read where its users keep it.
"""

import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import rewriter_config_pb2

from dbp_tf import files
from dbp_tf.errors import InputError, first_line
from dbp_tf.evaluation.settings import LPIPS_GRAPH

HOW_TO_GET = (
    "No LPIPS: get net-lin_alex_v0.1.pb, the frozen graph of alexlee-gk/lpips-tensorflow, and "
    f"keep it as {LPIPS_GRAPH} or give it with --lpips_graph."
)


def find_graph(path: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """The graph file: `path`, else the default one if it is there, else None.

    Raises:
      InputError: `path` is given and is not a file.
    """
    graph = files.expand(path) if path else pathlib.Path(os.path.expanduser(LPIPS_GRAPH))
    if graph.is_file():
        return graph
    if path:
        raise InputError(f"--lpips_graph: there is no file {graph}")
    return None


def load_lpips(
    path: str | os.PathLike[str],
) -> Callable[[np.ndarray, np.ndarray], float]:
    """Loads the frozen graph.

    Args:
      path: TensorFlow 1 GraphDef with inputs "0:0" and "1:0", [N, 3, rows, columns] in -1..1,
        whose last operation gives the distance.

    Returns:
      A function of two pictures [rows, columns, 3], sRGB in 0..1, that returns their distance
      as a float; 0 for equal pictures.

    Raises:
      InputError: the file is no frozen graph of this signature.
    """
    definition = tf.compat.v1.GraphDef()
    graph = tf.Graph()
    try:
        definition.ParseFromString(pathlib.Path(path).read_bytes())
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        inputs = [graph.get_tensor_by_name(name) for name in ("0:0", "1:0")]
        (distance,) = graph.get_operations()[-1].outputs
    except (DecodeError, tf.errors.OpError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a frozen LPIPS graph with inputs 0:0 and 1:0 and one output "
            f"({first_line(error)}): fetch it again"
        ) from None
    config = tf.compat.v1.ConfigProto()
    # A graph frozen for a GPU convolves and pools in NCHW, which TensorFlow's CPU kernels refuse.
    config.graph_options.rewrite_options.cpu_layout_conversion = (
        rewriter_config_pb2.RewriterConfig.NCHW_TO_NHWC
    )
    config.gpu_options.allow_growth = True
    session = tf.compat.v1.Session(graph=graph, config=config)

    def lpips(image, reference):
        pair = [_as_nchw(picture) for picture in (image, reference)]
        try:
            value = session.run(distance, dict(zip(inputs, pair, strict=True)))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise InputError(f"{path} cannot compare two pictures ({first_line(error)})") from None
        if np.size(value) != 1:
            raise InputError(
                f"{path} gives {np.size(value)} values for two pictures, not one distance: "
                f"it is not a frozen LPIPS graph"
            )
        return float(np.reshape(value, ()))

    return lpips


def _as_nchw(picture):
    """[rows, columns, 3] in 0..1 to [1, 3, rows, columns] in -1..1."""
    return np.moveaxis(picture.astype(np.float32) * 2 - 1, -1, 0)[None]
