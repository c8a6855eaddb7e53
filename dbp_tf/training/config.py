"""The parameters of the three training programs; the defaults are the published recipe.

`Coarse`, `Fine` and `Burst` are the stages. Each field is a flag of its program, stands in the
run's settings.json, and must be the same when a run goes on, unless it says `may_change`.
"""

import dataclasses
import functools
import pathlib
import typing

from dbp_tf.data.recipe import Recipe
from dbp_tf.models.fusions import FUSIONS, REFERENCE_FRAMES
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.parameters import parameter
from dbp_tf.raw import cameras

PERCEPTUAL_WEIGHT = 0.1

# A parameter under each heading of `--help`.
_dataset_flag = functools.partial(parameter, topic="dataset")
_run_flag = functools.partial(parameter, topic="run")
_optimisation_flag = functools.partial(parameter, topic="optimisation")
_networks_flag = functools.partial(parameter, topic="networks")
_loss_flag = functools.partial(parameter, topic="loss")


@dataclasses.dataclass(frozen=True)
class Folders:
    """The camera and the folders that all stages have."""

    camera: cameras.Camera = _dataset_flag(cameras.SONY, "Camera of the raw files.")
    short_dir: pathlib.Path = _dataset_flag(
        None,
        "Folder of the dark bursts, IIIII_NN_Ts.ARW or .RAF.",
        required=True,
        exists="folder",
        may_change=True,
    )
    long_dir: pathlib.Path = _dataset_flag(
        None,
        "Folder of the long exposures, the ground truth.",
        required=True,
        exists="folder",
        may_change=True,
    )
    cache_dir: pathlib.Path = _dataset_flag(
        pathlib.Path("cache"),
        "Folder for the decoded raw files: 24 MB a Sony frame, 73 MB a ground truth. Any run may "
        "use it; it may be deleted at any time.",
        may_change=True,
    )
    checkpoint_dir: pathlib.Path | None = _run_flag(
        None,
        "Folder of this run: settings, history, weights, pictures. The same command goes on in it. "
        "By default "
        "checkpoints/<camera>_<stage>.",
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """How weights are updated: Adam, with the published constants."""

    learning_rate: float = _optimisation_flag(1e-4, "Learning rate of Adam, at first.", low=0)
    final_learning_rate: float = _optimisation_flag(
        1e-5, "Learning rate after the drop, or at the end of the cosine.", low=0
    )
    schedule: str = _optimisation_flag(
        "step",
        "How the learning rate falls: step (published) drops once; cosine falls smoothly, which "
        "ends better where training is short.",
        choices=("step", "cosine"),
    )
    drop_at: float = _optimisation_flag(
        0.5,
        "Fraction of all epochs after which --schedule step drops the learning rate.",
        low=0,
        high=1,
    )
    warmup_steps: int = _optimisation_flag(
        0,
        "Steps over which the learning rate rises from 0 (published 0): lets a high rate start "
        "safely.",
        low=0,
    )
    average: float = _optimisation_flag(
        0.0,
        "Decay of a moving average of the weights, such as 0.999; "
        "validation, sample pictures and saved weights are then of the average, which is steadier. "
        "0: none (published).",
        low=0,
        high=0.99999,
    )
    clip_norm: float = _optimisation_flag(
        0.0,
        "Largest norm of all gradients together, 0 for no limit (published): keeps one odd burst "
        "from undoing the work of many.",
        low=0,
    )


@dataclasses.dataclass(frozen=True)
class Training(Optimisation, Recipe, Folders):
    """The parameters that all stages have."""

    white_balance: str | None = None  # That of the weights to start from, else none.
    epochs: int = _run_flag(
        4000,
        "Epochs in all. May be raised to go on: the learning rate then stays as it is at the end "
        "of the epochs that the run began with.",
        low=1,
        may_change=True,
    )
    steps_per_epoch: int = _run_flag(
        0,
        "Updates of the weights in an epoch; 0: as many as show every training scene once.",
        low=0,
    )
    seed: int = _run_flag(
        0, "Every random choice follows from the seed and the step.", low=0, high=2**31 - 1
    )
    deterministic: bool = _run_flag(
        False,
        "Use TensorFlow's deterministic operations, so that two runs end with equal weights; "
        "slower on a GPU.",
        may_change=True,
    )
    precision: str = _run_flag(
        "float32",
        "Type in which the networks compute; weights and losses are float32 in any case, and "
        "mixed_float16 scales the loss. The mixed ones are for GPUs: on a processor without "
        "bfloat16 instructions the gradients of convolutions take ten times as long.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    strategy: str = _run_flag(
        "none",
        "none: one device; mirrored: all GPUs of this machine; multi_worker: all machines that "
        "TF_CONFIG lists, with one --checkpoint_dir that all of them see. Each device takes a "
        "burst of its own.",
        choices=("none", "mirrored", "multi_worker"),
        may_change=True,
    )
    save_every: int = _run_flag(
        50,
        "Epochs after which state and weights are saved; the end is always saved.",
        low=0,
        may_change=True,
    )
    pictures_every: int = _run_flag(
        50,
        "Epochs after which input, output and ground truth of a patch are drawn; 0: never.",
        low=0,
        may_change=True,
    )
    validate_every: int = _run_flag(
        50,
        "Epochs after which PSNR and SSIM of the validation split are taken; 0: never.",
        low=0,
        may_change=True,
    )
    validation_limit: int | None = _run_flag(
        None, "Only the first so many bursts of the validation split.", low=1, may_change=True
    )
    keep: int = _run_flag(
        2, "Saved states to keep, each three times as large as the weights.", low=1, may_change=True
    )
    max_hours: float = _run_flag(
        0.0,
        "Save and stop after so many hours; the same command goes on. 0: no limit.",
        low=0,
        may_change=True,
    )
    width: int | None = _networks_flag(
        None,
        f"Channels of the first level; by default {NetworkSpec.width}, or that of the weights to "
        "start from.",
        low=1,
    )


@dataclasses.dataclass(frozen=True)
class NewNetworks(Training):
    """The parameters of stages in which a network starts from nothing."""

    initial_weights: str = _networks_flag(
        "published",
        "Weights of networks that start from nothing: published (Glorot, small up-convolutions); "
        "he, with which narrow networks get going at once; develop, with which the fine network "
        "also starts with the best colours, tones and detail that its first level alone can give "
        "(he for the coarse one).",
        choices=("published", "he", "develop"),
    )


@dataclasses.dataclass(frozen=True)
class PictureLoss(Training):
    """The parameters of stages whose output is a picture."""

    residual_blocks: int | None = _networks_flag(
        None,
        "Residual blocks of the revised version's bottleneck; by default "
        f"{NetworkSpec().residual_blocks}, or that of the weights to start from.",
        low=0,
    )
    loss: str = _loss_flag(
        "contextual",
        "Loss of the picture: l1, or l1 plus the contextual or the perceptual loss.",
        choices=("l1", "contextual", "perceptual"),
    )
    feature_weight: float | None = _loss_flag(
        None,
        "Weight of the loss that is added to L1; by default as published: contextual ("
        + ", ".join(f"{c.mosaic} {c.contextual_weight:g}" for c in cameras.CAMERAS.values())
        + f"), perceptual {PERCEPTUAL_WEIGHT:g}.",
        low=0,
    )
    vgg_weights: pathlib.Path | None = _loss_flag(
        None,
        "VGG-19 for the contextual and perceptual loss: Keras' .h5 or MatConvNet's .mat. By "
        "default Keras downloads its own.",
        may_change=True,
    )
    vgg_channels: str | None = _loss_flag(
        None,
        "Order in which VGG-19 sees the colours: rgb; bgr is a mistake of the published scripts "
        "of the first version and of Fuji. By default as published: bgr with X-Trans or fusion "
        + " or ".join(name for name, fusion in FUSIONS.items() if fusion.vgg_channels == "bgr")
        + ", else rgb.",
        choices=("rgb", "bgr"),
    )


@dataclasses.dataclass(frozen=True)
class Coarse(NewNetworks):
    """Stage 1: the coarse network denoises half-size raw frames."""

    stage: str = "coarse"
    patch: int = 256
    coarse: pathlib.Path | None = _networks_flag(
        None,
        "Weights to start from, released or this project's own, of any stage; without, from "
        "scratch.",
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class Fine(PictureLoss, NewNetworks):
    """Stage 2: coarse and fine network learn together to turn frame 00 into a picture."""

    MOSAIC_DEFAULTS: typing.ClassVar = {"xtrans": {"loss": "l1"}}

    stage: str = "fine"
    n_burst: int = parameter(1, "", flag=False)
    shift: int = parameter(0, "", flag=False)
    shuffle: bool = parameter(False, "", flag=False)
    coarse: pathlib.Path | None = _networks_flag(
        None,
        "Weights whose coarse network is taken over, of train_coarse.py or released; the fine "
        "network starts from nothing.",
        may_change=True,
    )
    fine: pathlib.Path | None = _networks_flag(
        None,
        "Instead of --coarse: weights of which both networks are taken over, to train on.",
        may_change=True,
    )
    fusion: str | None = _networks_flag(
        None,
        "How the fine network merges the finest level of a burst: "
        + "; ".join(f"{name} {fusion.help}" for name, fusion in FUSIONS.items())
        + f". By default as the weights to start from, else {NetworkSpec.fusion}.",
        choices=tuple(FUSIONS),
    )
    noise_map: bool | None = _networks_flag(
        None,
        "Whether the fine network also sees frame minus coarse output. By default as the weights "
        "to start from, else true, as in the published evaluation and the final model; the "
        "published training script leaves it out.",
    )


@dataclasses.dataclass(frozen=True)
class Burst(PictureLoss):
    """Stage 3: the fine network learns to see 1 to 8 frames; the coarse one is frozen.

    Sony's published script goes on at an epoch past half of all and so runs at the low rate
    throughout. Fuji's goes on before half: 301 epochs at the high rate, then 2000 at the low one.
    It neither shuffles nor shifts the frames.
    """

    MOSAIC_DEFAULTS: typing.ClassVar = {
        "xtrans": {
            "epochs": 2301,
            "learning_rate": 1e-4,
            "drop_at": 301 / 2301,
            "shift": 0,
            "shuffle": False,
        }
    }

    stage: str = "burst"
    epochs: int = 1000
    learning_rate: float = 1e-5
    shift: int = 4
    fine: pathlib.Path | None = _networks_flag(
        None, "Weights to start from, of train_fine.py or released.", required=True, may_change=True
    )
    reference_frame: str | None = _networks_flag(
        None,
        "Frame whose finest detail is kept: center, the middle one (published, the default), or "
        "first, the only one that --shift never moves against the ground truth.",
        choices=REFERENCE_FRAMES,
    )
