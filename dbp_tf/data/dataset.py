"""Training patches as a `tf.data.Dataset`: several are made at the same time, ahead of the steps.

Axis letters are those of `patches`.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence

import tensorflow as tf

from dbp_tf.data import patches
from dbp_tf.data.recipe import Recipe
from dbp_tf.data.sources import Sources
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras

# Patches made at the same time: one takes about 0.1 s and, for X-Trans, 300 MB.
_MOST_PARALLEL = 4

# For `_until_exit`: threads that are making a patch, and calls that came too late.
_exiting = threading.Event()
_inside = set()
_refused = []


def training_dataset(
    sources: Sequence[Sources],
    camera: cameras.Camera,
    recipe: Recipe,
    seed: int,
    start_step: int = 0,
    steps: int | None = None,
    replica: int = 0,
    replicas: int = 1,
) -> tf.data.Dataset:
    """The training data of one replica.

    Step s takes the bursts number (s * replicas + replica) * bursts_per_step and following, so
    that two replicas with one burst each see the same as one replica with two bursts a step. An
    epoch is one patch of every scene in random order, with a random one of the scene's exposures.

    Args:
      sources: to train on, see `sources.prepare`.
      camera: of their files.
      recipe: how patches are made.
      seed: from 0 on.
      start_step: the first step.
      steps: how many steps; None goes on for ever.
      replica: number of this replica, 0 to replicas - 1.
      replicas: of the training, those of other processes included.

    Returns:
      A dataset of dicts, one for each step. Its B = bursts_per_step bursts have the arrays of
      `patches.load_patch`: "frames" and "low" of all bursts one after another, N frames in all,
      which varies; "clean_low" and "truth" with an axis B in front. Then "lengths" [B] (int64),
      frames of each burst; "scene" [B] (string); "step" (int64).

    Raises:
      InputError: no bursts, or a picture smaller than the patch.
    """
    if not sources:
        raise InputError("there are no bursts to train on")
    for one in sources:
        patches.check_size(one.clean.source, one.clean.shape[:2], recipe, camera)
    scenes = patches.group_scenes(sources)
    signature = _signature(recipe, camera)

    @_until_exit
    def load(number):
        drawn = patches.draw(scenes, recipe, seed, int(number))
        patch = patches.load_patch(drawn, recipe)
        return drawn.sources.scene.encode(), *(patch[name] for name in signature)

    def element(position):
        step = position // recipe.bursts_per_step
        number = (step * replicas + replica) * recipe.bursts_per_step
        number += position % recipe.bursts_per_step
        types = [tf.string, *(spec.dtype for spec in signature.values())]
        scene, *patch = tf.numpy_function(load, [number], types, stateful=False)
        values = {
            name: tf.ensure_shape(value, spec.shape)
            for (name, spec), value in zip(signature.items(), patch, strict=True)
        }
        return values | {"scene": tf.ensure_shape(scene, ()), "step": step}

    first = start_step * recipe.bursts_per_step
    last = tf.int64.max if steps is None else first + steps * recipe.bursts_per_step
    # For each replica: those of one process share tf.data's threads, one a core.
    parallel = min(_MOST_PARALLEL, os.cpu_count() or 1)
    return (
        tf.data.Dataset.range(first, last)
        .map(element, num_parallel_calls=parallel, deterministic=True)
        .ragged_batch(recipe.bursts_per_step, drop_remainder=True)
        .map(_batch)
        .prefetch(2)
    )


def _batch(bursts):
    """A batch as `training_dataset` yields it; it comes ragged where numbers of frames differ."""
    values = {
        name: value.values if isinstance(value, tf.RaggedTensor) else value
        for name, value in bursts.items()
    }
    return values | {"lengths": bursts["frames"].row_lengths(), "step": bursts["step"][0]}


def _until_exit(load: Callable) -> Callable:
    """Makes a function that tf.data calls end the data once Python is about to exit.

    tf.data makes patches ahead, so one of its threads is inside Python nearly all the time. If
    the interpreter shut down then, the thread would never come back, and neither would the
    iterator's destructor that waits for it: a script that is done, or has failed, would hang.
    """
    atexit.unregister(_settle)
    atexit.register(_settle)

    def load_unless_exiting(number):
        _inside.add(threading.get_ident())
        try:
            if _exiting.is_set():
                _refused.append(number)
                raise StopIteration
            return load(number)
        finally:
            _inside.discard(threading.get_ident())

    return load_unless_exiting


def _settle():
    """Waits until tf.data's buffers are full, after which it calls Python no more."""
    _exiting.set()
    refused = -1
    while _inside or refused != len(_refused):
        refused = len(_refused)
        time.sleep(0.2)


def _signature(recipe, camera):
    """{name: `tf.TensorSpec`} of the arrays of an element."""
    channels, patch = camera.channels, recipe.patch
    shapes = {"frames": (None, patch, patch, channels)}
    if recipe.stage == "coarse":
        shapes["clean_low"] = (patch, patch, channels)
    else:
        half, side = patch // 2, camera.scale * patch
        shapes["low"] = (None, half, half, channels)
        shapes["clean_low"] = (half, half, channels)
        shapes["truth"] = (side, side, 3)
    return {name: tf.TensorSpec(shape, tf.float32) for name, shape in shapes.items()}
