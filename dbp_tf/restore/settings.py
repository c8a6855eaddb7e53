"""The parameters that test_burst.py and `python -m dbp_tf.photos` share."""

import dataclasses
import pathlib
from typing import Any

from dbp_tf.models.network_spec import PRECISIONS
from dbp_tf.parameters import parameter
from dbp_tf.raw import cameras
from dbp_tf.restore import modes

NETWORK, BURSTS = "Network", "Bursts"

# The default of --reference_frame, which both programs have, with choices of their own.
OWN_REFERENCE = (
    "By default that which the weights were trained for or, if they do not say, that of the "
    "mosaic's published evaluation: "
    + ", ".join(f"{c.mosaic} {c.reference_frame}" for c in cameras.CAMERAS.values())
    + "."
)


@dataclasses.dataclass(frozen=True)
class Restoration:
    """The networks, how they compute, and which bursts. See the help of each field."""

    camera: cameras.Camera = parameter(
        cameras.SONY,
        "Camera the weights were trained on: its mosaic, Bayer or X-Trans, is that of the raw "
        "files. " + ", ".join(f"{c.name}: {c.mosaic}" for c in cameras.CAMERAS.values()) + ".",
        topic=NETWORK,
    )
    checkpoint: pathlib.Path | None = parameter(
        None,
        "Folder (or prefix) of the weights, released or this project's own. By default the small "
        "ones that come with the project: checkpoints/sony_small for Bayer, fuji_small for "
        "X-Trans.",
        topic=NETWORK,
    )
    mode: str = parameter(
        "burst",
        "; ".join(f"{name}: {mode.help}" for name, mode in modes.MODES.items()) + ".",
        topic=NETWORK,
        choices=tuple(modes.MODES),
    )
    precision: str = parameter(
        "float32",
        "Type in which the networks compute. bfloat16 changes less than a picture of 8 bits shows, "
        "and saves memory, and time where the processor or GPU has instructions for it.",
        topic=NETWORK,
        choices=PRECISIONS,
    )
    stripes: bool = parameter(
        True,
        "Compute the two large levels of the networks in stripes: much less memory for the same "
        "picture. Without effect on the SID baseline.",
        topic=NETWORK,
        may_change=True,
    )
    limit: int | None = parameter(
        None, "Restore the first so many bursts only.", topic=BURSTS, low=1, may_change=True
    )
    keep_going: bool = parameter(
        False,
        "Skip bursts that cannot be restored and files that belong to no burst, list them at the "
        "end and exit with code 1.",
        topic=BURSTS,
        may_change=True,
    )

    @property
    def compute(self) -> dict[str, Any]:
        """How `modes.restore` computes, if not as it does by default."""
        return {} if self.stripes else {"stripe_columns": None}
