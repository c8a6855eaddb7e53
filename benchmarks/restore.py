"""How long restoring a burst takes and in how much memory, beside a plain graph and ONNX Runtime.

    python benchmarks/restore.py --sizes 1424x2128 --frames 1,8 --csv restore.csv

Sizes are packed rows x columns (1424x2128 is a full Sony frame, 12 megapixels). The engines are
`Enhancer.enhance` ("ours"), the networks as they are built, compiled by TensorFlow alone
("reference"), and ONNX Runtime ("onnx", with the extra "benchmarks"); all take the frames one by
one. They are measured in turns, each time in a fresh process that loads weights of full width and
restores one burst and a second one; medians count. "first/onnx" and "second/onnx" are an engine's
seconds divided by those of ONNX Runtime of the same turn. The last column is how far an engine's
picture is from that of the first engine, as a fraction of its largest value; more than 1e-4 is an
error in float32.
Writes a CSV and, with matplotlib (extra "figures"), a plot of time and memory.
"""

import functools
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time

# Before TensorFlow is imported, which belongs to the time of loading.
STARTED = time.monotonic()

import numpy as np  # noqa: E402
import onnx_networks  # noqa: E402
from absl import flags  # noqa: E402
from common import peak_memory, processors, write_table  # noqa: E402

from dbp_tf import cli, environment, progress  # noqa: E402
from dbp_tf.errors import InputError  # noqa: E402
from dbp_tf.raw import cameras  # noqa: E402

ENGINES = ("ours", "reference", "onnx")

FLAGS = flags.FlagValues()
_define = functools.partial(cli.define, FLAGS)
_define(flags.DEFINE_list, "sizes", ["712x1064", "1424x2128"], "Packed rows x columns.")
_define(flags.DEFINE_list, "frames", ["1", "8"], "Frames of a burst.")
_define(
    flags.DEFINE_list,
    "precisions",
    ["float32"],
    "float32 and bfloat16; ONNX Runtime is measured in float32 alone.",
)
_define(
    flags.DEFINE_list,
    "engines",
    None,
    f"Of {', '.join(ENGINES)}; by default all that are installed.",
)
_define(flags.DEFINE_integer, "repeats", 3, "Turns of the engines.", lower_bound=1)
_define(
    flags.DEFINE_integer,
    "stripe_columns",
    272,
    "Columns of a stripe of ours at the most; 0: no stripes.",
)
_define(
    flags.DEFINE_enum, "camera", "sony", "Camera of the weights.", enum_values=list(cameras.CAMERAS)
)
_define(flags.DEFINE_integer, "width", 32, "Channels of the first level.")
_define(cli.DEFINE_path, "csv", None, "Also write the table here.")
_define(cli.DEFINE_path, "plot", None, "Also draw time and memory here (PNG).")
_define(flags.DEFINE_string, "worker", None, "Used by the script itself: one case as JSON.")

CASE = ("rows", "columns", "frames", "precision", "engine")
MEASURED = ("load_s", "first_s", "second_s", "first_cpu_s", "second_cpu_s", "peak_mb")
COLUMNS = (*CASE, *MEASURED, "first/onnx", "second/onnx", "difference")
MOST_DIFFERENCE = 1e-4


def measure(case):
    """One case in this process; leaves the first burst's picture where the case says."""
    restore = RESTORERS[case["engine"]](case)
    load = time.monotonic() - STARTED

    def burst(seed):
        rng = np.random.default_rng(seed)
        for _ in range(case["frames"]):
            yield rng.random((case["rows"], case["columns"], case["channels"]), np.float32)

    seconds, processor_seconds = [], []
    for seed in (0, 1):
        # Making random frames is no part of restoring; they are made one by one all the same,
        # so that memory is that of a burst read from files.
        making = clocks()
        for _ in burst(seed):
            pass
        started = clocks()
        picture = restore(burst(seed))
        wall, processor = clocks() - started - (started - making)
        seconds.append(wall)
        processor_seconds.append(processor)
        if not seed:
            np.save(case["picture"], picture)
        del picture
    values = (load, *seconds, *processor_seconds, peak_memory() / 1e6)
    return dict(zip(MEASURED, values, strict=True))


def clocks():
    """Seconds so far: on the wall, and of all processors in this process."""
    return np.array([time.monotonic(), time.process_time()])


def ours(case):
    environment.import_tensorflow()
    import dbp_tf

    model = dbp_tf.load_pretrained(case["weights"], case["precision"])
    columns = case["stripe_columns"] or None
    return functools.partial(model.enhance, reference_frame=0, stripe_columns=columns)


def reference(case):
    """The graph of `networks.restore_burst`, a frame at a time, without stripes."""
    tf = environment.import_tensorflow()
    import dbp_tf
    from dbp_tf.models import networks
    from dbp_tf.models.fusions import FUSIONS

    model = dbp_tf.load_pretrained(case["weights"], case["precision"])
    fusion = FUSIONS[model.spec.fusion]
    encoder, bottleneck, decoder = networks.parts(model.fine)
    fused = slice(1 if model.spec.refers else 0, None)

    @tf.function
    def encode(frame, maxima):
        levels = encoder([frame, model.coarse(networks.half_size(frame))])
        return levels[: fused.start], fusion.with_frame(maxima, levels[fused])

    @tf.function
    def decode(levels):
        *upper, deepest = levels
        return decoder([*upper, bottleneck(deepest) if bottleneck else deepest])[0]

    def restore(frames):
        finest, levels = None, [fusion.nothing(level) for level in encoder.outputs[fused]]
        for frame in frames:
            own, levels = encode(tf.constant(frame[None]), levels)
            finest = own if finest is None else finest
            del own
        return decode([*finest, *levels]).numpy()

    return restore


def onnx(case):
    return onnx_networks.Restorer(case["graphs"]).enhance


# Of each engine, from a case to the function from frames to the picture.
RESTORERS = {"ours": ours, "reference": reference, "onnx": onnx}


def compare(cases, scratch):
    """A row of the table for each case; all differ in the engine alone and are taken in turns."""
    runs = {case["engine"]: [] for case in cases}
    pictures = {name: f"{scratch}/{name}.npy" for name in runs}
    for turn in range(FLAGS.repeats):
        # To and fro, as the machine may slow down or recover meanwhile.
        for case in cases if turn % 2 == 0 else cases[::-1]:
            name = case["engine"]
            progress.status(f"turn {turn + 1} of {FLAGS.repeats}: {name}")
            own = json.dumps(case | {"picture": pictures[name]})
            result = subprocess.run(
                [sys.executable, __file__, "--worker", own], stdout=subprocess.PIPE, text=True
            )
            if result.returncode:
                raise InputError(f"{name} could not be measured (exit code {result.returncode})")
            runs[name].append(json.loads(result.stdout.splitlines()[-1]))
    base = np.load(pictures[cases[0]["engine"]])
    rows = []
    for case in cases:
        name = case["engine"]
        row = {key: case[key] for key in CASE}
        for key in MEASURED:
            row[key] = round(statistics.median(run[key] for run in runs[name]), 2)
        for key in ("first", "second"):
            pairs = zip(runs[name], runs.get("onnx", ()), strict="onnx" in runs)
            ratios = [own[f"{key}_s"] / rival[f"{key}_s"] for own, rival in pairs]
            row[f"{key}/onnx"] = round(statistics.median(ratios), 3) if ratios else ""
        difference = np.abs(np.load(pictures[name]) - base).max() / np.abs(base).max()
        row["difference"] = float(f"{difference:.1e}")
        rows.append(row)
    return rows


def plot(rows, path):
    """Time and memory against frames, one line for each size, precision and engine."""
    try:
        import matplotlib
    except ImportError:
        sys.exit('--plot needs matplotlib: pip install "dbp_tf[figures]"')
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (time_axis, memory_axis) = pyplot.subplots(1, 2, figsize=(10, 4))
    of_line = "rows", "columns", "precision", "engine"
    for key in sorted({tuple(row[name] for name in of_line) for row in rows}):
        line = [row for row in rows if tuple(row[name] for name in of_line) == key]
        line.sort(key=lambda row: row["frames"])
        frames = [row["frames"] for row in line]
        label = f"{4 * key[0] * key[1] / 1e6:.0f} MP, {key[2]}, {key[3]}"
        time_axis.plot(frames, [row["second_s"] for row in line], "o-", label=label)
        memory_axis.plot(frames, [row["peak_mb"] / 1000 for row in line], "o-", label=label)
    time_axis.set(xlabel="frames", ylabel="seconds", ylim=(0, None))
    memory_axis.set(xlabel="frames", ylabel="peak memory, GB", ylim=(0, None))
    time_axis.legend()
    figure.suptitle(processors())
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def engines():
    """Those of --engines, by default all that are installed."""
    installed = [name for name in ENGINES if name != "onnx" or onnx_networks.installed()]
    if not FLAGS.engines:
        if "onnx" not in installed:
            progress.say(f"Without ONNX Runtime: {onnx_networks.HOW_TO_INSTALL}")
        return installed
    for name in FLAGS.engines:
        if name not in ENGINES:
            raise InputError(f"--engines: {name!r} is none of {', '.join(ENGINES)}")
        if name not in installed:
            raise InputError(f"--engines: onnx is not installed: {onnx_networks.HOW_TO_INSTALL}")
    return FLAGS.engines


def main():
    if FLAGS.worker:
        print(json.dumps(measure(json.loads(FLAGS.worker))))
        return 0
    names = engines()
    environment.import_tensorflow()
    import dbp_tf
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.restore.pretrained import untrained

    camera = cameras.camera_named(FLAGS.camera)
    spec = NetworkSpec(channels=camera.channels, scale=camera.scale, width=FLAGS.width)
    model = untrained(spec)
    progress.say(processors())
    progress.say("  ".join(f"{name:>{_wide(name)}}" for name in COLUMNS))
    table = []
    with tempfile.TemporaryDirectory() as scratch:
        dbp_tf.save_pretrained(model, scratch)
        for size in FLAGS.sizes:
            rows, columns = map(int, size.split("x"))
            if "onnx" in names:
                onnx_networks.export(model, rows, columns, scratch)
            for frames, precision in itertools.product(map(int, FLAGS.frames), FLAGS.precisions):
                cases = [
                    dict(
                        weights=scratch,
                        graphs=scratch,
                        rows=rows,
                        columns=columns,
                        channels=camera.channels,
                        frames=frames,
                        precision=precision,
                        engine=name,
                        stripe_columns=FLAGS.stripe_columns,
                    )
                    for name in names
                    if name != "onnx" or precision == "float32"
                ]
                for row in compare(cases, scratch):
                    table.append(row)
                    progress.say("  ".join(f"{row[name]:>{_wide(name)}}" for name in COLUMNS))
    if FLAGS.csv:
        write_table(FLAGS.csv, table)
    if FLAGS.plot:
        plot(table, FLAGS.plot)
    # bfloat16 has two to three digits.
    others = [row for row in table if row["precision"] == "float32"]
    if any(not row["difference"] <= MOST_DIFFERENCE for row in others):
        progress.say(f"error: pictures differ by more than {MOST_DIFFERENCE}", sys.stderr)
        return 1
    return 0


def _wide(name):
    return max(9, len(name))


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
