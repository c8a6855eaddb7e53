"""Networks with weights, ready to restore a burst."""

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from dbp_tf.errors import InputError
from dbp_tf.models import layers, networks
from dbp_tf.models.fusions import reference_index
from dbp_tf.models.network_spec import PRECISIONS, NetworkSpec
from dbp_tf.raw.cameras import Camera
from dbp_tf.raw.white_balance import Multipliers
from dbp_tf.restore import streaming


class Enhancer:
    """Networks with weights, ready to restore.

    Attributes:
      spec: `NetworkSpec`.
      models: {"coarse" | "fine" | "sid": network} of those that are there.
      coarse, fine, sid: each of them or None, see `networks.coarse_net`, `fine_net`, `sid_net`.
      white_balance: multipliers (R, G, B), green 1, that the weights were trained for, or None if
        they do not say (the published ones). Frames must be scaled to them:
        `read_raw(path).packed(ratio, model.white_balance)` does.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        models: dict[str, keras.Model],
        white_balance: Multipliers | None = None,
    ):
        self.spec, self.models, self.white_balance = spec, models, white_balance
        self.coarse = models.get("coarse")
        self.fine = models.get("fine")
        self.sid = models.get("sid")

    @property
    def reference_frame(self) -> str:
        """ "first" or "center": what the weights were trained for, or the default."""
        return self.spec.default_reference

    def reference_frame_for(self, camera: Camera) -> str:
        """The weights' reference frame, else that of the camera's published evaluation."""
        return self.spec.reference_frame or camera.reference_frame

    def enhance(
        self,
        frames: Iterable[ArrayLike],
        reference_frame: str | int | None = None,
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
            return self._enhance_sid(frames)
        stream = self.stream(keep=(index,), stripe_columns=stripe_columns)
        stream.extend(self.checked(frames))
        return stream.picture(index, last=True)

    def _reference_index(self, reference_frame, frames):
        if reference_frame is None:
            reference_frame = self.reference_frame
        if isinstance(reference_frame, str):
            counted = hasattr(frames, "__len__")
            if reference_frame == "center" and self.spec.refers and not counted:
                raise InputError(
                    'reference_frame="center" needs to know how many frames there are: give '
                    "a list, or the index itself"
                )
            return reference_index(reference_frame, len(frames) if counted else 1)
        try:
            return operator.index(reference_frame)
        except TypeError:
            raise InputError(
                f"the reference frame is first, center or a whole number, not {reference_frame!r}"
            ) from None

    def stream(
        self,
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
        return streaming.BurstStream(self.steps, keep, stripe_columns)

    def coarse_output(self, frame: ArrayLike) -> np.ndarray:
        """The coarse network's output for a packed frame [H, W, C]: [H/2, W/2, C] float32.

        It is linear and brightened as the frame, not clipped. The model has a fine network, too.
        """
        (checked,) = self.checked([frame])
        return self.steps.denoise(checked)[0].numpy()

    @functools.cached_property
    def steps(self) -> streaming.Steps:
        """The compiled steps of coarse and fine network."""
        return streaming.Steps(self.models["coarse"], self.models["fine"], self.spec)

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

    def _enhance_sid(self, frames):
        first, *others = [*self.checked(frames)] or [None]
        if first is None:
            raise InputError("a burst needs at least one frame")
        if others:
            raise InputError("the SID baseline restores one frame at a time, not a burst")
        return self._sid_step(first)[0].numpy()

    @functools.cached_property
    def _sid_step(self):
        signature = [tf.TensorSpec((1, None, None, self.spec.channels), tf.float32)]
        return tf.function(self.sid, input_signature=signature)


def empty(spec: NetworkSpec, precision: str = "float32") -> Enhancer:
    """An `Enhancer` whose kernels are undefined, to be filled.

    Args:
      spec: of its networks.
      precision: "float32" or "bfloat16", in which they hold their weights and compute.

    Raises:
      InputError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    with layers.empty_weights():
        return Enhancer(spec, networks.build(spec, precision))
