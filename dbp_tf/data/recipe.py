"""The training patches of a stage. The fields of `Recipe` are flags of the training programs."""

import dataclasses

from dbp_tf.config import parameter
from dbp_tf.errors import InputError

STAGES = ("coarse", "fine", "burst")
AUGMENTATIONS = ("published", "phase", "none")
NOISES = ("recorded", "drawn")

_TOPIC = "training patches"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How training patches are made of a dataset.

    `stage` is "coarse", "fine" or "burst". Patches are squares of what the stage's network takes:
    packed pixels P, but pixels p of the half-size frames in the coarse stage. A burst shows 1 to
    `n_burst` frames, all numbers alike likely, or all that it has.
    """

    stage: str = "burst"
    patch: int = parameter(
        512,
        "Side of the training patches in packed pixels, even; for train_coarse.py in pixels of the "
        "half-size frames.",
        topic=_TOPIC,
        low=2,
    )
    n_burst: int = parameter(
        8,
        "Largest number of frames of a burst; every step draws 1 to so many.",
        topic=_TOPIC,
        low=1,
    )
    shift: int = parameter(
        0,
        "Every frame but the first is moved by up to so many pixels, to teach robustness to small "
        "motion.",
        topic=_TOPIC,
        low=0,
    )
    bursts_per_step: int = parameter(
        1,
        "Bursts that a device takes together for one update (published 1): more make steadier "
        "steps where the learning rate is high, keep a GPU busier with small patches, and take "
        "more memory.",
        topic=_TOPIC,
        low=1,
    )
    texture: float = parameter(
        0.0,
        "How often, 0 to 1, a patch is the most detailed of eight random ones instead of just any "
        "(published 0): helps where training time is short, as flat patches teach little.",
        topic=_TOPIC,
        low=0,
        high=1,
    )
    augment: str = parameter(
        "published",
        "How patches are flipped and transposed: published turns packed frames, which leaves the "
        "samples within a packed pixel where they were, against the ground truth; phase turns the "
        "mosaic from where its filters keep their places (2.4 dB more on frames without noise); "
        "none leaves patches as they are.",
        topic=_TOPIC,
        choices=AUGMENTATIONS,
    )
    noise: str = parameter(
        "recorded",
        "Dark frames of a patch: recorded takes the burst's own (published); drawn makes them of "
        "the clean long exposure with the simulator's noise, a new exposure ratio and noise level "
        "for every patch, so that no noise is seen twice. With --white_balance the light varies, "
        "too.",
        topic=_TOPIC,
        choices=NOISES,
    )
    white_balance: str | None = parameter(
        "none",
        "White balance to which training frames are scaled from the multipliers in their files, "
        "so that the weights serve every light: camera, those of daylight, or R,G,B; none leaves "
        "the colours as they are (published). By default that of the weights to start from, else "
        "none.",
        topic=_TOPIC,
    )
    shuffle: bool = parameter(
        True,
        "Draw the frames of a burst in random order; without, the first ones are taken in order.",
        topic=_TOPIC,
    )

    def __post_init__(self):
        if self.stage not in STAGES:
            raise InputError(f"a stage is one of {', '.join(STAGES)}, not {self.stage!r}")
        if self.patch < 2 or (self.patch % 2 and self.stage != "coarse"):
            raise InputError(f"--patch is an even number from 2 on, not {self.patch}")
        if self.n_burst < 1:
            raise InputError(f"--n_burst is at least 1, not {self.n_burst}")
        if not 0 <= self.shift < self.patch:
            raise InputError(
                f"--shift is at least 0 and less than --patch {self.patch}, not {self.shift}"
            )
        if self.bursts_per_step < 1:
            raise InputError(f"--bursts_per_step is at least 1, not {self.bursts_per_step}")
        if not 0 <= self.texture <= 1:
            raise InputError(f"--texture is a share, 0 to 1, not {self.texture}")
        for name, choices in (("augment", AUGMENTATIONS), ("noise", NOISES)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"--{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )

    @property
    def side(self) -> int:
        """Side of what is read for a patch, in packed pixels."""
        return self.patch * (2 if self.stage == "coarse" else 1)
