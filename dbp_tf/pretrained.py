"""Weights on disk, and the model that restores bursts with them.

Two formats load: the published TensorFlow 1 checkpoints, and the project's own, a folder with
`network.json` (the spec) and `model.weights.h5` (Keras).
"""

import dataclasses
import functools
import json
import os
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from dbp_tf import layers, networks, released
from dbp_tf import spec as specs
from dbp_tf.errors import InputError

SPEC_FILE = "network.json"
WEIGHTS_FILE = "model.weights.h5"
FORMAT = 1


class Enhancer:
    """Networks with weights, ready to restore.

    Attributes:
      spec: `spec.NetworkSpec`.
      coarse: `keras.Model` or None, see `networks.coarse_net`.
      burst: `keras.Model` or None, see `networks.fine_res_net`.
      single: `keras.Model` or None, see `networks.sid_net`.
    """

    def __init__(self, spec, models):
        self.spec = spec
        self.coarse = models.get("coarse")
        self.burst = models.get("burst")
        self.single = models.get("single")

    @property
    def models(self):
        """{"coarse" | "burst" | "single": model} of those that are there."""
        named = {"coarse": self.coarse, "burst": self.burst, "single": self.single}
        return {name: model for name, model in named.items() if model is not None}

    def enhance(self, frames, reference_frame="first"):
        """Restores one burst.

        Args:
          frames: [F, H, W, C] array, or an iterable of [H, W, C] arrays: packed frames in
            0..1, linear, brightened by the exposure ratio. H and W even. An iterable is
            read one frame at a time, so that not all need to be in memory.
          reference_frame: "first", "center" or an index; the frame whose full-resolution detail
            is kept. Without effect in the first version and the SID baseline. "center" needs
            `len(frames)`.

        Returns:
          [S*H, S*W, 3] float32, sRGB with the camera's white balance, not clipped.

        Raises:
          InputError: no frames, frames of odd, unequal or wrongly packed size, several frames
            for the SID baseline, or weights of a coarse network alone.
        """
        if self.spec.family == "coarse":
            raise InputError(
                "these weights are of a coarse network alone, which gives no picture: load those "
                "of a fine or burst stage"
            )
        if isinstance(reference_frame, str):
            if reference_frame == "center" and not hasattr(frames, "__len__"):
                raise InputError(
                    'reference_frame="center" needs to know how many frames there are: give '
                    "a list, or the index itself"
                )
            count = len(frames) if hasattr(frames, "__len__") else 1
            reference_frame = layers.reference_index(reference_frame, count)
        checked = self._checked(frames)
        if self.single is not None:
            first, *others = checked
            if others:
                raise InputError("the SID baseline restores one frame at a time, not a burst")
            return self._call("single", first)[0].numpy()
        fused = None
        for index, frame in enumerate(checked):
            levels = self._call("encode", frame)
            if fused is None:
                fused = levels
            else:
                fused = self._call("fuse", fused, levels, tf.constant(index == reference_frame))
        if fused is None:
            raise InputError("a burst needs at least one frame")
        if not 0 <= reference_frame <= index:
            raise InputError(
                f"the reference frame {reference_frame} is not one of the {index + 1} frames"
            )
        return self._call("decode", fused)[0].numpy()

    def _checked(self, frames):
        size = None
        for index, frame in enumerate(frames):
            frame = np.asarray(frame, np.float32)
            if frame.ndim != 3 or frame.shape[-1] != self.spec.channels:
                raise InputError(
                    f"frame {index} has the shape {list(frame.shape)}: these weights need packed "
                    f"frames [H, W, {self.spec.channels}]"
                )
            if frame.shape[0] % 2 or frame.shape[1] % 2 or not frame.size:
                raise InputError(
                    f"frame {index} has {frame.shape[0]} x {frame.shape[1]} packed pixels, an odd "
                    f"number: cut or pad it to even ones"
                )
            if size not in (None, frame.shape):
                raise InputError(
                    f"frame {index} has the shape {list(frame.shape)}, the first one {list(size)}: "
                    f"a burst's frames are of one size"
                )
            size = frame.shape
            yield frame[None]

    def _call(self, step, *args):
        return self._steps[step](*args)

    @functools.cached_property
    def _steps(self):
        """The compiled steps of a restoration; sizes stay dynamic, so nothing is retraced."""
        frame = tf.TensorSpec((1, None, None, self.spec.channels), tf.float32)
        if self.single is not None:
            return {"single": tf.function(self.single, input_signature=[frame])}
        encoder, bottleneck, decoder = networks.parts(self.burst)
        by_maximum = self.spec.fusion == "max"
        levels = [tf.TensorSpec((1, None, None, t.shape[-1]), tf.float32) for t in encoder.outputs]

        def encode(frame):
            return encoder([frame, self.coarse(half_size(frame))])

        def fuse(fused, levels, is_reference):
            first = (
                tf.maximum(fused[0], levels[0])
                if by_maximum
                else tf.where(is_reference, levels[0], fused[0])
            )
            return [first, *map(tf.maximum, fused[1:], levels[1:])]

        def decode(fused):
            *skips, deepest = fused
            return decoder([*skips, bottleneck(deepest) if bottleneck else deepest])

        return {
            "encode": tf.function(encode, input_signature=[frame]),
            "fuse": tf.function(fuse, input_signature=[levels, levels, tf.TensorSpec((), tf.bool)]),
            "decode": tf.function(decode, input_signature=[levels]),
        }


def half_size(frames):
    """Frames [F, H, W, C] of even size to [F, H/2, W/2, C]: the mean of every 2 x 2 pixels.

    What the published bilinear resize with half-pixel centres comes to for even sizes.
    """
    return tf.nn.avg_pool2d(frames, 2, 2, "VALID")


def load_pretrained(path):
    """Loads weights.

    Args:
      path: a folder with a TensorFlow 1 checkpoint or the project's own weights, or the prefix
        of a checkpoint.

    Returns:
      `Enhancer`; what the network is is read off the files.

    Raises:
      InputError: nothing there, a file missing, variables missing, unknown, mis-shaped or of
        mixed families.
    """
    path = pathlib.Path(path)
    if (path / SPEC_FILE).is_file():
        return _load_own(path)
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
    models = specs.build(spec)
    released.restore(models, reader, shapes, prefix)
    return Enhancer(spec, models)


def untrained(spec, seed=0):
    """An `Enhancer` with new random weights; what it restores shows nothing."""
    keras.utils.set_random_seed(seed)
    return Enhancer(spec, specs.build(spec))


class _NamedArrays(keras.layers.Layer):
    """What Keras writes into and reads from `.weights.h5`: arrays by their published names.

    Keras itself would name nested models' weights by their position, which differs between its
    versions, and would pass over what it does not find.
    """

    def __init__(self, arrays):
        super().__init__(name="named_arrays")
        self.arrays = arrays

    def call(self, inputs):
        return inputs  # Keras only saves what has been called.

    def save_own_variables(self, store):
        for name, array in self.arrays.items():
            store[name.replace("/", ".")] = array

    def load_own_variables(self, store):
        self.arrays = {name.replace(".", "/"): np.asarray(store[name]) for name in store.keys()}


def _weights_model(arrays):
    return keras.Sequential([keras.Input((1,)), _NamedArrays(arrays)])


def save_pretrained(model, folder, *, half=False):
    """Writes the project's own format; `load_pretrained(folder)` gives the same outputs.

    Args:
      model: `Enhancer`.
      folder: made if missing. Each file is replaced whole or not at all.
      half: store float16 (half the size, about three digits).
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = {"format": FORMAT, "network": dataclasses.asdict(model.spec)}
    arrays = {
        name: keras.ops.convert_to_numpy(variable).astype(np.float16 if half else np.float32)
        for name, variable in released.published_variables(model.models).items()
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
        scratch = pathlib.Path(scratch)
        _weights_model(arrays).save_weights(scratch / WEIGHTS_FILE)
        (scratch / SPEC_FILE).write_text(json.dumps(description, indent=2) + "\n")
        for name in (WEIGHTS_FILE, SPEC_FILE):
            os.replace(scratch / name, folder / name)


def _load_own(folder):
    spec_file, weights_file = folder / SPEC_FILE, folder / WEIGHTS_FILE
    try:
        description = json.loads(spec_file.read_text())
        if description["format"] != FORMAT:
            raise InputError(
                f"{spec_file} is of format {description['format']}, this version of dbp_tf reads "
                f"format {FORMAT}: update dbp_tf"
            )
        spec = specs.NetworkSpec(**description["network"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{spec_file} does not describe a network ({error})") from None
    if not weights_file.is_file():
        raise InputError(f"{folder} holds {SPEC_FILE} but no {WEIGHTS_FILE}: copy that too")
    models = specs.build(spec)
    stored = _weights_model({})
    try:
        stored.load_weights(weights_file)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"{weights_file} is damaged or no weights file ({str(error).splitlines()[0]}): copy it "
            f"again"
        ) from None
    arrays = stored.layers[0].arrays
    variables = released.published_variables(models)
    released.check(variables, {name: a.shape for name, a in arrays.items()}, weights_file)
    for name, variable in variables.items():
        variable.assign(arrays[name].astype(np.float32))
    return Enhancer(spec, models)
