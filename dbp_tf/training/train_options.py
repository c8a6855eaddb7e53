"""What the three training scripts share: flags, their checks, and the way from flags to a run."""

import dataclasses
import functools
import json
import pathlib
import zlib

from absl import flags

from dbp_tf import cli, progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras

# The contextual loss weighs 1 or, for Fuji, 0.1; the published perceptual variant 0.1.
_PERCEPTUAL_WEIGHT = 0.1

# Arguments of `train` that are called otherwise than their flags.
_FLAG_OF = {"initial": "initial_weights"}

_PATHS = ("short_dir", "long_dir", "cache_dir", "checkpoint_dir", "coarse", "fine", "vgg_weights")


@dataclasses.dataclass(frozen=True)
class Job:
    """What is known of a run before TensorFlow is imported.

    Attributes:
      stage: "coarse", "fine" or "burst".
      camera: `cameras.Camera`.
      bursts: list of `sid.Burst` to train on.
      validation: list of `sid.Burst`, may be empty.
      folder: of the run.
    """

    stage: str
    camera: cameras.Camera
    bursts: list
    validation: list
    folder: pathlib.Path


def define(values, stage, *, epochs, patch, learning_rate, final_learning_rate):
    """Defines the flags that all three scripts have, with a stage's published defaults.

    Args:
      values: `flags.FlagValues` of the script.
      stage: "coarse", "fine" or "burst".
      epochs, patch, learning_rate, final_learning_rate: the stage's defaults.
    """
    add = functools.partial(cli.define, values)
    text, whole, number = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float
    choice, switch = flags.DEFINE_enum, flags.DEFINE_bool
    add(choice, "camera", "sony", "Camera of the raw files.", enum_values=list(cameras.CAMERAS))
    add(text, "short_dir", None, "Folder of the dark bursts, IIIII_NN_Ts.ARW or .RAF.")
    add(text, "long_dir", None, "Folder of the long exposures, the truth.")
    add(
        text,
        "cache_dir",
        "cache",
        "Folder for the decoded raw files: 24 MB a Sony frame, 73 MB a truth. Any run may "
        "use it; it may be deleted at any time.",
    )
    add(
        text,
        "checkpoint_dir",
        None,
        "Folder of this run; the same command again goes on in it. By default "
        f"checkpoints/<camera>_{stage}.",
    )
    add(
        whole,
        "patch",
        patch,
        "Side of the training patches in "
        + ("pixels of the half-size frames." if stage == "coarse" else "packed pixels, even."),
        lower_bound=2,
    )
    if stage != "fine":
        add(
            whole,
            "n_burst",
            8,
            "Frames of a burst at the most; every step draws 1 to so many.",
            lower_bound=1,
        )
        add(
            whole,
            "shift",
            None,
            "Every frame but the first is moved by up to so many pixels, to teach robustness to "
            "small motion. By default "
            + ("0." if stage == "coarse" else "as published, sony 4, fuji 0."),
            lower_bound=0,
        )
    add(
        number,
        "texture",
        0.0,
        "How often, 0 to 1, a patch is the most detailed of eight random ones instead of just "
        "any (published 0): helps where training time is short, as flat patches teach little.",
        lower_bound=0,
        upper_bound=1,
    )
    add(whole, "epochs", epochs, "Epochs in all; may be raised to go on.", lower_bound=1)
    add(
        whole,
        "steps_per_epoch",
        0,
        "Updates of the weights in an epoch; 0: as many as show every training scene once.",
        lower_bound=0,
    )
    add(
        whole,
        "bursts_per_step",
        1,
        "Bursts that a device takes together for one update (published 1): more make steadier "
        "steps where the learning rate is high, keep a GPU busier with small patches, and take "
        "more memory.",
        lower_bound=1,
    )
    add(number, "learning_rate", learning_rate, "Of Adam, at first.", lower_bound=0)
    add(
        number,
        "final_learning_rate",
        final_learning_rate,
        "After the drop, or at the end of the cosine."
        + (
            " The published burst stage ran at its low rate throughout." if stage == "burst" else ""
        ),
        lower_bound=0,
    )
    add(
        choice,
        "schedule",
        "step",
        "How the rate falls: step (published) drops once; cosine falls smoothly, which ends "
        "better where training is short.",
        enum_values=["step", "cosine"],
    )
    add(
        number,
        "drop_at",
        0.5,
        "Fraction of all epochs after which --schedule step drops the rate.",
        lower_bound=0,
        upper_bound=1,
    )
    add(
        whole,
        "warmup_steps",
        0,
        "Steps over which the rate rises from 0 (published 0): lets a high rate start safely.",
        lower_bound=0,
    )
    add(
        number,
        "clip_norm",
        0.0,
        "Largest norm of all gradients together, 0 for no limit (published): keeps one odd burst "
        "from undoing the work of many.",
        lower_bound=0,
    )
    add(
        whole,
        "seed",
        0,
        "Every random choice follows from it and the step.",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    add(
        switch,
        "deterministic",
        False,
        "Use TensorFlow's deterministic operations, so that two runs end with equal weights; "
        "slower on a GPU.",
    )
    add(
        choice,
        "precision",
        "float32",
        "What the networks compute in; weights and losses are float32 in any case, and "
        "mixed_float16 scales the loss. The mixed ones are for GPUs: on a processor without "
        "bfloat16 instructions the gradients of convolutions take ten times as long.",
        enum_values=["float32", "mixed_bfloat16", "mixed_float16"],
    )
    add(
        choice,
        "strategy",
        "none",
        "none: one device; mirrored: all GPUs of this machine; multi_worker: all machines that "
        "TF_CONFIG lists, with one --checkpoint_dir that all of them see. Each device takes a "
        "burst of its own.",
        enum_values=["none", "mirrored", "multi_worker"],
    )
    for name, what in (
        ("save_every", "state and weights are saved"),
        ("pictures_every", "input, output and truth of a patch are drawn"),
        ("validate_every", "PSNR and SSIM of the validation split are taken"),
    ):
        ending = "the end is always saved" if name == "save_every" else "0: never"
        add(whole, name, 50, f"Epochs after which {what}; {ending}.", lower_bound=0)
    add(
        whole,
        "validation_limit",
        None,
        "Only the first so many bursts of the validation split.",
        lower_bound=1,
    )
    add(whole, "keep", 2, "Saved states to keep, each three times the weights.", lower_bound=1)
    add(
        number,
        "max_hours",
        0.0,
        "Stop after so many hours, saved; the same command goes on. 0: no limit.",
        lower_bound=0,
    )
    flags.mark_flags_as_required(["short_dir", "long_dir"], values)
    for name in ("short_dir", "long_dir"):
        flags.register_validator(
            name,
            lambda path: path is None or pathlib.Path(path).is_dir(),
            "there is no such folder",
            flag_values=values,
        )


def define_network(values, *names):
    """Defines flags of the networks: those of "width", "residual_blocks", ... that are named."""

    def add(kind, name, default, text, **limits):
        if name in names:
            cli.define(values, kind, name, default, text, **limits)

    add(
        flags.DEFINE_integer,
        "width",
        None,
        "Channels of the first level; by default 32, or that of the weights to start from.",
        lower_bound=1,
    )
    add(
        flags.DEFINE_enum,
        "fusion",
        None,
        "What the fine network keeps of a burst's finest level: reference, that of one frame (the "
        "revised version, robust to motion), or max, the maximum over all frames (the first "
        "version, without residual blocks; more is gained from frames that lie still). By default "
        "as the weights to start from, else reference.",
        enum_values=["reference", "max"],
    )
    add(
        flags.DEFINE_integer,
        "residual_blocks",
        None,
        "Residual blocks of the revised version's bottleneck; by default 16, or that of the "
        "weights to start from.",
        lower_bound=0,
    )
    add(
        flags.DEFINE_bool,
        "noise_map",
        None,
        "Whether the fine network sees frame minus coarse output, too. By default as the weights "
        "to start from, else true: so has it the published evaluation and the final model, though "
        "the published training script leaves it out.",
    )
    add(
        flags.DEFINE_enum,
        "initial_weights",
        "published",
        "Of networks that start from nothing: published (Glorot, small up-convolutions), or he, "
        "with which narrow networks get going at once.",
        enum_values=["published", "he"],
    )
    add(
        flags.DEFINE_enum,
        "reference_frame",
        "center",
        "Frame whose finest detail is kept: the middle one (published) or the first, the only one "
        "that --shift never moves against the truth.",
        enum_values=["first", "center"],
    )


def define_loss(values):
    """Defines the flags of the losses on pictures."""
    add = functools.partial(cli.define, values)
    add(
        flags.DEFINE_enum,
        "loss",
        None,
        "l1, or what is added to it. By default contextual, as published; for Fuji's fine stage "
        "l1, as its released weights.",
        enum_values=["l1", "contextual", "perceptual"],
    )
    add(
        flags.DEFINE_float,
        "feature_weight",
        None,
        "Weight of what is added to L1; by default as published: contextual "
        + ", ".join(f"{c.name} {c.contextual_weight:g}" for c in cameras.CAMERAS.values())
        + f", perceptual {_PERCEPTUAL_WEIGHT:g}.",
        lower_bound=0,
    )
    add(
        flags.DEFINE_string,
        "vgg_weights",
        None,
        "VGG-19 for the contextual and perceptual loss: Keras' .h5 or MatConvNet's .mat. By "
        "default Keras downloads its own.",
    )


def open_job(values, stage):
    """Looks at flags, dataset and folder, without TensorFlow.

    Returns:
      `Job`.

    Raises:
      InputError: no training scene, something in the dataset is off, or flags do not go
        together.
    """
    camera = cameras.camera_named(values.camera)
    _check_use(values, stage, camera)
    n_burst = values["n_burst"].value if "n_burst" in values else 8
    bursts = sid.find_bursts(values.short_dir, values.long_dir, camera, "train", n_burst)
    validation = []
    if values.validate_every:
        start = sid.SPLITS["val"]
        if any(path.name.startswith(start) for path in pathlib.Path(values.short_dir).iterdir()):
            validation = sid.find_bursts(values.short_dir, values.long_dir, camera, "val", n_burst)
        if not validation:
            progress.say("There are no validation scenes (2xxxx): training goes without.")
    validation = validation[: values.validation_limit]
    sid.check_files(bursts + validation, camera)
    return Job(
        stage=stage,
        camera=camera,
        bursts=bursts,
        validation=validation,
        folder=pathlib.Path(
            values.checkpoint_dir or pathlib.Path("checkpoints") / f"{camera.name}_{stage}"
        ),
    )


def _check_use(values, stage, camera):
    # The fourth level of a network in training, an eighth of its frames, has to have two columns.
    # The coarse network sees half-size frames and is not trained in the burst stage.
    least = {"coarse": 9, "fine": 18, "burst": 10}[stage]
    if values.precision == "mixed_bfloat16" and values.patch < least:
        # oneDNN 3.7 (of TensorFlow 2.21) on processors with bfloat16 reads past such rows for the
        # gradient of the up-convolution's kernel and gives anything up to infinity.
        raise InputError(
            f"--patch {values.patch} leaves a single pixel a row in the fourth level, whose "
            f"gradients TensorFlow gets wrong on processors with bfloat16: give --patch {least} or "
            f"more, or another --precision"
        )
    if values["drop_at"].present and values.schedule == "cosine":
        raise InputError(
            "--drop_at is for --schedule step, but the schedule is cosine: leave one of them out"
        )
    if "loss" not in values or _loss(values, stage, camera) != "l1":
        return
    for name in ("feature_weight", "vgg_weights"):
        if values[name].value is not None:
            raise InputError(
                f"--{name} is for the contextual and the perceptual loss, but the loss is l1: "
                f"leave it out, or give --loss contextual or perceptual"
            )


def _loss(values, stage, camera):
    published = "l1" if (stage, camera.name) == ("fine", "fuji") else "contextual"
    return values.loss or published


def load_start(path, flag, camera, *, needs):
    """Loads weights to start from.

    Args:
      path: see `pretrained.load_pretrained`; None gives None.
      flag: the flag's name, for errors.
      camera: `cameras.Camera` they must fit.
      needs: "coarse" or "fine", the network that must be among them.

    Raises:
      InputError: nothing there, or of another camera or kind.
    """
    if not path:
        return None
    from dbp_tf.restore import pretrained

    start = pretrained.load_pretrained(path)
    spec = start.spec
    if needs not in start.models:
        raise InputError(
            f"--{flag}: {path} holds "
            + (
                "the SID baseline, which none of the three stages trains"
                if start.sid
                else "a coarse network alone: give the weights of a fine stage"
            )
        )
    if not spec.depth_to_space:
        raise InputError(
            f"--{flag}: {path} is of the video variant, whose pictures are smaller than the truth: "
            f"give weights that keep full resolution"
        )
    if spec.channels != camera.channels or (needs == "fine" and spec.scale != camera.scale):
        raise InputError(
            f"--{flag}: {path} holds networks for {spec.channels} packed channels, --camera "
            f"{camera.name} has {camera.channels}: give weights of that camera"
        )
    return start


def check_fusion(values, fusion):
    """Refuses flags of the revised version beside networks of the first one.

    Args:
      values: `flags.FlagValues`.
      fusion: of the networks, see `network_spec.NetworkSpec`.

    Raises:
      InputError: such a flag was given.
    """
    for name in ("residual_blocks", "reference_frame"):
        if fusion == "max" and name in values and values[name].present:
            raise InputError(
                f"--{name} is for the revised version, but these networks are of the first one "
                f"(fusion max), which has no such part: leave it out"
            )


def same_or(values, name, given, default):
    """A flag's value, which may not differ from what the weights to start from have.

    Args:
      values: `flags.FlagValues`.
      name: of the flag.
      given: what the weights have, None without any.
      default: without weights and flag.

    Raises:
      InputError: it differs.
    """
    wanted = values[name].value
    if given is None:
        return default if wanted is None else wanted
    if wanted not in (None, given):
        raise InputError(
            f"--{name} is {wanted}, but the weights to start from have {given}: leave the flag out"
        )
    return given


def start_tensorflow(values):
    """Imports TensorFlow as the flags want it and returns the strategy."""
    tf = cli.import_tensorflow()
    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    from dbp_tf.training import distribution

    return distribution.make_strategy(values.strategy)


def train(values, job, strategy, spec, start, **network):
    """Trains as the flags say.

    Args:
      values: `flags.FlagValues`.
      job: `Job`.
      strategy: see `start_tensorflow`.
      spec: `network_spec.NetworkSpec` of what is trained.
      start: `pretrained.Enhancer` to start from, or None.
      **network: `initial` and `reference_frame` of `loop.Networks`.

    Raises:
      InputError: see `loop.train`.
    """
    from dbp_tf.data import patches
    from dbp_tf.training import config, distribution, loop, run_folder, validation

    chief = distribution.is_chief(strategy)
    lock = run_folder.open_folder(job.folder) if chief else None
    recipe = _recipe(values, job)
    objective = _objective(values, job)
    scenes = len({burst.scene for burst in job.bursts})
    seen = recipe.bursts_per_step * strategy.num_replicas_in_sync
    plan = loop.Plan(
        epochs=values.epochs,
        steps_per_epoch=values.steps_per_epoch or -(-scenes // seen),
        save_every=values.save_every,
        pictures_every=values.pictures_every,
        validate_every=values.validate_every,
        keep=values.keep,
        max_hours=values.max_hours,
    )
    optimisation = config.Optimisation(
        learning_rate=values.learning_rate,
        final_learning_rate=values.final_learning_rate,
        schedule=values.schedule,
        drop_at=values.drop_at,
        warmup_steps=values.warmup_steps,
        clip_norm=values.clip_norm,
    )
    networks = loop.Networks(spec=spec, start=start, precision=values.precision, **network)
    fixed = {
        "stage": job.stage,
        **_named(values, dataclasses.asdict(optimisation)),
        **_named(values, {k: v for k, v in dataclasses.asdict(recipe).items() if k != "stage"}),
        **_named(values, {k: v for k, v in dataclasses.asdict(spec).items() if k != "family"}),
        **_named(values, {_FLAG_OF.get(k, k): v for k, v in network.items()}),
        **_named(values, {"loss": objective.feature_loss or "l1"}),
        **_named(values, {"feature_weight": objective.feature_weight}),
        "--steps_per_epoch": plan.steps_per_epoch,
        "--precision": values.precision,
        "--seed": values.seed,
        "--camera": job.camera.name,
        "the number of devices": strategy.num_replicas_in_sync,
        "the training bursts": _digest_of_names(job.bursts),
        "the weights it started from": _digest(start),
    }
    _check_stage(job.folder, job.stage)
    run_folder.check_settings(job.folder, fixed)
    if chief:  # Before hours of decoding.
        run_folder.check_space(job.folder, loop.count_parameters(spec), plan.keep)
    patches.check_patch(job.bursts[0].frames[0], recipe, job.camera)
    patches.prepare(job.bursts + job.validation, values.cache_dir, job.camera, job.stage)

    def dataset_of(**part):
        return patches.training_dataset(
            job.bursts, values.cache_dir, job.camera, recipe, values.seed, **part
        )

    def validate(enhancer):
        return validation.validate(
            enhancer, job.validation, values.cache_dir, job.camera, job.stage, recipe.n_burst
        )

    loop.train(
        job.folder,
        dataset_of,
        networks=networks,
        objective=objective,
        optimisation=optimisation,
        plan=plan,
        strategy=strategy,
        camera=job.camera,
        validate=validate if job.validation else None,
        settings={"flags": _flags_used(values), "fixed": fixed},
    )
    if lock:
        lock.close()


def _named(values, settings):
    """Settings under the names of their flags, or in words where this script has no such flag."""
    return {
        f"--{name}" if name in values else f"the {name.replace('_', ' ')}": value
        for name, value in settings.items()
    }


def _check_stage(folder, stage):
    """Refuses the folder of another stage, in which nearly every other setting differs as well."""
    from dbp_tf.training import run_folder

    try:
        before = json.loads((folder / run_folder.SETTINGS).read_text())["fixed"]["stage"]
    except (OSError, ValueError, KeyError, TypeError):
        # No run of another stage, or nothing that can be read: `run_folder` tells which.
        return
    if before != stage:
        raise InputError(
            f"--checkpoint_dir: {folder} is the folder of a {before} run, but train_{stage}.py "
            f"trains the {stage} stage: give another folder"
        )


def _recipe(values, job):
    from dbp_tf.data import patches

    published = patches.published_recipe(job.stage, job.camera)
    given = {
        name: values[name].value
        for name in ("patch", "n_burst", "shift", "texture", "bursts_per_step")
        if name in values and values[name].value is not None
    }
    return dataclasses.replace(published, **given)


def _objective(values, job):
    from dbp_tf.training import training_step

    if job.stage == "coarse":
        return training_step.Objective("coarse", seed=values.seed)
    loss = _loss(values, job.stage, job.camera)
    if loss == "l1":
        return training_step.Objective(job.stage, seed=values.seed)
    published = job.camera.contextual_weight if loss == "contextual" else _PERCEPTUAL_WEIGHT
    from dbp_tf.training import vgg

    return training_step.Objective(
        job.stage,
        feature_loss=loss,
        feature_weight=published if values.feature_weight is None else values.feature_weight,
        features=vgg.vgg_features(vgg.read_vgg_weights(values.vgg_weights)),
        seed=values.seed,
    )


def _flags_used(values):
    used = values.flag_values_dict()
    for name in _PATHS:
        if used.get(name):
            used[name] = str(pathlib.Path(used[name]).resolve())
    return used


def _digest_of_names(bursts):
    names = ";".join(f"{b.scene} {b.exposure:g} {len(b.frames)}" for b in bursts)
    return f"{len(bursts)} with checksum {zlib.crc32(names.encode()):08x}"


def _digest(start):
    if start is None:
        return "none"
    checksum = 0
    for model in start.models.values():
        for weight in model.get_weights():
            checksum = zlib.crc32(weight.tobytes(), checksum)
    return f"those with checksum {checksum:08x}"
