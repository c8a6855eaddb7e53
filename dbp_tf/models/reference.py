"""The reference frame of a burst, whose finest detail is kept."""

from dbp_tf.errors import InputError

REFERENCE_FRAMES = ("first", "center")

# Where neither weights nor caller say.
DEFAULT = "first"


def reference_index(reference_frame: str, frames: int) -> int:
    """Index of the reference among so many frames: 0 for "first", frames // 2 for "center"."""
    if reference_frame not in REFERENCE_FRAMES:
        raise InputError(
            f"the reference frame is one of {', '.join(REFERENCE_FRAMES)}, not {reference_frame!r}"
        )
    return 0 if reference_frame == "first" else frames // 2
