"""How many training patches a second, and in how much memory.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --patch 96 --frames 8 --width 16 --bursts 1,2,4,8

A step is a batch of bursts through the networks of a stage, L1 loss, gradients and the update; the
bursts are random and in memory already. Every precision is measured in a fresh process, its batches
in turns, so that other work on the machine slows all of them alike. Peak memory, the smaller
batches' included, is that of the GPU if there is one, else of the process with everything in it.
"""

import functools
import json
import statistics
import subprocess
import sys
import time

from absl import flags
from common import peak_memory, processors

from dbp_tf import cli, environment, progress
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras

FLAGS = flags.FlagValues()
flags.DEFINE_enum("camera", "sony", list(cameras.CAMERAS), "Camera.", flag_values=FLAGS)
flags.DEFINE_enum("stage", "burst", ["coarse", "fine", "burst"], "Stage.", flag_values=FLAGS)
flags.DEFINE_integer("patch", 512, "Side in packed pixels, even.", 2, flag_values=FLAGS)
flags.DEFINE_integer("frames", 8, "Frames of the burst.", 1, flag_values=FLAGS)
flags.DEFINE_integer("width", 32, "Channels of the first level.", 1, flag_values=FLAGS)
flags.DEFINE_enum("fusion", "reference", ["reference", "max"], "Version.", flag_values=FLAGS)
flags.DEFINE_integer(
    "residual_blocks", None, "Residual blocks; by default as published.", 0, flag_values=FLAGS
)
flags.DEFINE_list("bursts", ["1", "4"], "Bursts of a step, to compare.", flag_values=FLAGS)
flags.DEFINE_integer(
    "steps", 5, "Steps timed after the first; the median counts.", 1, flag_values=FLAGS
)
flags.DEFINE_list("precisions", ["float32", "mixed_bfloat16"], "Dtype policies.", flag_values=FLAGS)
flags.DEFINE_string("worker", None, "Used by the script itself: one precision.", flag_values=FLAGS)


def measure(precision):
    """The device, and of each number of bursts first step, median step (s), peak memory (B)."""
    tf = environment.import_tensorflow()
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.training import config, training_step

    camera = cameras.camera_named(FLAGS.camera)
    spec = NetworkSpec(
        family="coarse" if FLAGS.stage == "coarse" else "fine",
        channels=camera.channels,
        width=FLAGS.width,
        scale=1 if FLAGS.stage == "coarse" else camera.scale,
        fusion=FLAGS.fusion,
        residual_blocks=FLAGS.residual_blocks,
    )
    models = training_step.build_models(spec, precision=precision)
    optimizer = training_step.build_optimizer(
        training_step.trainable_variables(FLAGS.stage, models),
        config.Optimisation(),
        1000,
        precision,
    )
    objective = training_step.Objective(FLAGS.stage)
    gpus = tf.config.list_physical_devices("GPU")
    steps, seconds, memory = {}, {}, {}
    for bursts in sorted(map(int, FLAGS.bursts)):
        batch = random_batch(tf, camera, bursts)
        # Numbers of frames vary in training, too.
        element = {
            name: tf.TensorSpec(
                (None, *value.shape[1:]) if name in ("frames", "low") else value.shape, value.dtype
            )
            for name, value in batch.items()
        }
        strategy = tf.distribute.get_strategy()
        step = training_step.make_step(strategy, models, optimizer, objective, element, bursts)
        steps[bursts] = functools.partial(step, batch)
        seconds[bursts] = [timed(steps[bursts])]
        if gpus:
            memory[bursts] = tf.config.experimental.get_memory_info("GPU:0")["peak"]
        else:
            memory[bursts] = peak_memory()
    for _ in range(FLAGS.steps):
        for bursts, step in steps.items():
            seconds[bursts].append(timed(step))
    device = processors()
    if gpus:
        device = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    rows = {
        bursts: {"first": first, "step": statistics.median(rest), "memory": memory[bursts]}
        for bursts, (first, *rest) in seconds.items()
    }
    return {"device": device, "rows": rows}


def random_batch(tf, camera, bursts):
    """A batch as `dataset.training_dataset` yields it."""
    patch, half, channels = FLAGS.patch, FLAGS.patch // 2, camera.channels
    side = half if FLAGS.stage == "coarse" else patch
    frames = bursts * FLAGS.frames
    shapes = {"frames": (frames, side, side, channels), "clean_low": (bursts, half, half, channels)}
    if FLAGS.stage != "coarse":
        shapes["low"] = frames, half, half, channels
        shapes["truth"] = bursts, camera.scale * patch, camera.scale * patch, 3
    batch = {name: tf.random.uniform(shape) for name, shape in shapes.items()}
    lengths = tf.fill([bursts], tf.constant(FLAGS.frames, tf.int64))
    return batch | {"lengths": lengths, "step": tf.constant(0, tf.int64)}


def timed(step):
    started = time.monotonic()
    step().numpy()
    return time.monotonic() - started


def main():
    if FLAGS.worker:
        print(json.dumps(measure(FLAGS.worker)))
        return
    found = {}
    for precision in FLAGS.precisions:
        progress.status(f"measuring {precision}")
        result = subprocess.run(
            [sys.executable, *sys.argv, f"--worker={precision}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        if result.returncode:
            raise InputError(f"{precision} could not be measured (exit code {result.returncode})")
        found[precision] = json.loads(result.stdout.splitlines()[-1])
    progress.say(
        f"{FLAGS.stage} step, {FLAGS.frames} frames of {FLAGS.patch} x {FLAGS.patch} packed "
        f"pixels, width {FLAGS.width}, {found[precision]['device']}"
    )
    progress.say(
        f"{'':<16}{'bursts':>8}{'first step':>12}{'step':>10}{'patches/s':>11}{'peak memory':>14}"
    )
    for precision, of_precision in found.items():
        for bursts, row in of_precision["rows"].items():
            progress.say(
                f"{precision:<16}{bursts:>8}{row['first']:>10.1f} s{row['step']:>8.2f} s"
                f"{int(bursts) / row['step']:>11.3f}{row['memory'] / 1e9:>11.2f} GB"
            )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
