"""How long restoring a burst takes, how near to the machine's limit, and in how much memory.

    python benchmarks/restore.py --sizes 1424x2128 --frames 1,8 --precisions float32,bfloat16

Sizes are packed rows x columns (1424x2128 is a full Sony frame, 12 megapixels). Every line is
measured in a fresh process that loads weights of full width, restores one burst and a second one,
and measures the fastest convolution of this machine in the same breath. Writes a CSV and, with
matplotlib (extra "figures"), a plot of time and memory.
"""

import functools
import json
import subprocess
import sys
import tempfile
import time

# Before TensorFlow is imported, which belongs to the time of loading.
STARTED = time.monotonic()

from absl import flags  # noqa: E402
from common import processors, write_table  # noqa: E402

from dbp_tf import cli  # noqa: E402
from dbp_tf.raw import cameras  # noqa: E402

FLAGS = flags.FlagValues()
_define = functools.partial(cli.define, FLAGS)
_define(flags.DEFINE_list, "sizes", ["712x1064", "1424x2128"], "Packed rows x columns.")
_define(flags.DEFINE_list, "frames", ["1", "8"], "Frames of a burst.")
_define(flags.DEFINE_list, "precisions", ["float32"], "float32 and bfloat16.")
_define(
    flags.DEFINE_integer, "stripe_columns", 272, "Columns of a stripe at the most; 0: no stripes."
)
_define(
    flags.DEFINE_enum, "camera", "sony", "Camera of the weights.", enum_values=list(cameras.CAMERAS)
)
_define(flags.DEFINE_integer, "width", 32, "Channels of the first level.")
_define(cli.DEFINE_path, "csv", None, "Also write the table here.")
_define(cli.DEFINE_path, "plot", None, "Also draw time and memory here (PNG).")
_define(flags.DEFINE_string, "worker", None, "Used by the script itself: one case as JSON.")

COLUMNS = (
    "rows columns frames precision load_s first_s second_s gflops peak_gflops "
    "fraction_first fraction_second peak_mb"
).split()


def flops(spec, rows, columns, frames):
    """Floating-point operations of the convolutions for one burst of packed frames."""
    from dbp_tf.models.networks import build

    def area(rows, columns, level):
        for _ in range(level - 1):
            rows, columns = -(-rows // 2), -(-columns // 2)
        return rows * columns

    def of_model(model, rows, columns, frames):
        total = 0
        for layer in model.layers:
            if hasattr(layer, "layers"):
                total += of_model(layer, rows, columns, frames if layer.name == "encoder" else 1)
                continue
            kernel = getattr(layer, "kernel", None)
            if kernel is None or len(kernel.shape) != 4:
                continue
            digits = "".join(c for c in layer.name.split("_")[1] if c.isdigit())
            block = 5 if "res" in layer.name else int(digits)
            level = block if block <= 5 else max(10 - block, 1)
            # A transposed convolution's work is done at the lower level.
            level += layer.name.startswith("g_up")
            a, b, c, d = kernel.shape
            total += 2 * a * b * c * d * area(rows, columns, level) * frames
        return total

    models = build(spec)
    return of_model(models["coarse"], rows // 2, columns // 2, frames) + of_model(
        models["fine"], rows, columns, frames
    )


def peak(dtype):
    """GFLOP/s of this machine's fastest 3x3 convolution of those that the network has."""
    import tensorflow as tf

    best = 0
    for rows, columns, channels in ((256, 1064, 64), (178, 266, 128), (89, 133, 512)):
        image = tf.cast(tf.random.normal((1, rows, columns, channels)), dtype)
        kernel = tf.cast(tf.random.normal((3, 3, channels, channels)), dtype)
        bias = tf.zeros(channels, dtype)

        @tf.function
        def convolve(image=image, kernel=kernel, bias=bias):
            out = tf.nn.bias_add(tf.nn.conv2d(image, kernel, 1, "SAME"), bias)
            return tf.nn.leaky_relu(out, 0.2)

        convolve()
        # Many, as another tenant of the machine halves the speed of some.
        for _ in range(20):
            started = time.monotonic()
            convolve().numpy()
            seconds = time.monotonic() - started
            best = max(best, 18 * rows * columns * channels**2 / seconds / 1e9)
    return best


def measure(case):
    """One case in this process; peak memory is taken before the convolution peak."""
    import resource

    cli.import_tensorflow()
    import numpy as np

    import dbp_tf

    model = dbp_tf.load_pretrained(case["weights"], case["precision"])
    load = time.monotonic() - STARTED
    rows, columns, frames = case["rows"], case["columns"], case["frames"]
    stripe_columns = case["stripe_columns"] or None

    def burst(seed):
        rng = np.random.default_rng(seed)
        for _ in range(frames):
            yield rng.random((rows, columns, model.spec.channels), np.float32)

    seconds = []
    for seed in (0, 1):
        # Making random frames is no part of restoring; they are made one by one all the same,
        # so that memory is that of a burst read from files.
        started = time.monotonic()
        for _ in burst(seed):
            pass
        making = time.monotonic() - started
        started = time.monotonic()
        model.enhance(burst(seed), reference_frame=0, stripe_columns=stripe_columns)
        seconds.append(time.monotonic() - started - making)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    work = flops(model.spec, rows, columns, frames) / 1e9
    limit = peak(case["precision"])
    return {
        "rows": rows,
        "columns": columns,
        "frames": frames,
        "precision": case["precision"],
        "load_s": round(load, 2),
        "first_s": round(seconds[0], 2),
        "second_s": round(seconds[1], 2),
        "gflops": round(work / seconds[1], 1),
        "peak_gflops": round(limit, 1),
        "fraction_first": round(work / seconds[0] / limit, 3),
        "fraction_second": round(work / seconds[1] / limit, 3),
        "peak_mb": round(memory),
    }


def plot(rows, path):
    """Time and memory against frames, one line for each size and precision."""
    try:
        import matplotlib
    except ImportError:
        sys.exit('--plot needs matplotlib: pip install "dbp_tf[figures]"')
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (time_axis, memory_axis) = pyplot.subplots(1, 2, figsize=(10, 4))
    for key in sorted({(r["rows"], r["columns"], r["precision"]) for r in rows}):
        line = [r for r in rows if (r["rows"], r["columns"], r["precision"]) == key]
        line.sort(key=lambda r: r["frames"])
        frames = [r["frames"] for r in line]
        label = f"{4 * key[0] * key[1] / 1e6:.0f} MP, {key[2]}"
        time_axis.plot(frames, [r["second_s"] for r in line], "o-", label=label)
        memory_axis.plot(frames, [r["peak_mb"] / 1000 for r in line], "o-", label=label)
    time_axis.set(xlabel="frames", ylabel="seconds", ylim=(0, None))
    memory_axis.set(xlabel="frames", ylabel="peak memory, GB", ylim=(0, None))
    time_axis.legend()
    figure.suptitle(processors())
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    if FLAGS.worker:
        print(json.dumps(measure(json.loads(FLAGS.worker))))
        return
    cli.import_tensorflow()
    import dbp_tf
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.restore.pretrained import untrained

    camera = cameras.camera_named(FLAGS.camera)
    spec = NetworkSpec(channels=camera.channels, scale=camera.scale, width=FLAGS.width)
    print(processors())
    print("  ".join(f"{name:>9}" for name in COLUMNS), flush=True)
    table = []
    with tempfile.TemporaryDirectory() as weights:
        dbp_tf.save_pretrained(untrained(spec), weights)
        for size in FLAGS.sizes:
            rows, columns = map(int, size.split("x"))
            for frames in map(int, FLAGS.frames):
                for precision in FLAGS.precisions:
                    case = dict(
                        weights=weights,
                        rows=rows,
                        columns=columns,
                        frames=frames,
                        precision=precision,
                        stripe_columns=FLAGS.stripe_columns,
                    )
                    out = subprocess.run(
                        [sys.executable, __file__, "--worker", json.dumps(case)],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                    row = json.loads(out.splitlines()[-1])
                    table.append(row)
                    print(
                        "  ".join(f"{row[name]:>{max(9, len(name))}}" for name in COLUMNS),
                        flush=True,
                    )
    if FLAGS.csv:
        write_table(FLAGS.csv, table)
    if FLAGS.plot:
        plot(table, FLAGS.plot)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
