"""VGG-19 features of sRGB pictures, as the contextual and the perceptual loss compare them.

The network is that of Simonyan and Zisserman (arXiv 1409.1556) up to conv4_2, with average
instead of maximum pooling, as the published training code has it.
"""

import os

import h5py
import keras
import numpy as np

from dbp_tf.errors import InputError

# In the order of the network, with input and output channels; a block ends where its
# number changes, and a pooling follows.
CONVOLUTIONS = {
    "conv1_1": (3, 64),
    "conv1_2": (64, 64),
    "conv2_1": (64, 128),
    "conv2_2": (128, 128),
    "conv3_1": (128, 256),
    "conv3_2": (256, 256),
    "conv3_3": (256, 256),
    "conv3_4": (256, 256),
    "conv4_1": (256, 512),
    "conv4_2": (512, 512),
}
FEATURE_LAYERS = ("conv3_2", "conv4_2")

# ImageNet's mean red, green and blue, 0..255, which VGG was trained to have subtracted.
CHANNEL_MEANS = (123.68, 116.779, 103.939)

KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
MATCONVNET_FILE = "imagenet-vgg-verydeep-19.mat"

# {name of a convolution: (kernel [3, 3, in, out], bias [out])}, float32.
Weights = dict[str, tuple[np.ndarray, np.ndarray]]


def vgg_features(weights: Weights, channels: str = "rgb") -> keras.Model:
    """The frozen VGG-19 that maps pictures to the features both losses compare.

    It computes in float32 under any global precision policy.

    Args:
      weights: see `read_vgg_weights`.
      channels: "rgb", or "bgr" to show the network blue as red and red as blue, as the published
        scripts of the first version and of Fuji do.

    Returns:
      A keras.Model without trainable weights. Input: sRGB pictures [N, H, W, 3], 0..1 but
      values outside are allowed, any float type. Output: a dict, by FEATURE_LAYERS, of
      float32 features after the ReLU, 0 and above: conv3_2 [N, H/4, W/4, 256] and
      conv4_2 [N, H/8, W/8, 512], sizes rounded up.
    """
    pictures = keras.Input((None, None, 3), dtype="float32", name="srgb")
    # Reversing the means and the first kernel saves reversing every picture.
    turn = {"rgb": slice(None), "bgr": slice(None, None, -1)}[channels]
    x = keras.layers.Rescaling(
        255.0,
        offset=(-np.array(CHANNEL_MEANS)[turn]).tolist(),
        dtype="float32",
        name="subtract_means",
    )(pictures)
    features = {}
    block = "1"
    for name, (_, width) in CONVOLUTIONS.items():
        if name[4] != block:
            x = keras.layers.AveragePooling2D(
                2, padding="same", data_format="channels_last", dtype="float32", name=f"pool{block}"
            )(x)
            block = name[4]
        x = keras.layers.Conv2D(
            width,
            3,
            padding="same",
            data_format="channels_last",
            activation="relu",
            kernel_initializer="zeros",
            dtype="float32",
            name=name,
        )(x)
        if name in FEATURE_LAYERS:
            features[name] = x
    model = keras.Model(pictures, features, name="vgg19_features")
    for name in CONVOLUTIONS:
        kernel, bias = weights[name]
        kernel = kernel[:, :, turn] if name == "conv1_1" else kernel
        model.get_layer(name).set_weights([kernel, bias])
    model.trainable = False
    return model


def read_vgg_weights(path: str | os.PathLike | None = None) -> Weights:
    """Reads the weights of VGG-19 up to conv4_2; call it before a long job starts.

    Args:
      path: Keras' VGG19 weights file (.h5, with or without its dense layers) or the
        MatConvNet release imagenet-vgg-verydeep-19.mat, told apart by content. Without it
        Keras finds its own file in its cache, or downloads it.

    Returns:
      A dict, in the order of CONVOLUTIONS: name -> (kernel [3, 3, in, out], bias [out]),
      float32, for red, green, blue input 0..255 minus CHANNEL_MEANS.

    Raises:
      InputError: the file is missing, is neither format, cannot be downloaded, lacks a
        layer, or holds one of another shape.
    """
    if path is None:
        source, layers, blue_first = "Keras' VGG19", _downloaded_layers(), True
    else:
        source = path = os.path.expanduser(os.fspath(path))
        if not os.path.isfile(path):
            raise InputError(f"there is no VGG-19 file {path}: {_what_to_give()}")
        try:
            blue_first = h5py.is_hdf5(path)
            layers = _keras_layers(path) if blue_first else _matconvnet_layers(path)
        except OSError as error:
            raise InputError(
                f"the VGG-19 file {path} cannot be read ({error}): copy or download it again"
            ) from error
    weights = _checked(layers, source)
    if blue_first:
        # Keras took its weights over from Caffe, which reads pictures as blue, green, red.
        kernel, bias = weights["conv1_1"]
        weights["conv1_1"] = np.ascontiguousarray(kernel[:, :, ::-1]), bias
    return weights


def _what_to_give():
    return f"give --vgg_weights Keras' {KERAS_FILE} or MatConvNet's {MATCONVNET_FILE}"


def _keras_name(name):
    return f"block{name[4]}_conv{name[6]}"


def _downloaded_layers():
    try:
        model = keras.applications.VGG19(include_top=False, weights="imagenet")
    # Keras raises a bare Exception where it has no network.
    except Exception as error:
        folder = os.path.join(os.environ.get("KERAS_HOME", os.path.join("~", ".keras")), "models")
        reason = " ".join(str(error).split())
        raise InputError(
            f"Keras cannot provide the VGG-19 weights ({reason}): put {KERAS_FILE} into "
            f"{folder}, or {_what_to_give()}"
        ) from error
    return {name: model.get_layer(_keras_name(name)).get_weights() for name in CONVOLUTIONS}


def _keras_layers(path):
    layers = {}
    with h5py.File(path, "r") as file:
        # Whole models keep their layers in a group of their own, weight files at the top.
        file = file.get("model_weights", file)
        for name in CONVOLUTIONS:
            group = file.get(_keras_name(name))
            if isinstance(group, h5py.Group):
                layers[name] = sorted(_arrays_below(group), key=np.ndim, reverse=True)
    return layers


def _arrays_below(group):
    # Releases of Keras differ in how deep they nest a layer's arrays and in their names.
    arrays = []
    group.visititems(
        lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None
    )
    return arrays


def _matconvnet_layers(path):
    with open(path, "rb") as file:
        if file.read(6) != b"MATLAB":
            raise InputError(f"{path} is not a VGG-19 file that can be read: {_what_to_give()}")
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError(
            f'{path} is read with scipy, which is missing: pip install "dbp_tf[vgg]"'
        ) from error
    try:
        stored = loadmat(path, variable_names=["layers"], simplify_cells=True).get("layers", [])
    # A cut or damaged file ends in errors of many kinds, of zlib and of scipy's own.
    except Exception as error:
        raise InputError(
            f"the VGG-19 file {path} cannot be read ({error}): copy or download it again"
        ) from error
    layers = {}
    for layer in stored if isinstance(stored, list) else [stored]:
        if not isinstance(layer, dict) or "name" not in layer:
            continue
        # Early releases have two fields where later ones have a cell of two arrays.
        if "weights" in layer:
            layers[layer["name"]] = layer["weights"]
        elif "filters" in layer and "biases" in layer:
            layers[layer["name"]] = layer["filters"], layer["biases"]
    return layers


def _checked(layers, source):
    missing = [name for name in CONVOLUTIONS if name not in layers]
    if missing:
        raise InputError(f"{source} has no layer {', '.join(missing)} of VGG-19: {_what_to_give()}")
    weights = {}
    for name, (inputs, outputs) in CONVOLUTIONS.items():
        arrays = [np.asarray(array) for array in layers[name]]
        shapes = [array.shape for array in arrays]
        expected = [(3, 3, inputs, outputs), (outputs,)]
        if shapes != expected or any(array.dtype.kind != "f" for array in arrays):
            raise InputError(
                f"layer {name} of {source} has arrays of shape {shapes}, not floats of "
                f"{expected}: {_what_to_give()}"
            )
        weights[name] = tuple(np.asarray(array, np.float32) for array in arrays)
    return weights
