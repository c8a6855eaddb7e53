"""train_coarse.py in processes of its own that begin as copies of one that has TensorFlow.

Importing it anew in each would take longer than all the rest of the tests' short runs.
"""

import contextlib
import multiprocessing
import os
import sys

import numpy as np

import train_coarse
from dbp_tf import cli, environment

# As the program imports it.
with environment.without_extras_of_keras():
    import tensorflow as tf

    from dbp_tf.models import released
    from dbp_tf.training import distribution, loop, run_folder  # noqa: F401

_CONTEXT = multiprocessing.get_context("forkserver")
# Found where pytest was started in the folder of the project; elsewhere each imports TensorFlow.
_CONTEXT.set_forkserver_preload(["tests.processes"])


def start(arguments, errors, *, weights=None, devices=1, rewritten=False, **environment):
    """Starts a run.

    Args:
      arguments: flags of train_coarse.py.
      errors: path of a file for its stderr.
      weights: path of an .npz file for what each device of this process holds at the end, see
        `held`.
      devices: processors that the CPU is divided into; several mirror each other.
      rewritten: whether TensorFlow rewrites its graphs, as it does for users.
      **environment: variables besides those of the tests.

    Returns:
      `multiprocessing.Process`; its exitcode is that of the script.
    """
    process = _CONTEXT.Process(
        target=_train,
        args=(arguments, errors, weights, devices, rewritten, environment),
        name=str(errors),
    )
    process.start()
    return process


def finish(process):
    """Waits for the end of a run, which must be a good one."""
    process.join(600)
    with contextlib.closing(process), open(process.name) as errors:
        assert process.exitcode == 0, errors.read()


def held(path):
    """The weights that `start` wrote: {published name: array} of each device."""
    with np.load(path) as arrays:
        (devices,) = {len(arrays[name]) for name in arrays}
        return [{name: arrays[name][device] for name in arrays} for device in range(devices)]


def _train(arguments, errors, weights, devices, rewritten, environment):
    for path, stream in ((os.devnull, 1), (errors, 2)):
        with open(path, "w") as file:
            os.dup2(file.fileno(), stream)
    # Several run at once, and the networks are tiny: more threads only get in each other's way.
    own = {"CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}
    os.environ.update(own | environment)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not rewritten})
    begin, end = run_folder.RunFolder.__init__, run_folder.RunFolder.finish

    def noted(run, folder, variables, **more):
        run.trained = variables["weights"]
        begin(run, folder, variables, **more)

    def watched(run, step, sums, enhancer):
        end(run, step, sums, enhancer)
        names = {id(v): name for name, v in released.published_variables(enhancer.models).items()}
        names = [names[id(v)] for model in enhancer.models.values() for v in model.weights]
        arrays = [[v.numpy() for v in getattr(one, "values", [one])] for one in run.trained]
        np.savez(weights, **dict(zip(names, arrays, strict=True)))

    if weights:
        run_folder.RunFolder.__init__, run_folder.RunFolder.finish = noted, watched
    if devices > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )
        names = [f"CPU:{number}" for number in range(devices)]
        distribution.make_strategy = lambda name: tf.distribute.MirroredStrategy(names)
    sys.exit(cli.run(train_coarse.main, train_coarse.FLAGS, ["train_coarse", *arguments]))
