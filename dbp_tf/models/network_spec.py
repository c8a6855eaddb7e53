"""The description of a set of weights, from which its networks are built."""

import dataclasses
from typing import Any

import keras

from dbp_tf.errors import InputError
from dbp_tf.models import networks
from dbp_tf.models.reference import DEFAULT, reference_index

FAMILIES = ("coarse", "fine", "sid")
FUSIONS = ("max", "reference")


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """The networks that one set of weights fills.

    Attributes:
      family: "fine" (coarse and fine network), "coarse" (that one alone) or "sid" (the SID
        baseline).
      channels: packed channels C of the camera (4 Bayer, 9 X-Trans).
      width: channels d of the first level.
      scale: output pixels per packed pixel S; 1 for a coarse network alone.
      fusion: "max", the first version, or "reference", the revised one with a bottleneck.
      noise_map: whether the fine network sees frame minus enlarged coarse output.
      residual_blocks: of the revised version's bottleneck, 16 by default; the first has none: 0.
      squeeze_excite: whether that bottleneck weighs its channels; False in the first version.
      depth_to_space: False for the video variant.
      reference_frame: of the revised version, "first" or "center", for which the weights were
        trained; None if they do not say (the released ones).

    From `fusion` on they describe the fine network and are at their defaults in other families.
    """

    family: str = "fine"
    channels: int = 4
    width: int = 32
    scale: int = 2
    fusion: str = "reference"
    noise_map: bool = True
    residual_blocks: int | None = None
    squeeze_excite: bool | None = None
    depth_to_space: bool = True
    reference_frame: str | None = None

    @property
    def refers(self) -> bool:
        """Whether a reference frame makes a difference, as it does to the revised version alone."""
        return self.family == "fine" and self.fusion == "reference"

    def __post_init__(self):
        revised = self.fusion == "reference"
        for field, value in (("residual_blocks", 16 * revised), ("squeeze_excite", revised)):
            if getattr(self, field) is None:
                object.__setattr__(self, field, value)
        for field, values in (("family", FAMILIES), ("fusion", FUSIONS)):
            if getattr(self, field) not in values:
                raise InputError(
                    f"a network's {field} is one of {', '.join(values)}, "
                    f"not {getattr(self, field)!r}"
                )
        for field in ("channels", "width", "scale", "residual_blocks"):
            value, least = getattr(self, field), field != "residual_blocks"
            if type(value) is not int or value < least:
                raise InputError(
                    f"a network's {field} is a whole number of at least {least:d}, not {value!r}"
                )
        if self.reference_frame is not None:
            reference_index(self.reference_frame, 1)
        if not revised:
            for field in ("residual_blocks", "squeeze_excite", "reference_frame"):
                if getattr(self, field):
                    raise InputError(
                        f"a network of fusion max has no {field}: it is {getattr(self, field)!r}, "
                        f"leave it out"
                    )
        for field in ("noise_map", "squeeze_excite", "depth_to_space"):
            if type(getattr(self, field)) is not bool:
                raise InputError(
                    f"a network's {field} is true or false, not {getattr(self, field)!r}"
                )


def build(spec: NetworkSpec, dtype: str | None = None) -> dict[str, keras.Model]:
    """Builds the networks of a spec with new weights.

    Args:
      spec: `NetworkSpec`.
      dtype: Keras' dtype policy for the networks, such as "mixed_bfloat16"; None for the global
        one.

    Returns:
      dict from "coarse", "fine" or "sid" to `keras.Model`.
    """
    if dtype is not None:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            return build(spec)
        finally:
            keras.config.set_dtype_policy(before)
    if spec.family == "sid":
        return {"sid": networks.sid_net(spec.channels, spec.width, spec.scale)}
    coarse = networks.coarse_net(spec.channels, spec.width)
    if spec.family == "coarse":
        return {"coarse": coarse}
    shared: dict[str, Any] = dict(
        channels=spec.channels,
        width=spec.width,
        noise_map=spec.noise_map,
        scale=spec.scale,
        depth_to_space=spec.depth_to_space,
    )
    if spec.fusion == "max":
        return {"coarse": coarse, "fine": networks.fine_net(**shared)}
    fine = networks.fine_res_net(
        residual_blocks=spec.residual_blocks or 0,
        squeeze_excite=bool(spec.squeeze_excite),
        reference_frame=spec.reference_frame or DEFAULT,
        **shared,
    )
    return {"coarse": coarse, "fine": fine}
