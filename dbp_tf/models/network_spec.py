"""The description of a set of weights, from which `networks.build` makes its networks."""

import dataclasses

from dbp_tf.errors import InputError
from dbp_tf.models.fusions import FUSIONS, REFERENCE_FRAMES

# Types in which networks hold their weights and compute when they restore.
PRECISIONS = ("float32", "bfloat16")

_CHOICES = {
    "family": ("fine", "coarse", "sid"),
    "fusion": FUSIONS,
    "noise_map": (True, False),
    "squeeze_excite": (True, False),
    "depth_to_space": (True, False),
    "reference_frame": (None, *REFERENCE_FRAMES),
}
_LEAST = {"channels": 1, "width": 1, "scale": 1, "residual_blocks": 0}


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """The networks that one set of weights fills.

    From `fusion` on, fields describe the fine network and are at their defaults in other families.

    Attributes:
      family: "fine" (coarse and fine network), "coarse" (that one alone) or "sid" (the SID
        baseline).
      channels: packed channels C of the camera (4 Bayer, 9 X-Trans).
      width: channels d of the first level.
      scale: output pixels per packed pixel S; 1 for a coarse network alone.
      fusion: a key of `FUSIONS`: "max", the first version, or "reference", the revised one.
      noise_map: whether the fine network sees frame minus enlarged coarse output.
      residual_blocks: of the bottleneck; by default 16, and 0 where the fusion has no bottleneck.
      squeeze_excite: whether the bottleneck weighs its channels; by default if there is one.
      depth_to_space: False for the video variant.
      reference_frame: "first" or "center", for which the weights were trained; None if they do
        not say (the released ones), or if the fusion refers to none.

    Raises:
      InputError: a field cannot have its value, or the fusion has no such part.
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
        """Whether a reference frame makes a difference."""
        return self.family == "fine" and FUSIONS[self.fusion].refers

    @property
    def default_reference(self) -> str:
        """The reference frame where the caller names none: that of the weights, else "first"."""
        return self.reference_frame or "first"

    def __post_init__(self):
        fusion = FUSIONS.get(self.fusion, FUSIONS[NetworkSpec.fusion])
        if self.residual_blocks is None:
            object.__setattr__(self, "residual_blocks", 16 if fusion.bottleneck else 0)
        if self.squeeze_excite is None:
            object.__setattr__(self, "squeeze_excite", fusion.bottleneck)
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise InputError(
                    f"a network's {field} is one of {', '.join(map(str, choices))}, "
                    f"not {getattr(self, field)!r}"
                )
        for field, least in _LEAST.items():
            value = getattr(self, field)
            if type(value) is not int or value < least:
                raise InputError(
                    f"a network's {field} is a whole number of at least {least}, not {value!r}"
                )
        for field, has_it in fusion.has.items():
            if getattr(self, field) and not has_it:
                raise InputError(
                    f"a network of fusion {self.fusion} has no {field}: it is "
                    f"{getattr(self, field)!r}, leave it out"
                )
