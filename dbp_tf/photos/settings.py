"""How your own photographs are restored: the parameters of `python -m dbp_tf.photos`."""

import dataclasses
import functools
import math
import pathlib

from dbp_tf import pictures
from dbp_tf.errors import InputError
from dbp_tf.parameters import parameter
from dbp_tf.photos.alignment import REFERENCES
from dbp_tf.raw import overrides, packing
from dbp_tf.raw.white_balance import DEFAULT, Multipliers
from dbp_tf.raw.white_balance import parse as parse_white_balance
from dbp_tf.restore.settings import OWN_REFERENCE, Restoration

_frames_flag = functools.partial(parameter, topic="Frames")
_colour_flag = functools.partial(parameter, topic="Brightness and colour")
_hand_flag = functools.partial(parameter, topic="Hand-held bursts")
_pictures_flag = functools.partial(parameter, topic="Pictures")


@dataclasses.dataclass(frozen=True)
class Settings(overrides.OverrideFlags, Restoration):
    """See the help of each field. Fields hold the words of the user, properties their meaning.

    Raises:
      InputError: a field makes no sense, or two do not go together.
    """

    n_burst: int = _frames_flag(8, "Frames of a burst to use at the most, the first ones.", low=1)
    burst_gap: float | None = _frames_flag(
        None,
        "Seconds; a longer pause between two frames, from the end of one to the start of the next, "
        "begins a new burst.",
        low=0,
    )
    ratio: str = _colour_flag(
        "auto",
        f"Exposure ratio, by which the frames are brightened, 1 to {packing.MAX_RATIO:g}; auto: "
        "found in the raw signal. Give a number for a scene that is dark by nature, such as a "
        "night sky: 20 to 100.",
    )
    white_balance: str = _colour_flag(
        DEFAULT,
        "camera scales the colours from the file's multipliers to those of the camera the weights "
        "were trained on, and estimates them where the file notes none; auto always estimates "
        "them; R,G,B gives them; none leaves the colours as they are.",
    )
    reference_frame: str | None = _hand_flag(
        None,
        "Frame to which the others are aligned and whose finest detail the revised version of the "
        "network keeps. " + OWN_REFERENCE,
        choices=REFERENCES,
    )
    align: bool = _hand_flag(True, "Undo the shake of the hand.")
    motion_mask: bool = _hand_flag(True, "Where something moves, use the reference frame alone.")
    keep_all: bool = _hand_flag(
        False, "Use all frames, even those that do not match the reference."
    )
    result_dir: pathlib.Path = _pictures_flag(
        pathlib.Path("results/photographs"), "Folder for the pictures; made if it is missing."
    )
    format: str = _pictures_flag(
        "png",
        "; ".join(f"{name}: {kind.help}" for name, kind in pictures.FORMATS.items()) + ".",
        choices=tuple(pictures.FORMATS),
    )
    overwrite: bool = _pictures_flag(False, "Replace pictures that are there.")
    resume: bool = _pictures_flag(False, "Leave out bursts that have their picture already.")

    def __post_init__(self):
        if self.resume and self.overwrite:
            raise InputError("--resume keeps pictures that --overwrite replaces: give one of them")
        if self.keep_all and not self.align:
            raise InputError(
                "--keep_all means nothing with --noalign, which leaves out no frame: leave out one "
                "of them"
            )
        # Said now rather than when they are needed.
        _ = self.given_ratio, self.balance, self.overrides

    @functools.cached_property
    def given_ratio(self) -> float | None:
        """The exposure ratio; None if it is to be found."""
        if self.ratio == "auto":
            return None
        try:
            ratio = float(self.ratio)
        except ValueError:
            ratio = math.nan
        if not 1 <= ratio <= packing.MAX_RATIO:
            raise InputError(
                f"--ratio={self.ratio}: give auto or a number from 1 to {packing.MAX_RATIO:g}"
            )
        return ratio

    @functools.cached_property
    def balance(self) -> str | Multipliers:
        """See `white_balance.parse`."""
        return parse_white_balance(self.white_balance)
