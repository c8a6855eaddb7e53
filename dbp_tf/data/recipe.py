"""The training patches of a stage. The fields of `Recipe` are flags of the training programs."""

import dataclasses
import functools

from dbp_tf.errors import InputError
from dbp_tf.parameters import parameter

AUGMENTATIONS = ("published", "phase", "none")

_patches_flag = functools.partial(parameter, topic="training patches")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How training patches are made of a dataset.

    `stage` is "coarse", "fine" or "burst". Patches are squares of what the stage's network takes:
    packed pixels P, but pixels p of the half-size frames in the coarse stage. A burst shows 1 to
    `n_burst` frames, all numbers alike likely, or all that it has.
    """

    stage: str = "burst"
    patch: int = _patches_flag(
        512,
        "Side of the training patches in packed pixels, even; for train_coarse.py in pixels of the "
        "half-size frames.",
        low=2,
    )
    n_burst: int = _patches_flag(
        8,
        "Largest number of frames of a burst; every step draws 1 to so many.",
        low=1,
    )
    shift: int = _patches_flag(
        0,
        "Every frame but the first is moved by up to so many pixels, to teach robustness to small "
        "motion.",
        low=0,
    )
    bursts_per_step: int = _patches_flag(
        1,
        "Bursts that a device takes together for one update (published 1): more make steadier "
        "steps where the learning rate is high, keep a GPU busier with small patches, and take "
        "more memory.",
        low=1,
    )
    texture: float = _patches_flag(
        0.0,
        "How often, 0 to 1, a patch is the most detailed of eight random ones instead of just any "
        "(published 0): helps where training time is short, as flat patches teach little.",
        low=0,
        high=1,
    )
    augment: str = _patches_flag(
        "published",
        "How patches are flipped and transposed: published turns packed frames, which leaves the "
        "samples within a packed pixel where they were, against the ground truth; phase turns the "
        "mosaic from where its filters keep their places (2.4 dB more on frames without noise); "
        "none leaves patches as they are.",
        choices=AUGMENTATIONS,
    )
    noise: str = _patches_flag(
        "recorded",
        "Dark frames of a patch: recorded takes the burst's own (published); drawn makes them of "
        "the clean long exposure with the simulator's noise, a new exposure ratio and noise level "
        "for every patch, so that no noise is seen twice. With --white_balance the light varies, "
        "too.",
        choices=("recorded", "drawn"),
    )
    white_balance: str | None = _patches_flag(
        "none",
        "White balance to which training frames are scaled from the multipliers in their files, "
        "so that the weights serve every light: camera, those of daylight, or R,G,B; none leaves "
        "the colours as they are (published). By default that of the weights to start from, else "
        "none.",
    )
    shuffle: bool = _patches_flag(
        True,
        "Draw the frames of a burst in random order; without, the first ones are taken in order.",
    )

    def __post_init__(self):
        # The limits of single fields are those of their flags; these are not of one field alone.
        if self.stage != "coarse" and self.patch % 2:
            raise InputError(f"--patch is an even number, not {self.patch}")
        if self.shift >= self.patch:
            raise InputError(f"--shift is less than --patch {self.patch}, not {self.shift}")

    @property
    def side(self) -> int:
        """Side of the crop that is read for a patch, in packed pixels."""
        return self.patch * (2 if self.stage == "coarse" else 1)
