"""Networks with weights, ready to restore a burst."""

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from dbp_tf.errors import InputError
from dbp_tf.models import layers, networks, reference
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.models.reference import reference_index
from dbp_tf.raw.cameras import Camera
from dbp_tf.raw.white_balance import Multipliers
from dbp_tf.restore import streaming

PRECISIONS = ("float32", "bfloat16")


class Enhancer:
    """Networks with weights, ready to restore.

    Attributes:
      spec: `NetworkSpec`.
      coarse: `keras.Model` or None, see `networks.coarse_net`.
      fine: `keras.Model` or None, see `networks.fine_net`.
      sid: `keras.Model` or None, see `networks.sid_net`.
      precision: "float32" or "bfloat16", what these models compute in.
      white_balance: multipliers (R, G, B), green 1, that the weights were trained for, or None if
        they do not say (the published ones). Frames must be scaled to them:
        `read_raw(path).packed(ratio, model.white_balance)` does.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        models: dict[str, keras.Model],
        precision: str = "float32",
        white_balance: Multipliers | None = None,
    ):
        self.spec = spec
        self.precision = precision
        self.white_balance = white_balance
        self.coarse = models.get("coarse")
        self.fine = models.get("fine")
        self.sid = models.get("sid")
        self._compiled: dict[str, Any] = {}

    @property
    def reference_frame(self) -> str:
        """ "first" or "center": what the weights were trained for, or the default."""
        return self.spec.reference_frame or reference.DEFAULT

    def reference_frame_for(self, camera: Camera) -> str:
        """The weights' reference frame, else that of the camera's published evaluation."""
        return self.spec.reference_frame or camera.reference_frame

    @property
    def models(self) -> dict[str, keras.Model]:
        """{"coarse" | "fine" | "sid": model} of those that are there."""
        named = {"coarse": self.coarse, "fine": self.fine, "sid": self.sid}
        return {name: model for name, model in named.items() if model is not None}

    def enhance(
        self,
        frames: Iterable[ArrayLike],
        reference_frame: str | int | None = None,
        precision: str | None = None,
        stripe_columns: int | None = streaming.STRIPE_COLUMNS,
    ) -> np.ndarray:
        """Restores one burst.

        Args:
          frames: [F, H, W, C] array, or an iterable of [H, W, C] arrays: packed frames in
            0..1, linear, brightened by the exposure ratio and scaled to `white_balance`. H and W
            even. An iterable is read one frame at a time, so that not all need to be in memory.
          reference_frame: "first", "center" or an index; the frame whose full-resolution detail
            is kept; None for that of the weights (`Enhancer.reference_frame`). Without effect in
            the first version and the SID baseline. "center" needs `len(frames)`.
          precision: "float32" or "bfloat16", what the networks compute in; None for that
            in which they were loaded.
          stripe_columns: the most packed columns that the two large levels compute at once, at
            least 8 and a multiple of 4; None for the whole picture, which takes more memory for
            the same result.

        Returns:
          [S*H, S*W, 3] float32, sRGB with the camera's white balance, not clipped.

        Raises:
          InputError: no frames, frames of odd, unequal or wrongly packed size, several frames
            for the SID baseline, or weights of a coarse network alone.
        """
        index = self._reference_index(reference_frame, frames)
        if self.sid is not None:
            return self._enhance_sid(frames, precision)
        stream = self.stream(precision, keep=(index,), stripe_columns=stripe_columns)
        stream.extend(self.checked(frames))
        return stream.picture(index, last=True)

    def _reference_index(self, reference_frame, frames):
        if reference_frame is None:
            reference_frame = self.reference_frame
        if isinstance(reference_frame, str):
            if not self.spec.refers:
                reference_index(reference_frame, 1)
                return 0
            if reference_frame == "center" and not hasattr(frames, "__len__"):
                raise InputError(
                    'reference_frame="center" needs to know how many frames there are: give '
                    "a list, or the index itself"
                )
            count = len(frames) if hasattr(frames, "__len__") else 1
            return reference_index(reference_frame, count)
        try:
            return operator.index(reference_frame)
        except TypeError:
            raise InputError(
                f"the reference frame is first, center or a whole number, not {reference_frame!r}"
            ) from None

    def stream(
        self,
        precision: str | None = None,
        keep: Iterable[int] | None = (0,),
        stripe_columns: int | None = streaming.STRIPE_COLUMNS,
    ) -> streaming.BurstStream:
        """A `streaming.BurstStream` of these networks, for pictures of a growing burst."""
        if self.fine is None:
            raise InputError(
                "these weights are of a coarse network alone, which gives no picture: load those "
                "of a fine or burst stage"
                if self.coarse
                else "the SID baseline restores one frame at a time, not a burst"
            )
        return streaming.BurstStream(self._steps(precision), keep, stripe_columns)

    def coarse_output(self, frame: ArrayLike) -> np.ndarray:
        """The coarse network's output for a packed frame [H, W, C]: [H/2, W/2, C] float32.

        It is linear and brightened as the frame, not clipped. The model has a fine network, too.
        """
        (checked,) = self.checked([frame])
        return self._steps(self.precision).denoise(checked)[0].numpy()

    def _steps(self, precision):
        precision = precision or self.precision
        if precision not in self._compiled:
            models = self._in_precision(precision)
            steps = streaming.Steps(models["coarse"], models["fine"], self.spec)
            self._compiled[precision] = steps
        return self._compiled[precision]

    def checked(self, frames: Iterable[ArrayLike]) -> Iterator[tf.Tensor]:
        """The frames as [1, H, W, C] float32 tensors, one by one; InputError on a bad one."""
        indices = itertools.count()

        def tensor(frame):
            frame, index = np.asarray(frame, np.float32), next(indices)
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
            return tf.constant(frame[None])

        # Not a generator, whose variables would hold frames while the networks work.
        return map(tensor, frames)

    def _enhance_sid(self, frames, precision):
        precision = precision or self.precision
        if precision not in self._compiled:
            signature = [tf.TensorSpec((1, None, None, self.spec.channels), tf.float32)]
            network = self._in_precision(precision)["sid"]
            self._compiled[precision] = tf.function(network, input_signature=signature)
        first, *others = [*self.checked(frames)] or [None]
        if first is None:
            raise InputError("a burst needs at least one frame")
        if others:
            raise InputError("the SID baseline restores one frame at a time, not a burst")
        return self._compiled[precision](first)[0].numpy()

    def _in_precision(self, precision):
        """The networks, or a copy of them that computes in another precision."""
        if precision == self.precision:
            return self.models
        copies = empty(self.spec, precision).models
        for name, copy in copies.items():
            for ours, theirs in zip(copy.weights, self.models[name].weights, strict=True):
                ours.assign(theirs)
        return copies


def empty(description: NetworkSpec, precision: str = "float32") -> Enhancer:
    """An `Enhancer` whose kernels are undefined, to be filled.

    Args:
      description: `NetworkSpec`.
      precision: see `Enhancer`.

    Raises:
      InputError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    with layers.empty_weights():
        return Enhancer(description, networks.build(description, dtype=precision), precision)
