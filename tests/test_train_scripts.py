"""The three training scripts on a small simulated dataset: chained, killed, on two devices."""

import concurrent.futures
import csv
import dataclasses
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

import h5py
import imageio.v3 as iio
import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from absl import flags
from conftest import eager, write_checkpoint

import test_burst
import train_burst
import train_coarse
import train_fine
from dbp_tf import cli, simulate
from dbp_tf.errors import InputError
from dbp_tf.models import released
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw import cameras
from dbp_tf.restore import pretrained
from dbp_tf.training import program, training_step, vgg
from dbp_tf.training.config import Burst, Coarse, Fine

pytestmark = pytest.mark.usefixtures("built_once")

ROOT = pathlib.Path(__file__).parent.parent
EPOCHS, STEPS_PER_EPOCH = 10, 3
STEPS = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a dataset: three scenes to train and one to validate on."""
    home = tmp_path_factory.mktemp("training")
    for first, count in ((1, 3), (20000, 1)):
        list(
            simulate.simulate_tree(
                [simulate.SAMPLE],
                home / "data",
                cameras.SONY,
                first_scene=first,
                size=96,
                count=count,
                frames=3,
            )
        )
    return home


def flags_of(home, folder, text):
    return [
        f"--short_dir={home / 'data' / 'short'}",
        f"--long_dir={home / 'data' / 'long'}",
        f"--cache_dir={home / 'cache'}",
        *([] if "--checkpoint_dir" in text else [f"--checkpoint_dir={home / folder}"]),
        *text.split(),
    ]


def run(script, home, folder, text):
    return cli.run(script.main, script.FLAGS, [script.__name__, *flags_of(home, folder, text)])


@pytest.mark.parametrize("script", [train_coarse, train_fine, train_burst])
def test_the_script_itself(script):
    command = [sys.executable, script.__file__, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.__doc__.splitlines()[0] in done.stdout and "--checkpoint_dir" in done.stdout


def history(folder):
    with (folder / "history.csv").open() as file:
        return [*csv.DictReader(file)]


def weights_of(folder):
    """{published name: array} of a run's weights or of a released checkpoint.

    Without networks, which take longer to build than these runs take to train.
    """
    prefix = released.find_prefix(folder)
    if prefix:
        with released.open_checkpoint(prefix) as arrays:
            return {name: arrays.read(name) for name in arrays.shapes}
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name.rpartition("/")[2].replace(".", "/")] = item[:]

    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(keep)
    return found


def coarse(weights):
    return {name: array for name, array in weights.items() if "_fine" not in name}


def fine(weights):
    return {name: array for name, array in weights.items() if "_fine" in name}


def assert_same(some, others):
    assert some and some.keys() == others.keys()
    for name, array in some.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def spec_of(folder):
    return NetworkSpec(**json.loads((folder / "network.json").read_text())["network"])


# The two bursts of a step are those that two devices or workers see.
COARSE = (
    f"--width=4 --patch=16 --epochs={EPOCHS} --steps_per_epoch={STEPS_PER_EPOCH} "
    "--learning_rate=2e-3 --schedule=cosine --initial_weights=he --validate_every=0 "
    "--pictures_every=0 --deterministic "
)


ALONE = COARSE + "--bursts_per_step=2 "
OFTEN_SAVED = ALONE + "--save_every=2 "


def start(home, folder, text, name=None, **more):
    """A run in a process of its own, see `processes.start`; its stderr goes to a file."""
    return processes.start(flags_of(home, folder, text), home / f"{name or folder}.err", **more)


def run_straight(home):
    processes.finish(start(home, "coarse", ALONE))


def run_killed(home):
    """Stopped in the middle of an epoch, killed when work would be lost, then finished.

    Returns:
      The step saved by the stop; then exit code, step saved and last step in the history after
      the kill.
    """
    processes.finish(start(home, "killed", OFTEN_SAVED + "--max_hours=1e-9"))
    stopped = step_saved(home / "killed")
    kill = kill_with_work_to_lose(home)
    processes.finish(start(home, "killed", OFTEN_SAVED))
    return stopped, kill


def kill_with_work_to_lose(home):
    folder = home / "killed"
    before = step_saved(folder)
    process = start(home, "killed", OFTEN_SAVED)
    while process.is_alive():
        time.sleep(0.01)
        if not before < step_saved(folder) < last_step(folder):
            continue
        # The run must not save what is about to be lost while we look.
        os.kill(process.pid, signal.SIGSTOP)
        if step_saved(folder) < last_step(folder):
            process.kill()
            break
        os.kill(process.pid, signal.SIGCONT)
    process.join()
    return process.exitcode, step_saved(folder), last_step(folder)


def last_step(folder):
    try:
        return int(history(folder)[-1]["step"])
    except (FileNotFoundError, IndexError):
        return 0


def step_saved(folder):
    try:
        text = (folder / "state" / "checkpoint").read_text()
    except FileNotFoundError:
        return 0
    return int(text.split('"')[1].rpartition("-")[2])


def run_on_two_devices(home):
    """Returns what each device holds at the end. Its graphs are rewritten, as users have it."""
    weights = home / "mirrored.npz"
    more = {"devices": 2, "weights": weights, "rewritten": True}
    processes.finish(start(home, "mirrored", COARSE + "--strategy=mirrored", **more))
    return processes.held(weights)


@pytest.fixture(scope="module")
def background(home):
    """Runs in processes of their own, beside the tests."""
    pool = concurrent.futures.ThreadPoolExecutor()
    try:
        straight = pool.submit(run_straight, home)

        def after(run):
            straight.result()  # It fills the cache.
            return run(home)

        yield {
            "straight": straight,
            "killed": pool.submit(after, run_killed),
            "mirrored": pool.submit(after, run_on_two_devices),
        }
    finally:
        pool.shutdown(cancel_futures=True)


class TestMistakes:
    """Each is one sentence, exit code 2, and nothing is trained."""

    def refused(self, capsys, script, home, text):
        assert run(script, home, "refused", text) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert not (home / "refused" / "network.json").exists()
        return error

    def test_a_missing_vgg_file(self, home, capsys, data):
        text = f"--fine={data / 'sony_v1_d2'} --vgg_weights=missing.h5 --patch=32"
        error = self.refused(capsys, train_burst, home, text)
        assert "there is no VGG-19 file missing.h5" in error
        # Before hours of decoding.
        assert not any((home / "cache").glob("*developed*"))

    @pytest.mark.parametrize(
        "script, text, sentence",
        [
            (train_fine, "", "give --coarse, or --fine"),
            (train_fine, "--coarse={data}/missing", "there is no checkpoint"),
            (train_burst, "", "--fine"),
            (train_burst, "--fine={data}/sony_v1_d2 --width=3", "--width is 3, .* have 2"),
            (train_coarse, "--width=2 --patch=64 --epochs=1", "give --patch 24 or less"),
            (train_coarse, "--patch=0", "--patch"),
            (train_coarse, "--n_burst=0", "--n_burst"),
            (train_coarse, "--shift=-1", "--shift"),
            (train_coarse, "--bursts_per_step=0", "--bursts_per_step"),
            (train_coarse, "--texture=1.5", "--texture"),
            (train_coarse, "--augment=mirror", r"--augment.*published\|phase\|none"),
            (train_coarse, "--noise=some", r"--noise.*recorded\|drawn"),
            (train_coarse, "--precision=mixed_bfloat16 --patch=8", "give --patch 9 or more"),
            (
                train_burst,
                "--fine={data}/sony_v2_d2 --precision=mixed_bfloat16 --patch=8",
                "--patch 8 leaves a single pixel .* give --patch 10 or more",
            ),
            (
                train_fine,
                "--coarse={data}/sony_v2_d2 --precision=mixed_bfloat16 --patch=16",
                "--patch 16 leaves a single pixel .* give --patch 18 or more",
            ),
            (train_coarse, "--strategy=multi_worker", "TF_CONFIG, which is not set"),
            (train_coarse, "--checkpoint_dir={data}/README.md", "README.md is a file"),
            (
                train_coarse,
                "--camera=fuji",
                "has the mosaic bayer, but --camera fuji has xtrans",
            ),
            (train_coarse, "--schedule=cosine --drop_at=0.5", "--drop_at is for --schedule step"),
            (
                train_burst,
                "--fine={data}/sony_v2_d2 --loss=l1 --feature_weight=0",
                "--feature_weight is for the contextual and the perceptual loss",
            ),
            (
                train_burst,
                "--fine={data}/sony_v2_d2 --loss=l1 --vgg_weights=v.h5",
                "--vgg_weights is for .* but the loss is l1: leave it out, or give --loss",
            ),
            (
                train_fine,
                "--camera=fuji --coarse={data}/fuji_v2_d2 --feature_weight=1",
                "--feature_weight is for .* but the loss is l1",
            ),
        ],
    )
    def test_flags(self, home, capsys, data, monkeypatch, script, text, sentence):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        error = self.refused(capsys, script, home, text.format(data=data))
        assert re.search(sentence, error), error

    @pytest.mark.parametrize(
        "spec, networks, sentence",
        [
            (NetworkSpec(family="sid"), {"sid": 1}, "--fine: w holds the SID baseline"),
            (NetworkSpec(family="coarse"), {"coarse": 1}, "w holds a coarse network alone"),
            (
                NetworkSpec(channels=9, scale=3),
                {"fine": 1},
                "for 9 packed channels, --camera sony has 4",
            ),
            (NetworkSpec(depth_to_space=False, scale=1), {"fine": 1}, "of the video variant"),
        ],
    )
    def test_weights_to_start_from(self, monkeypatch, spec, networks, sentence):
        start = pretrained.Enhancer(spec, networks)
        monkeypatch.setattr(pretrained, "load_pretrained", lambda path: start)
        settings = Fine(fine="w", coarse="w")
        with pytest.raises(InputError, match=sentence):
            program.load_start(settings, "fine", cameras.SONY)
        if "coarse" in networks:
            assert program.load_start(settings, "coarse", cameras.SONY).models == {"coarse": 1}

    @pytest.mark.parametrize(
        "settings, start, sentence",
        [
            (
                Fine(fusion="max", residual_blocks=1),
                NetworkSpec(family="coarse", scale=1),
                "a network of fusion max has no residual_blocks",
            ),
            (
                Burst(reference_frame="first"),
                NetworkSpec(fusion="max"),
                "a network of fusion max has no reference_frame",
            ),
            (
                Fine(fusion="reference"),
                NetworkSpec(fusion="max"),
                "--fusion is reference, but the weights to start from have max",
            ),
        ],
    )
    def test_networks_that_cannot_be(self, settings, start, sentence):
        networks = {"coarse": 1} if start.family == "coarse" else {"coarse": 1, "fine": 1}
        with pytest.raises(InputError, match=sentence):
            program.networks_to_train(settings, pretrained.Enhancer(start, networks), cameras.SONY)


def settings_of(script, camera, text=""):
    """What the flags of a script amount to, without TensorFlow."""
    found = []
    text += " --fine=w" if script is train_burst else ""
    stage = script.__name__.removeprefix("train_")
    stage = {"coarse": Coarse, "fine": Fine, "burst": Burst}[stage]

    def keep():
        found.append(program.read_flags(script.FLAGS, stage))

    command = ["script", "--short_dir=.", "--long_dir=.", f"--camera={camera.name}", *text.split()]
    assert cli.run(keep, script.FLAGS, command) == 0
    return found[0]


RATES = {"learning_rate": 1e-4, "final_learning_rate": 1e-5, "drop_at": 0.5}
LOW = {"learning_rate": 1e-5, "final_learning_rate": 1e-5}
BURSTS = {"n_burst": 8, "shuffle": True}


@pytest.mark.parametrize(
    "script, camera, published",
    [
        (train_coarse, cameras.SONY, {"epochs": 4000, "patch": 256, "shift": 0, **RATES, **BURSTS}),
        (train_coarse, cameras.FUJI, {"epochs": 4000, "patch": 256, "shift": 0, **RATES, **BURSTS}),
        # Frame 00 of every burst.
        (train_fine, cameras.SONY, {"n_burst": 1, "shuffle": False, "shift": 0, **RATES}),
        (train_fine, cameras.FUJI, {"n_burst": 1, "shuffle": False, "shift": 0, **RATES}),
        (train_fine, cameras.SONY, {"epochs": 4000, "patch": 512, "loss": "contextual"}),
        (train_fine, cameras.FUJI, {"epochs": 4000, "patch": 512, "loss": "l1"}),
        (train_burst, cameras.SONY, {"epochs": 1000, "patch": 512, "shift": 4, **LOW, **BURSTS}),
        (
            train_burst,
            cameras.FUJI,
            {"epochs": 2301, "patch": 512, "shift": 0, "n_burst": 8, "shuffle": False}
            | RATES
            | {"drop_at": 301 / 2301},
        ),
        (train_burst, cameras.FUJI, {"loss": "contextual"}),
    ],
)
def test_defaults_are_the_published_recipe(script, camera, published):
    settings = settings_of(script, camera)
    published = {
        "schedule": "step",
        "bursts_per_step": 1,
        "clip_norm": 0,
        "texture": 0,
        "save_every": 50,
        "pictures_every": 50,
        "precision": "float32",
        "strategy": "none",
        **published,
    }
    assert {name: getattr(settings, name) for name in published} == published
    assert getattr(settings, "initial_weights", "published") == "published"


def test_the_rate_of_fujis_burst_stage_drops_after_301_epochs():
    settings = settings_of(train_burst, cameras.FUJI)
    for steps in (1, 161, 500):
        rate = training_step.LearningRate(settings, settings.epochs * steps)
        at = [float(rate(step)) for step in (0, 301 * steps - 1, 301 * steps, 2301 * steps - 1)]
        np.testing.assert_allclose(at, [1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-6)


def test_a_camera_changes_defaults_but_not_what_is_given():
    settings = settings_of(train_burst, cameras.FUJI, "--epochs=9 --shuffle --shift=4")
    assert (settings.epochs, settings.shuffle, settings.shift) == (9, True, 4)
    assert settings.learning_rate == 1e-4


@pytest.mark.parametrize(
    "script, text",
    [(train_coarse, ""), (train_fine, "--coarse=w"), (train_burst, "--fine=w")],
)
def test_default_networks_are_the_published_ones(home, monkeypatch, script, text):
    stage = script.__name__.removeprefix("train_")
    here = NetworkSpec(family="coarse", scale=1) if stage == "fine" else NetworkSpec()
    found = []
    dataset = program.Dataset(cameras.SONY, [], [])
    start = pretrained.Enhancer(
        here, {"coarse": 1, "fine": 1} if stage == "burst" else {"coarse": 1}
    )
    monkeypatch.setattr(program, "open_dataset", lambda _: dataset)
    monkeypatch.setattr(program, "start_tensorflow", lambda _: None)
    monkeypatch.setattr(program, "load_start", lambda *_, **__: text and start or None)
    monkeypatch.setattr(program, "train", lambda *given: found.append(given))
    assert run(script, home, "defaults", text) == 0
    ((settings, _, _, spec, _),) = found
    assert (spec.width, settings.width) == (32, 32)
    if stage == "fine":
        assert (spec.residual_blocks, spec.noise_map) == (16, True)
        assert (spec.fusion, spec.squeeze_excite) == ("reference", True)
    if stage == "burst":
        assert settings.reference_frame == "center"


REVISED = NetworkSpec()
FIRST_VERSION = NetworkSpec(fusion="max")
CONTEXTUAL, PERCEPTUAL, L1 = "--loss=contextual", "--loss=perceptual", "--loss=l1"


@pytest.mark.parametrize(
    "script, camera, spec, text, loss, weight, channels",
    [
        (train_coarse, cameras.SONY, REVISED, "", None, 0, None),
        (train_fine, cameras.SONY, REVISED, "", "contextual", 1, "rgb"),
        (train_fine, cameras.SONY, FIRST_VERSION, "", "contextual", 1, "bgr"),
        (train_fine, cameras.FUJI, REVISED, "", None, 0, None),
        (train_fine, cameras.FUJI, REVISED, CONTEXTUAL, "contextual", 0.1, "bgr"),
        (train_fine, cameras.SONY, REVISED, L1, None, 0, None),
        (train_burst, cameras.SONY, REVISED, "", "contextual", 1, "rgb"),
        (train_burst, cameras.SONY, FIRST_VERSION, "", "contextual", 1, "bgr"),
        (train_burst, cameras.FUJI, REVISED, "", "contextual", 0.1, "bgr"),
        (train_burst, cameras.SONY, REVISED, PERCEPTUAL, "perceptual", 0.1, "rgb"),
        (train_burst, cameras.FUJI, REVISED, PERCEPTUAL, "perceptual", 0.1, "bgr"),
        (train_burst, cameras.FUJI, REVISED, "--vgg_channels=rgb", "contextual", 0.1, "rgb"),
        (train_burst, cameras.SONY, REVISED, "--vgg_channels=bgr", "contextual", 1, "bgr"),
        (train_burst, cameras.SONY, REVISED, "--feature_weight=0.25", "contextual", 0.25, "rgb"),
        (train_burst, cameras.SONY, REVISED, "--feature_weight=0", "contextual", 0, "rgb"),
    ],
)
def test_the_loss_of_a_stage(monkeypatch, script, camera, spec, text, loss, weight, channels):
    monkeypatch.setattr(vgg, "read_vgg_weights", lambda path: f"weights of {path}")
    monkeypatch.setattr(vgg, "vgg_features", lambda weights, order: f"{order} of {weights}")
    text += " --seed=5" + (" --vgg_weights=v.h5" if loss else "")
    settings, objective = program.with_objective(settings_of(script, camera, text), spec, camera)
    features = loss and f"{channels} of weights of v.h5"
    assert objective == training_step.Objective(settings.stage, loss, weight, features, 5)
    assert getattr(settings, "vgg_channels", None) == channels


NUMBERS = [
    (script, name)
    for script in (train_coarse, train_fine, train_burst)
    for name in script.FLAGS
    if isinstance(script.FLAGS[name].parser, flags.FloatParser)
]


@pytest.mark.parametrize("script, name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_every_number_is_finite(home, capsys, script, name, value):
    text = f"--{name}={value}" + (" --fine=w" if script is train_burst else "")
    assert cli.run(lambda: None, script.FLAGS, ["script", *flags_of(home, "number", text)]) == 2
    error = capsys.readouterr().err
    # Of what has an upper bound, inf is past it.
    limit = "is not a number in the range" if script.FLAGS[name].parser.upper_bound else None
    reason = limit if limit and value == "inf" else "give a finite number"
    assert f"--{name}={value}: " in error and reason in error, error


def test_numbers_are_looked_at():
    assert {name for _, name in NUMBERS} >= {"feature_weight", "learning_rate", "max_hours"}


@pytest.fixture(scope="module")
def chain(background, home):
    """The three scripts in turn; each starts from what the one before left."""
    background["straight"].result()
    common = "--loss=l1 --patch=32 --schedule=cosine --clip_norm=1 "
    text = (
        f"--coarse={home / 'coarse'} --residual_blocks=1 --initial_weights=he --epochs=20 "
        "--learning_rate=1e-2 --warmup_steps=10 --pictures_every=0 --validate_every=0"
    )
    assert run(train_fine, home, "fine", common + text) == 0
    text = (
        f"--fine={home / 'fine'} --epochs=1 --learning_rate=1e-3 --validate_every=1 "
        "--pictures_every=1 --texture=0.5 --seed=2"  # The picture shows detail.
    )
    with eager():
        assert run(train_burst, home, "burst", common + text) == 0
    return home


@pytest.mark.parametrize("stage, least", [("coarse", 0.95), ("fine", 0.75)])
def test_the_loss_falls(chain, stage, least):
    losses = np.array([float(row["loss"]) for row in history(chain / stage)])
    some = min(5, len(losses) // 4)
    assert losses[-some:].mean() < least * losses[:some].mean()


def test_the_burst_stage_keeps_the_coarse_network_to_the_bit(chain):
    first, second, third = (weights_of(chain / stage) for stage in ("coarse", "fine", "burst"))
    assert_same(coarse(second), coarse(third))
    assert np.mean([np.any(a != third[name]) for name, a in fine(second).items()]) > 0.9
    assert first.keys() == coarse(second).keys()
    assert any(np.any(a != second[name]) for name, a in first.items())


def test_the_last_folder_restores_bursts_and_scores_as_validation_said(chain, tmp_path):
    command = [
        "test_burst",
        f"--short_dir={chain / 'data' / 'short'}",
        f"--long_dir={chain / 'data' / 'long'}",
        "--split=val",
        f"--checkpoint={chain / 'burst'}",
        f"--result_dir={tmp_path / 'results'}",
    ]
    assert cli.run(test_burst.main, test_burst.FLAGS, command) == 0
    with (tmp_path / "results" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["scene"], row["frames"]) == ("20000", "3")
    # Some dozens of steps make no photographer, but grey would score 10 dB.
    assert float(row["psnr"]) > 12
    last = history(chain / "burst")[-1]
    for name in ("psnr", "ssim_range2", "ssim_range1"):
        assert float(last[f"val_{name}"]) == pytest.approx(float(row[name]), rel=1e-4)
    assert_same(weights_of(chain / "burst" / "best"), weights_of(chain / "burst"))


def test_sample_pictures_show_input_output_and_truth(chain):
    (path,) = (chain / "burst" / "pictures").iterdir()
    picture = iio.imread(path)
    assert picture.shape == (64, 3 * 64, 3)
    blocks = picture.astype(float).reshape(8, 8, 3, 8, 8, 3).mean((1, 4, 5))
    dark, output, truth = (blocks[:, i].ravel() for i in range(3))
    # The same patch of the same scene.
    assert np.corrcoef(dark, truth)[0, 1] > 0.7
    assert np.corrcoef(output, truth)[0, 1] > 0.7


@pytest.fixture
def idle(monkeypatch):
    """Steps change nothing, so that weights come out of training as they went in."""
    monkeypatch.setattr(training_step, "make_step", lambda *_: lambda batch: tf.zeros(5))


@pytest.mark.usefixtures("idle")
def test_released_weights_to_start_from_and_stopping_in_time(chain, data, capsys):
    text = (
        f"--coarse={data / 'sony_v1_d2'} --patch=16 --epochs=2 --steps_per_epoch=2 "
        "--validate_every=0 --max_hours=1e-9"
    )
    assert run(train_coarse, chain, "released", text) == 0
    assert "at step 1 of 4; the same command goes on" in capsys.readouterr().out
    assert_same(weights_of(chain / "released"), coarse(weights_of(data / "sony_v1_d2")))
    assert step_saved(chain / "released") == 1


def test_other_flags_in_the_same_folder_are_refused(chain, capsys):
    text = COARSE.replace("--deterministic", "--bursts_per_step=2")
    assert run(train_coarse, chain, "coarse", text.replace("--patch=16", "--patch=18")) == 2
    assert "was trained with --patch 16, not 18: give the same flags" in capsys.readouterr().err
    assert run(train_coarse, chain, "coarse", text + "--seed=1") == 2
    assert "was trained with --seed 0, not 1" in capsys.readouterr().err


def test_a_run_goes_on_with_the_same_vgg_only(chain, monkeypatch, capsys):
    features = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    loss_of = program.with_objective

    def with_features(*args):
        settings, objective = loss_of(*args)
        return settings, dataclasses.replace(objective, features=features)

    monkeypatch.setattr(program, "with_objective", with_features)
    text = COARSE.replace("--deterministic", "--bursts_per_step=2")
    assert run(train_coarse, chain, "coarse", text) == 2
    said = "was trained with VGG-19 weights none, not those with checksum "
    assert said in capsys.readouterr().err


def test_the_folder_of_another_stage_is_refused(chain, data, capsys):
    text = f"--fine={data / 'sony_v1_d2'} --loss=l1 --patch=32"
    assert run(train_burst, chain, "coarse", text) == 2
    error = capsys.readouterr().err
    assert "is the folder of a coarse run, but train_burst.py trains the burst stage" in error


def test_settings_hold_every_parameter_as_it_took_effect(chain):
    settings = json.loads((chain / "burst" / "settings.json").read_text())
    parameters = settings["parameters"]
    assert parameters.keys() == {field.name for field in dataclasses.fields(Burst)}
    assert (parameters["patch"], parameters["width"], parameters["residual_blocks"]) == (32, 4, 1)
    assert (parameters["steps_per_epoch"], parameters["reference_frame"]) == (3, "center")
    assert parameters["fine"] == str(chain / "fine")
    assert settings["network"]["width"] == 4 and "tensorflow" in settings["versions"]


def one_step(script, home, folder, text):
    common = "--loss=l1 --patch=32 --epochs=1 --steps_per_epoch=1 --validate_every=0 "
    rate = "--pictures_every=0 --learning_rate=1e-4 --final_learning_rate=1e-4 "
    assert run(script, home, folder, common + rate + text) == 0
    return weights_of(home / folder)


def assert_one_step_away(before, after):
    """Adam's first step moves every weight by the learning rate at the most."""
    assert before.keys() == after.keys()
    moves = [np.abs(array - before[name]).max() for name, array in after.items()]
    assert max(moves) < 1.01e-4
    assert np.mean([move > 1e-6 for move in moves]) > 0.5


@pytest.fixture(scope="module")
def revised(data, tmp_path_factory):
    """A released checkpoint of the revised version, with one residual block instead of sixteen."""
    weights = weights_of(data / "sony_v2_d2")
    for name in list(weights):
        block = re.match(r"g_res(\d+)_conv|g_conv_fine_(\d+)_se", name)
        if block and int(block[1] or block[2]) > 1 or name.startswith("g_res1_"):
            del weights[name]
    return write_checkpoint(tmp_path_factory.mktemp("revised"), weights)


@pytest.mark.usefixtures("eagerly")
def test_one_step_of_the_fine_stage_from_released_weights(chain, revised):
    after = one_step(train_fine, chain, "fine_step", f"--coarse={revised} --residual_blocks=1")
    assert_one_step_away(coarse(weights_of(revised)), coarse(after))
    assert spec_of(chain / "fine_step") == NetworkSpec(width=2, residual_blocks=1)


@pytest.mark.usefixtures("idle")
def test_the_fine_stage_of_the_first_version(chain, data):
    after = one_step(train_fine, chain, "fine_max", f"--coarse={data / 'sony_v1_d2'} --fusion=max")
    assert spec_of(chain / "fine_max") == NetworkSpec(width=2, fusion="max")
    published = weights_of(data / "sony_v1_d2")
    assert {n: a.shape for n, a in after.items()} == {n: a.shape for n, a in published.items()}
    assert_same(coarse(published), coarse(after))


@pytest.mark.usefixtures("eagerly")
def test_one_step_of_the_burst_stage_of_the_first_version(chain, data):
    before = weights_of(data / "sony_v1_d2")
    after = one_step(train_burst, chain, "first_step", f"--fine={data / 'sony_v1_d2'}")
    assert_same(coarse(before), coarse(after))
    assert_one_step_away(fine(before), fine(after))
    assert spec_of(chain / "first_step") == NetworkSpec(width=2, fusion="max")


@pytest.mark.usefixtures("idle")
def test_the_burst_stage_from_released_weights(chain, revised):
    after = one_step(train_burst, chain, "revised_step", f"--fine={revised}")
    assert_same(weights_of(revised), after)
    spec = NetworkSpec(width=2, residual_blocks=1, reference_frame="center")
    assert spec_of(chain / "revised_step") == spec


def state_of(folder):
    reader = tf.train.load_checkpoint(str(folder / "state"))
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE")]
    return {n: reader.get_tensor(n) for n in names if not n.startswith("save_counter")}


def test_stopped_and_killed_a_run_ends_as_if_nothing_had_been(background, home):
    background["straight"].result()
    stopped, (code, saved, written) = background["killed"].result()
    assert stopped == 1  # Of three steps: the sums of the epoch's losses went on, too.
    assert code == -signal.SIGKILL and stopped < saved < written <= STEPS
    assert len(history(home / "coarse")) == EPOCHS
    straight, killed = state_of(home / "coarse"), state_of(home / "killed")
    assert len(straight) > 100 and straight.keys() == killed.keys()
    for name, values in straight.items():
        np.testing.assert_array_equal(values, killed[name], err_msg=name)
    for a, b in zip(history(home / "coarse"), history(home / "killed"), strict=True):
        assert a | {"seconds": ""} == b | {"seconds": ""}
    assert (home / "coarse" / "model.weights.h5").is_file()
    assert_same(weights_of(home / "coarse"), weights_of(home / "killed"))


def assert_as_one_process(home, folder, held):
    """All hold the same, which is what a single process with all their bursts ends with."""
    for other in held[1:]:
        assert_same(held[0], other)
    assert_same(held[0], weights_of(home / folder))
    alone = weights_of(home / "coarse")
    assert sum(array.size for array in alone.values()) > 1000
    for name, expected in alone.items():
        np.testing.assert_allclose(held[0][name], expected, atol=1e-5, err_msg=name)


def test_two_devices_end_alike_and_as_one_with_their_bursts(background, home):
    background["straight"].result()
    assert_as_one_process(home, "mirrored", background["mirrored"].result())


@pytest.mark.slow
def test_two_workers_end_alike_and_as_one_with_their_bursts(background, home):
    background["straight"].result()
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two)]
    cluster = {"cluster": {"worker": hosts}}
    runs = [
        start(
            home,
            "workers",
            COARSE + "--strategy=multi_worker",
            f"worker{index}",
            weights=home / f"worker{index}.npz",
            rewritten=True,
            TF_CONFIG=json.dumps(cluster | {"task": {"type": "worker", "index": index}}),
        )
        for index in (0, 1)
    ]
    for each in runs:
        processes.finish(each)
    held = [processes.held(home / f"worker{index}.npz") for index in (0, 1)]
    assert_as_one_process(home, "workers", [weights for (weights,) in held])


@pytest.mark.slow
def test_killed_again_and_again(background, home):
    """Kills at random moments of starting, computing and saving, until a run gets through."""
    background["straight"].result()
    rng = random.Random(7)
    kills = 0
    while step_saved(home / "often") < STEPS:
        process = start(home, "often", OFTEN_SAVED)
        process.join(rng.uniform(2, 10))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
    processes.finish(start(home, "often", OFTEN_SAVED))
    straight, often = state_of(home / "coarse"), state_of(home / "often")
    for name, values in straight.items():
        np.testing.assert_array_equal(values, often[name], err_msg=f"{name} after {kills} kills")
