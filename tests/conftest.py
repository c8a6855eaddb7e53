"""Shared set-up: golden data, small datasets, tiny networks, and commands run in this process."""

import collections
import contextlib
import gc
import importlib.util
import os
import pathlib
import sys
import time

import numpy as np
import pytest

from dbp_tf import cli, environment, progress, simulate
from dbp_tf.raw import cameras

# Before any test imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parent.parent


# With two workers, the last file to begin should be a short one.
LONGEST_FILES = (
    "test_train_scripts.py",
    "test_training.py",
    "test_networks.py",
    "test_evaluation.py",
    "test_training_goldens.py",
    "test_streaming.py",
    "test_figures.py",
    "test_released.py",
    "test_alignment.py",
    "test_training_data.py",
    "test_losses.py",
    "test_small_weights.py",
    "test_calibrate.py",
)


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """No garbage is looked for in what modules hold, which takes seconds for TensorFlow's.

    Elsewhere it is looked for rarely: networks are built of many small objects.
    """
    gc.disable()
    try:
        with environment.without_extras_of_keras():
            return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000)
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def graphs_as_traced():
    """No rewriting of TensorFlow's graphs, which takes longer than the few times that they run.

    test_burst.py in a process of its own and training on two devices have theirs rewritten, as
    users do.
    """
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].config.optimizer.set_experimental_options(
            {"disable_meta_optimizer": True}
        )


@pytest.fixture(scope="session")
def data():
    """Folder of the golden results; its README says where they come from."""
    return ROOT / "tests" / "data"


@pytest.fixture(autouse=True)
def just_spoken(monkeypatch):
    """No line about ten seconds of silence, which a test may well have been running for."""
    monkeypatch.setattr(progress, "_last_line", time.monotonic())


@contextlib.contextmanager
def eager():
    """TensorFlow's functions without graphs, which take longer to build than a few steps do."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly():
    with eager():
        yield


@pytest.fixture(scope="session")
def script():
    """test_burst.py as a module, wherever pytest was started."""
    # As a module of this name pytest would take it for a file of tests.
    about = importlib.util.spec_from_file_location("test_burst_script", ROOT / "test_burst.py")
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vgg_weights():
    """The random weights of VGG-19 with which the golden losses and steps were computed."""
    from dbp_tf.training import vgg

    random = np.random.RandomState(19)
    weights = {}
    for name, (inputs, outputs) in vgg.CONVOLUTIONS.items():
        kernel = random.standard_normal((3, 3, inputs, outputs)) * np.sqrt(2 / (9 * inputs))
        bias = 0.01 * random.standard_normal((1, outputs))
        weights[name] = kernel.astype(np.float32), bias[0].astype(np.float32)
    return weights


def photo(rows, columns, seed=0):
    """[rows, columns, 3] smooth colours with edges, in 0..1."""
    y, x = np.mgrid[:rows, :columns]
    waves = [np.sin(x / (11 + k) + seed) * np.cos(y / (13 - k) - seed) for k in range(3)]
    picture = 0.5 + 0.4 * np.stack(waves, axis=-1)
    picture[rows // 4 : rows // 2, columns // 3 : columns // 2] = 0.9
    return picture.astype(np.float32)


def write_tree(folder, camera, scenes, size):
    """A dataset, short/ and long/: scenes are {number: (frames, ratio)}, size is that of `photo`.

    Returns the folder.
    """
    for number, (frames, ratio) in scenes.items():
        rng = np.random.default_rng(number)
        scene = simulate.simulate_scene(photo(*size, number), camera, rng, frames, ratio)
        simulate.write_scene(folder, number, scene, camera, ratio)
    return folder


def of_tree(tree):
    """The flags that name a dataset."""
    return f"--short_dir={tree / 'short'}", f"--long_dir={tree / 'long'}"


def write_checkpoint(folder, values):
    """Writes a TensorFlow 1 Saver checkpoint with these variables; returns its folder."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """{folder: model} of a tiny network for each camera, compiled once for all tests.

    Their pictures are neither black nor white.
    """
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.restore import pretrained

    models = {}
    for camera in cameras.CAMERAS.values():
        spec = NetworkSpec(channels=camera.channels, scale=camera.scale, width=2, residual_blocks=1)
        model = pretrained.untrained(spec)
        *_, kernel, bias = model.fine.weights
        kernel.assign(kernel * 8)
        bias.assign(np.linspace(0.3, 0.7, bias.shape[0]))
        folder = tmp_path_factory.mktemp("weights") / camera.name
        pretrained.save_pretrained(model, folder)
        models[folder] = model
    return models


@pytest.fixture(scope="session")
def weights(models):
    """{camera name: folder} of the tiny networks."""
    return {folder.name: folder for folder in models}


@pytest.fixture(scope="session")
def built():
    return collections.defaultdict(list)


@pytest.fixture
def built_once(built, monkeypatch):
    """Networks that one test has built serve the next: a second each time otherwise.

    They are handed out with new random weights, so that nothing is left of what a test loaded,
    and within a test each only once.
    """
    import keras

    from dbp_tf.models import networks

    build, random, taken = networks.build, np.random.default_rng(0), collections.Counter()

    def build_or_take(spec, dtype=None):
        key = spec, dtype or keras.config.dtype_policy().name
        if taken[key] == len(built[key]):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(networks, "build", build)  # It calls itself.
                built[key].append(build(spec, dtype))
        models = built[key][taken[key]]
        taken[key] += 1
        for model in models.values():
            for weight in model.weights:
                weight.assign(random.uniform(-0.1, 0.1, weight.shape))
        return models

    monkeypatch.setattr(networks, "build", build_or_take)


def runner(module, models, home, patch, **defaults):
    """A function that runs a command in this process: run("--flag=value", ...) -> exit code.

    Args:
      module: of the command, with `main` and `FLAGS`.
      models: {folder: model} of what need not be loaded again.
      home: the home folder: what lies in that of whoever runs the tests must not matter.
      patch: pytest's `MonkeyPatch`.
      **defaults: flags that are added unless they are given; a function gets the arguments.
    """
    from dbp_tf.restore import pretrained

    patch.setenv("HOME", str(home))
    load = pretrained.load_pretrained

    def load_or_take(path, precision="float32"):
        model = models.get(pathlib.Path(path)) if precision == "float32" else None
        return model or load(path, precision)

    patch.setattr(pretrained, "load_pretrained", load_or_take)

    def run(*arguments):
        given = {argument.partition("=")[0] for argument in arguments}
        extra = [
            f"--{flag}={value(arguments) if callable(value) else value}"
            for flag, value in defaults.items()
            if f"--{flag}" not in given
        ]
        # "--flag=" takes a default away.
        own = [argument for argument in arguments if argument[2:-1] not in defaults]
        return cli.run(module.main, module.FLAGS, ["command", *extra, *own])

    return run
