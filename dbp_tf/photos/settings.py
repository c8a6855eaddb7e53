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

_FRAMES = "Frames"
_COLOUR = "Brightness and colour"
_HAND = "Hand-held bursts"
_PICTURES = "Pictures"


@dataclasses.dataclass(frozen=True)
class Settings(overrides.Facts, Restoration):
    """See the help of each field. Fields hold the words of the user, properties their meaning.

    Raises:
      InputError: a field makes no sense, or two do not go together.
    """

    n_burst: int = parameter(
        8, "Frames of a burst to use at the most, the first ones.", topic=_FRAMES, low=1
    )
    burst_gap: float | None = parameter(
        None,
        "Seconds; a longer pause between two frames, from the end of one to the start of the next, "
        "begins a new burst.",
        topic=_FRAMES,
        low=0,
    )
    ratio: str = parameter(
        "auto",
        f"Exposure ratio, by which the frames are brightened, 1 to {packing.MAX_RATIO:g}; auto: "
        "found in the raw signal. Give a number for a scene that is dark by nature, such as a "
        "night sky: 20 to 100.",
        topic=_COLOUR,
    )
    white_balance: str = parameter(
        DEFAULT,
        "camera scales the colours from the file's multipliers to those of the camera the weights "
        "were trained on, and estimates them where the file notes none; auto always estimates "
        "them; R,G,B gives them; none leaves the colours as they are.",
        topic=_COLOUR,
    )
    reference_frame: str | None = parameter(
        None,
        "Frame to which the others are aligned and whose finest detail the revised version of the "
        "network keeps. " + OWN_REFERENCE,
        topic=_HAND,
        choices=REFERENCES,
    )
    align: bool = parameter(True, "Undo the shake of the hand.", topic=_HAND)
    motion_mask: bool = parameter(
        True, "Where something moves, use the reference frame alone.", topic=_HAND
    )
    keep_all: bool = parameter(
        False, "Use all frames, even those that do not match the reference.", topic=_HAND
    )
    result_dir: pathlib.Path = parameter(
        pathlib.Path("results/photographs"),
        "Folder for the pictures; made if it is missing.",
        topic=_PICTURES,
    )
    format: str = parameter(
        "png",
        "; ".join(f"{name}: {kind.help}" for name, kind in pictures.FORMATS.items()) + ".",
        topic=_PICTURES,
        choices=tuple(pictures.FORMATS),
    )
    overwrite: bool = parameter(False, "Replace pictures that are there.", topic=_PICTURES)
    resume: bool = parameter(
        False, "Leave out bursts that have their picture already.", topic=_PICTURES
    )

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
