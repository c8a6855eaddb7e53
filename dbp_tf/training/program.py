"""The way from flags to a run, which the three training programs share."""

import contextlib
import dataclasses
import pathlib
import zlib
from typing import TYPE_CHECKING, TypeVar

from absl import flags

from dbp_tf import config, environment, progress
from dbp_tf.data import checks, sid
from dbp_tf.errors import InputError
from dbp_tf.models.fusions import FUSIONS
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.parameters import parameters
from dbp_tf.raw import cameras, white_balance
from dbp_tf.training.config import PERCEPTUAL_WEIGHT, Burst, PictureLoss, Training

if TYPE_CHECKING:  # They take seconds to import, and flags are looked at before.
    import tensorflow as tf

    from dbp_tf.restore.enhancer import Enhancer
    from dbp_tf.training.training_step import Objective

Stage = TypeVar("Stage", bound=Training)

# Patches from which `--initial_weights develop` learns, in some seconds.
_DEVELOPED_PATCHES = 200


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The bursts of a run, as their file names tell them.

    Attributes:
      camera: `cameras.Camera`.
      bursts: list of `sid.Burst` to train on.
      validation: list of `sid.Burst`, may be empty.
    """

    camera: cameras.Camera
    bursts: list[sid.Burst]
    validation: list[sid.Burst]


def run(settings: Training, start_from: str) -> None:
    """Trains a stage from its parameters, or goes on with it.

    Args:
      settings: see `read_flags`.
      start_from: "coarse" or "fine", the parameter that names the weights to start from.

    Raises:
      InputError: see the steps.
    """
    dataset = open_dataset(settings)
    strategy = start_tensorflow(settings)
    start = load_start(settings, start_from, dataset.camera)
    settings, spec = networks_to_train(settings, start, dataset.camera)
    train(settings, dataset, strategy, spec, start)


def read_flags(values: flags.FlagValues, stage: type[Stage]) -> Stage:
    """The parameters of a stage from parsed flags.

    Args:
      values: `flags.FlagValues`, see `config.define_flags`.
      stage: class of `training.config`.

    Returns:
      An instance of the class.

    Raises:
      InputError: flags do not go together.
    """
    settings = config.from_flags(values, stage)
    # The fourth level of a network in training, an eighth of its frames, has to have two columns.
    # The coarse network sees half-size frames and is not trained in the burst stage.
    least = {"coarse": 9, "fine": 18, "burst": 10}[settings.stage]
    if settings.precision == "mixed_bfloat16" and settings.patch < least:
        # oneDNN 3.7 (of TensorFlow 2.21) on processors with bfloat16 reads past such rows for the
        # gradient of the up-convolution's kernel and gives anything up to infinity.
        raise InputError(
            f"--patch {settings.patch} leaves a single pixel a row in the fourth level, whose "
            f"gradients TensorFlow gets wrong on processors with bfloat16: give --patch {least} or "
            f"more, or another --precision"
        )
    if values["drop_at"].present and settings.schedule == "cosine":
        raise InputError(
            "--drop_at is for --schedule step, but the schedule is cosine: leave one of them out"
        )
    if getattr(settings, "loss", None) == "l1":
        for name in ("feature_weight", "vgg_weights", "vgg_channels"):
            if getattr(settings, name) is not None:
                raise InputError(
                    f"--{name} is for the contextual and the perceptual loss, but the loss is l1: "
                    f"leave it out, or give --loss contextual or perceptual"
                )
    return settings


def open_dataset(settings: Training) -> Dataset:
    """Looks at the dataset, without TensorFlow.

    Returns:
      `Dataset`.

    Raises:
      InputError: no training scene, or something in the dataset is off.
    """
    camera = settings.camera

    def bursts_of(split):
        folders = settings.short_dir, settings.long_dir
        return sid.find_bursts(*folders, camera, split, settings.n_burst)

    bursts, validation = bursts_of("train"), []
    if settings.validate_every:
        start = sid.SPLITS["val"]
        if any(path.name.startswith(start) for path in settings.short_dir.iterdir()):
            validation = bursts_of("val")[: settings.validation_limit]
        if not validation:
            progress.say("There are no validation scenes (2xxxx): training goes without.")
    checks.check_files(bursts + validation, camera)
    return Dataset(camera=camera, bursts=bursts, validation=validation)


def start_tensorflow(settings: Training) -> "tf.distribute.Strategy":
    """Imports TensorFlow as the parameters want it and returns the strategy."""
    tf = environment.import_tensorflow(all_gpus=settings.strategy != "none")
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    from dbp_tf.training import distribution

    return distribution.make_strategy(settings.strategy)


def load_start(settings: Training, flag: str, camera: cameras.Camera) -> "Enhancer | None":
    """Loads weights to start from.

    Args:
      settings: a stage of `training.config`.
      flag: "coarse" or "fine": the parameter that says where they are, and the network that must
        be among them.
      camera: that they must fit.

    Returns:
      The networks that are taken over; None where the parameter is None.

    Raises:
      InputError: nothing there, or of another camera or kind.
    """
    path = getattr(settings, flag)
    if path is None:
        return None
    from dbp_tf.restore import checkpoints, enhancer, pretrained

    start = pretrained.load_pretrained(path)
    spec = start.spec
    if flag not in start.models:
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
            f"--{flag}: {path} is of the video variant, whose pictures are smaller than the "
            f"ground truth: give weights that keep full resolution"
        )
    checkpoints.check_fits(spec, camera, f"--{flag}: {path} holds networks")
    if settings.stage == "fine" and flag == "coarse":  # The fine network starts from nothing.
        coarse = {"coarse": start.models["coarse"]}
        return enhancer.Enhancer(spec, coarse, white_balance=start.white_balance)
    return start


def networks_to_train(
    settings: Stage, start: "Enhancer | None", camera: cameras.Camera
) -> tuple[Stage, NetworkSpec]:
    """The networks of a stage: as its flags say, else as the weights to start from, else published.

    Args:
      settings: a stage of `training.config`.
      start: weights to start from, or None.
      camera: of the dataset.

    Returns:
      (settings with the parameters of the networks filled in, `NetworkSpec`).

    Raises:
      InputError: a flag says something else than the weights have, or the fusion has no such part.
    """
    names = ("width", "fusion", "noise_map", "residual_blocks")
    asked = {name: getattr(settings, name, None) for name in names}
    asked = {name: value for name, value in asked.items() if value is not None}
    coarse = settings.stage == "coarse"
    taken_over = bool(start and start.fine and not coarse)
    known = {}
    if start:
        known = {name: getattr(start.spec, name) for name in (names if taken_over else ["width"])}
    for name, value in asked.items():
        if value != known.get(name, value):
            raise InputError(
                f"--{name} is {value}, but the weights to start from have {known[name]}: leave the "
                f"flag out"
            )
    if start and taken_over:
        spec = start.spec
    else:
        family, scale = ("coarse", 1) if coarse else ("fine", camera.scale)
        spec = NetworkSpec(family, camera.channels, scale=scale, **known | asked)
    if isinstance(settings, Burst):
        reference_frame = settings.reference_frame or ("center" if spec.refers else None)
        spec = dataclasses.replace(spec, reference_frame=reference_frame)
    fields = {field.name for field in dataclasses.fields(settings)} & {*names, "reference_frame"}
    return dataclasses.replace(settings, **{name: getattr(spec, name) for name in fields}), spec


def train(
    settings: Training,
    dataset: Dataset,
    strategy: "tf.distribute.Strategy",
    spec: NetworkSpec,
    start: "Enhancer | None",
) -> None:
    """Trains a stage, or goes on with it.

    Args:
      settings: a stage of `training.config`; parameters that follow the weights are filled in.
      dataset: `Dataset`.
      strategy: see `start_tensorflow`.
      spec: `network_spec.NetworkSpec` of the networks to train.
      start: weights to start from, or None.

    Raises:
      InputError: see `loop.train`.
    """
    from dbp_tf.data.dataset import training_dataset
    from dbp_tf.data.patches import check_patch
    from dbp_tf.data.sources import prepare
    from dbp_tf.evaluation import protocol
    from dbp_tf.restore import enhancer
    from dbp_tf.training import distribution, loop, run_folder, validation

    camera, chief = dataset.camera, distribution.is_chief(strategy)
    folder = settings.checkpoint_dir or pathlib.Path(
        "checkpoints", f"{camera.name}_{settings.stage}"
    )
    settings = _with_white_balance(settings, start, camera)
    settings = _with_steps(settings, dataset.bursts, strategy)
    with run_folder.locked(folder) if chief else contextlib.nullcontext():
        settings, objective = with_objective(settings, spec, camera)
        facts = {
            "number_of_devices": strategy.num_replicas_in_sync,
            "training_bursts": _digest_of_names(dataset.bursts),
            "weights_it_started_from": _digest(start.models.values() if start else ()),
            "VGG-19_weights": _digest([objective.features] if objective.features else ()),
        }
        before = run_folder.Settings(folder)
        scheduled_epochs = _check_goes_on(before, settings, spec, facts)
        # Before hours of decoding.
        if chief:
            models = enhancer.empty(spec).models.values()
            count = sum(model.count_params() for model in models)
            run_folder.check_space(folder, count, settings.keep)
        check_patch(dataset.bursts[0].frames[0], settings, camera)
        every = prepare(
            dataset.bursts + dataset.validation, settings.cache_dir, camera, settings.stage
        )
        sources, held_out = every[: len(dataset.bursts)], every[len(dataset.bursts) :]
        if getattr(settings, "initial_weights", None) == "develop" and start and not start.fine:
            start = _developing(settings, spec, start, sources)
        if chief:
            before.write(
                parameters=config.as_json(settings),
                run={**facts, "scheduled_epochs": scheduled_epochs},
                network=dataclasses.asdict(spec),
                versions=protocol.versions(),
            )

        def dataset_of(**part):
            return training_dataset(sources, camera, settings, settings.seed, **part)

        def validate(enhancer):
            return validation.validate(enhancer, held_out, camera, settings)

        loop.train(
            settings,
            folder,
            spec=spec,
            start=start,
            objective=objective,
            dataset_of=dataset_of,
            camera=camera,
            strategy=strategy,
            scheduled_epochs=scheduled_epochs,
            validate=validate if held_out else None,
        )


def _with_steps(settings, bursts, strategy):
    """Settings that say the steps of an epoch: by default so many as show every scene once."""
    scenes = len({burst.scene for burst in bursts})
    bursts_per_update = settings.bursts_per_step * strategy.num_replicas_in_sync
    steps = settings.steps_per_epoch or -(-scenes // bursts_per_update)
    return dataclasses.replace(settings, steps_per_epoch=steps)


def _check_goes_on(before, settings, spec, facts):
    """Checks that a run that was begun may go on; returns the epochs of its learning rate."""
    may_change = {name for name, about in parameters(type(settings)).items() if about["may_change"]}
    kept = {k: v for k, v in config.as_json(settings).items() if k not in may_change}
    before.check(dataclasses.asdict(spec) | kept | facts, config.defaults(type(settings)))
    scheduled_epochs = before.scheduled_epochs(settings.epochs)
    if scheduled_epochs != settings.epochs:
        progress.say(
            f"The learning rate falls over the {scheduled_epochs} epochs that this run began "
            f"with; to have it fall anew, start another folder from these weights."
        )
    return scheduled_epochs


def _with_white_balance(settings, start, camera):
    """Settings that say the white balance to which frames are scaled, and a line for the log."""
    asked, given = settings.white_balance, start and start.white_balance
    trained = given if asked is None else white_balance.trained_for(asked, camera)
    if given and trained != given:
        raise InputError(
            f"--white_balance is {asked}, but the weights to start from were trained for "
            f"{_numbers(given)}: leave the flag out"
        )
    if trained:
        progress.say(white_balance.describe(trained))
    return dataclasses.replace(settings, white_balance=_numbers(trained) if trained else "none")


def _developing(settings, spec, start, sources):
    """Start weights with a fine network that develops clean patches of the training scenes."""
    from dbp_tf.data import patches
    from dbp_tf.models import initial_weights
    from dbp_tf.restore.enhancer import Enhancer
    from dbp_tf.training import training_step

    models = training_step.build_models(spec, initial="develop", seed=settings.seed)
    clean = patches.clean_patches(sources, settings, settings.seed, _DEVELOPED_PATCHES)
    initial_weights.develop_weights(models["fine"], clean, settings.seed)
    models["coarse"].set_weights(start.coarse.get_weights())
    return Enhancer(spec, models, white_balance=start.white_balance)


def _numbers(multipliers):
    return ",".join(map(str, multipliers))


def with_objective(
    settings: Training, spec: NetworkSpec, camera: cameras.Camera
) -> "tuple[Training, Objective]":
    """The loss of a stage.

    Args:
      settings: a stage of `training.config`.
      spec: `network_spec.NetworkSpec` of the networks to train.
      camera: `cameras.Camera`.

    Returns:
      (settings with the parameters of the loss filled in, `training_step.Objective`).

    Raises:
      InputError: no VGG-19 where it is needed.
    """
    from dbp_tf.training import training_step, vgg

    objective = training_step.Objective(settings.stage, seed=settings.seed)
    if not isinstance(settings, PictureLoss) or settings.loss == "l1":
        return settings, objective
    published = camera.contextual_weight if settings.loss == "contextual" else PERCEPTUAL_WEIGHT
    weight = published if settings.feature_weight is None else settings.feature_weight
    # The published scripts of Fuji give VGG-19 blue, green, red.
    published_channels = "bgr" if camera.mosaic == "xtrans" else FUSIONS[spec.fusion].vgg_channels
    channels = settings.vgg_channels or published_channels
    features = vgg.vgg_features(vgg.read_vgg_weights(settings.vgg_weights), channels)
    return (
        dataclasses.replace(settings, feature_weight=weight, vgg_channels=channels),
        dataclasses.replace(
            objective, feature_loss=settings.loss, feature_weight=weight, features=features
        ),
    )


def _digest_of_names(bursts):
    names = ";".join(f"{b.scene} {b.exposure:g} {len(b.frames)}" for b in bursts)
    return f"{len(bursts)} with checksum {zlib.crc32(names.encode()):08x}"


def _digest(networks):
    """A text that differs where the weights of some networks differ."""
    checksum, weights = 0, [weight for one in networks for weight in one.get_weights()]
    for weight in weights:
        checksum = zlib.crc32(weight.tobytes(), checksum)
    return f"those with checksum {checksum:08x}" if weights else "none"
