"""Replicas of a training step: on one device or several, in one process or several."""

import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dbp_tf.errors import InputError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a name; call it before anything else of TensorFlow.

    Args:
      name: "none" (one device), "mirrored" (all GPUs of this machine) or "multi_worker" (all
        machines that the environment variable TF_CONFIG lists).

    Raises:
      InputError: TF_CONFIG is missing or says nothing useful.
    """
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker":
        _check_tf_config(os.environ.get("TF_CONFIG"))
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def _check_tf_config(text):
    example = (
        '{"cluster": {"worker": ["host1:port", "host2:port"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise InputError(
            f"--strategy multi_worker reads the environment variable TF_CONFIG, which is not set: "
            f"set it on every machine to something like {example}"
        )
    try:
        config = json.loads(text)
        task = config["task"]
        config["cluster"][task["type"]][int(task["index"])]
    except (ValueError, KeyError, IndexError, TypeError):
        raise InputError(
            f"TF_CONFIG is {text!r}, which names no worker of a cluster: make it something like "
            f"{example}"
        ) from None


def spreads(strategy: tf.distribute.Strategy) -> bool:
    """Whether variables are copied to several devices, however many there turn out to be."""
    return isinstance(
        strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    )


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """How many processes train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(job, ())) for job in ("chief", "worker"))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def distribute(
    strategy: tf.distribute.Strategy,
    dataset_of: Callable[..., tf.data.Dataset],
    *,
    start_step: int,
    steps: int,
) -> Any:
    """The training data of all replicas of this process.

    Args:
      strategy: see `make_strategy`.
      dataset_of: function of start_step, steps, replica and replicas, by keyword, that gives one
        replica's `tf.data.Dataset` of dicts, see `dataset.training_dataset`.
      start_step, steps: its arguments.

    Returns:
      A distributed dataset; an element has one batch for each replica, without "scene", which
      as strings cannot go to a GPU.
    """
    replicas = strategy.num_replicas_in_sync

    def of_worker(context):
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        parts = [
            dataset_of(start_step=start_step, steps=steps, replica=replica, replicas=replicas)
            for replica in range(first, first + local)
        ]
        merged = parts[0]
        if local > 1:
            turns = tf.data.Dataset.range(local).repeat()
            merged = tf.data.Dataset.choose_from_datasets(parts, turns)
        return merged.map(lambda batch: {k: v for k, v in batch.items() if k != "scene"})

    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    return strategy.distribute_datasets_from_function(of_worker, options)


def make_total(strategy: tf.distribute.Strategy) -> Callable[[float], float]:
    """A function that adds a number up over all replicas; every process has to call it."""
    if strategy.num_replicas_in_sync == 1:
        return float

    def add(value):
        context = tf.distribute.get_replica_context()
        # An argument is on no device yet, and the reduction asks for one.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

    @tf.function(input_signature=[tf.TensorSpec((), tf.float64)], autograph=False)
    def everywhere(value):
        return strategy.run(add, (value,))

    def total(value):
        return float(strategy.experimental_local_results(everywhere(float(value)))[0])

    return total
