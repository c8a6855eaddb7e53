"""The ways to merge the frames of a burst, and all that follows from each.

The encoder gives five levels of every frame; a fusion makes five levels of one picture of them. A
new one is an entry of `FUSIONS`: flags, networks, training, restoring and the report follow it.

Axis letters: F frames (the batch axis), H W rows and columns of a level, D its channels.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from dbp_tf.errors import InputError

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and flags name the fusions without it.
    import tensorflow as tf

REFERENCE_FRAMES = ("first", "center")


def reference_index(reference_frame: str, frames: int) -> int:
    """Index of the reference among so many frames: 0 for "first", frames // 2 for "center"."""
    if reference_frame not in REFERENCE_FRAMES:
        raise InputError(
            f"the reference frame is one of {', '.join(REFERENCE_FRAMES)}, not {reference_frame!r}"
        )
    return 0 if reference_frame == "first" else frames // 2


def maximum(level: "tf.Tensor") -> "tf.Tensor":
    """The maximum over all frames: [F, H, W, D] to [1, H, W, D]."""
    import tensorflow as tf

    return tf.reduce_max(level, 0, keepdims=True)


def larger(merged: "tf.Tensor", level: "tf.Tensor") -> "tf.Tensor":
    """The maximum of the frames so far and of one more, [1, H, W, D] each."""
    import tensorflow as tf

    return tf.maximum(level, merged)


@dataclasses.dataclass(frozen=True)
class Fusion:
    """A way to merge the frames of a burst.

    `layers.FuseBurst` merges all frames at once, by `merge`. `restore.streaming` sees one frame at
    a time: it begins with `nothing` and takes every frame in by `with_frame`. Both give the same.

    Attributes:
      help: what --help says of it under --fusion, after its name.
      refers: whether the first level is the reference frame's alone, and only the deeper ones are
        merged: full-resolution detail of moving hands would not line up.
      bottleneck: whether the deepest level passes residual blocks.
      vgg_channels: colour order, "rgb" or "bgr", of the pictures that the published training gave
        to VGG-19.
      merge: all frames at once: function of their level [F, H, W, D] that returns [1, H, W, D].
      before: one frame at a time: value of the merged level before the first one.
      add: one frame at a time: function of (merged level of the frames so far, level of one more),
        [1, H, W, D] each, that returns the merged level of them all.
    """

    help: str
    refers: bool
    bottleneck: bool
    vgg_channels: str
    merge: "Callable[[tf.Tensor], tf.Tensor]" = maximum
    before: float = -math.inf
    add: "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]" = larger

    def nothing(self, level: "tf.TensorSpec") -> "tf.Tensor":
        """A merged level before the first frame, [1, 1, 1, D]."""
        import tensorflow as tf

        return tf.fill((1, 1, 1, level.shape[-1]), tf.constant(self.before, level.dtype))

    def with_frame(self, merged: "list[tf.Tensor]", levels: "list[tf.Tensor]") -> "list[tf.Tensor]":
        """The merged levels of the frames so far and of one more, whose levels are [1, ...]."""
        return [self.add(*pair) for pair in zip(merged, levels, strict=True)]

    @property
    def has(self) -> dict[str, bool]:
        """{field of a `NetworkSpec`: whether networks of this fusion have such a part}."""
        return {
            "residual_blocks": self.bottleneck,
            "squeeze_excite": self.bottleneck,
            "reference_frame": self.refers,
        }


# Published weights do not name their fusion. They get the first entry that has a bottleneck if they
# have one, and the first that has none if not: `published`.
FUSIONS = {
    "reference": Fusion(
        "takes that of one frame (the revised version, robust to motion)",
        refers=True,
        bottleneck=True,
        vgg_channels="rgb",
    ),
    "max": Fusion(
        "takes the maximum over all frames (the first version, without residual blocks; more is "
        "gained from frames that lie still)",
        refers=False,
        bottleneck=False,
        vgg_channels="bgr",
    ),
}


def published(bottleneck: bool) -> str:
    """The name of the fusion of published weights, which do or do not have a bottleneck."""
    return next(name for name, fusion in FUSIONS.items() if fusion.bottleneck == bottleneck)
