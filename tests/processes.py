"""train_coarse.py in processes of its own that begin as copies of one that has TensorFlow.

Importing it anew in each would take longer than all the rest of the tests' short runs.
"""

import contextlib
import multiprocessing
import os
import sys

import numpy as np

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dbp_tf.training.loop", "dbp_tf.data.patches"])


def start(arguments, errors, *, weights=None, devices=1, rewritten=False, **environment):
    """Starts a run.

    Args:
      arguments: flags of train_coarse.py.
      errors: path of a file for its stderr.
      weights: path of an .npz file for what the networks of this process hold at the end.
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


def _train(arguments, errors, weights, devices, rewritten, environment):
    for path, stream in ((os.devnull, 1), (errors, 2)):
        with open(path, "w") as file:
            os.dup2(file.fileno(), stream)
    # Several run at once, and the networks are tiny: more threads only get in each other's way.
    own = {"CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}
    os.environ.update(own | environment)
    import tensorflow as tf

    import train_coarse
    from dbp_tf import cli
    from dbp_tf.models import released
    from dbp_tf.training import distribution, run_folder

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not rewritten})
    end = run_folder.RunFolder.finish

    def watched(run, step, sums, enhancer):
        end(run, step, sums, enhancer)
        variables = released.published_variables(enhancer.models)
        np.savez(weights, **{name: v.numpy() for name, v in variables.items()})

    if weights:
        run_folder.RunFolder.finish = watched
    if devices > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )
        names = [f"CPU:{number}" for number in range(devices)]
        distribution.make_strategy = lambda name: tf.distribute.MirroredStrategy(names)
    sys.exit(cli.run(train_coarse.main, train_coarse.FLAGS, ["train_coarse", *arguments]))
