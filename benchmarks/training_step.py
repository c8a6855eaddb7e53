"""How many training steps a second, and in how much memory.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --patch 128 --frames 4 --width 8

A step is one burst through the networks of a stage, L1 loss, gradients and the update; the burst
is random and in memory already. Every precision is measured in a fresh process. Peak memory is
that of the GPU if there is one, else of the process, everything included.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from absl import flags  # noqa: E402
from machine import processors  # noqa: E402

from dbp_tf import cli, progress
from dbp_tf.errors import InputError  # noqa: E402
from dbp_tf.raw import cameras  # noqa: E402

FLAGS = flags.FlagValues()
flags.DEFINE_enum("camera", "sony", list(cameras.CAMERAS), "Camera.", flag_values=FLAGS)
flags.DEFINE_enum("stage", "burst", ["coarse", "fine", "burst"], "Stage.", flag_values=FLAGS)
flags.DEFINE_integer("patch", 512, "Side in packed pixels, even.", 2, flag_values=FLAGS)
flags.DEFINE_integer("frames", 8, "Frames of the burst.", 1, flag_values=FLAGS)
flags.DEFINE_integer("width", 32, "Channels of the first level.", 1, flag_values=FLAGS)
flags.DEFINE_integer("residual_blocks", 16, "Residual blocks.", 0, flag_values=FLAGS)
flags.DEFINE_integer(
    "steps", 5, "Steps timed after the first; the median counts.", 1, flag_values=FLAGS
)
flags.DEFINE_list("precisions", ["float32", "mixed_bfloat16"], "Dtype policies.", flag_values=FLAGS)
flags.DEFINE_string("worker", None, "Used by the script itself: one precision.", flag_values=FLAGS)


def measure(precision):
    """First step, median of the following ones in seconds, and peak memory in bytes."""
    tf = cli.import_tensorflow()
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.training import config, training_step

    camera = cameras.camera_named(FLAGS.camera)
    coarse = FLAGS.stage == "coarse"
    spec = NetworkSpec(
        family="coarse" if coarse else "fine",
        channels=camera.channels,
        width=FLAGS.width,
        scale=1 if coarse else camera.scale,
        residual_blocks=FLAGS.residual_blocks,
    )
    patch, half, channels = FLAGS.patch, FLAGS.patch // 2, camera.channels
    shapes = {"frames": (None, *([half] * 2 if coarse else [patch] * 2), channels)}
    shapes["clean_low"] = (half, half, channels)
    if not coarse:
        shapes["low"] = (None, half, half, channels)
        shapes["truth"] = (camera.scale * patch, camera.scale * patch, 3)
    element = {name: tf.TensorSpec(shape) for name, shape in shapes.items()}
    element["step"] = tf.TensorSpec((), tf.int64)
    burst = {
        name: tf.random.uniform([FLAGS.frames if size is None else size for size in shape])
        for name, shape in shapes.items()
    }
    burst["step"] = tf.constant(0, tf.int64)
    models = training_step.build_models(spec, precision=precision)
    optimizer = training_step.build_optimizer(
        training_step.trainable_variables(FLAGS.stage, models),
        config.Optimisation(),
        1000,
        precision,
    )
    step, _ = training_step.make_step(
        tf.distribute.get_strategy(),
        models,
        optimizer,
        training_step.Objective(FLAGS.stage),
        element,
    )
    seconds = []
    for _ in range(1 + FLAGS.steps):
        started = time.monotonic()
        step(iter([burst])).numpy()
        seconds.append(time.monotonic() - started)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        device = tf.config.experimental.get_device_details(gpus[0])["device_name"]
        memory = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    else:
        import resource

        device = processors()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "device": device,
        "first": seconds[0],
        "step": statistics.median(seconds[1:]),
        "memory": memory,
    }


def main():
    if FLAGS.worker:
        print(json.dumps(measure(FLAGS.worker)))
        return
    rows = []
    for precision in FLAGS.precisions:
        progress.status(f"measuring {precision}")
        result = subprocess.run(
            [sys.executable, *sys.argv, f"--worker={precision}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        if result.returncode:
            raise InputError(f"{precision} could not be measured (exit code {result.returncode})")
        rows.append((precision, json.loads(result.stdout.splitlines()[-1])))
    progress.say(
        f"{FLAGS.stage} step, {FLAGS.frames} frames of {FLAGS.patch} x {FLAGS.patch} packed "
        f"pixels, width {FLAGS.width}, {rows[0][1]['device']}"
    )
    progress.say(f"{'':<16}{'first step':>12}{'step':>10}{'steps/s':>10}{'peak memory':>14}")
    for precision, row in rows:
        progress.say(
            f"{precision:<16}{row['first']:>10.1f} s{row['step']:>8.2f} s{1 / row['step']:>10.3f}"
            f"{row['memory'] / 1e9:>11.2f} GB"
        )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
