"""Restores dark bursts and scores them: the published evaluation.

    python test_burst.py
    python test_burst.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --checkpoint checkpoints/Sony/burst_l1_res_se_motion_cx --result_dir results/sony

The first line restores the bundled sample, the second one the test split of a dataset. Every
burst gives a picture IIIII_00_RRR_out.png (scene, exposure ratio), its truth IIIII_00_RRR_gt.png
and a row in metrics.csv; at the end come the table of averages and results.npy. A run that was
stopped goes on with --resume. Exit code 0: all is done; 1: with --keep_going, some burst could
not be restored; 2: bad flags or input, said in one sentence.
"""

import pathlib
import sys

from absl import flags

from dbp_tf import cameras, cli, evaluation, modes, progress, results, sid

CHECKPOINTS = pathlib.Path(__file__).parent / "checkpoints"
UNTRAINED = """\
*** UNTRAINED NETWORK ***
There are no weights in {folder} and none were given with --checkpoint, so
the network has random ones. Expect nearly black pictures with faint outlines at most, and
figures that mean nothing: this only shows that reading, restoring, writing and scoring work."""

FLAGS = flags.FlagValues()


def _define(kind, name, default, text, **limits):
    kind(name=name, default=default, help=text, flag_values=FLAGS, **limits)


_define(
    flags.DEFINE_enum,
    "camera",
    "sony",
    "Camera of the raw files.",
    enum_values=list(cameras.CAMERAS),
)
_define(
    flags.DEFINE_string,
    "short_dir",
    None,
    "Folder of the dark bursts, IIIII_NN_Ts.ARW or .RAF. Without it, the bundled sample is "
    "restored.",
)
_define(
    flags.DEFINE_string,
    "long_dir",
    None,
    "Folder of the long exposures: they give the ratio and the truth.",
)
_define(
    flags.DEFINE_enum,
    "split",
    "test",
    "Part of the dataset: scenes 0xxxx train, 1xxxx test, 2xxxx validation.",
    enum_values=list(sid.SPLITS),
)
_define(
    flags.DEFINE_float,
    "ratio",
    None,
    "Exposure ratio of bursts without a long exposure; they are restored but not scored.",
    lower_bound=1,
    upper_bound=sid.MAX_RATIO,
)
_define(
    flags.DEFINE_string,
    "checkpoint",
    None,
    "Folder (or prefix) of the weights, released or this project's own. Without it, "
    "checkpoints/<camera>_small if it is there, else random weights.",
)
_define(flags.DEFINE_integer, "n_burst", 8, "Frames of a burst to use at the most.", lower_bound=1)
_define(
    flags.DEFINE_enum,
    "mode",
    "burst",
    "; ".join(f"{name}: {mode.help}" for name, mode in modes.MODES.items()) + ".",
    enum_values=list(modes.MODES),
)
_define(
    flags.DEFINE_enum,
    "reference_frame",
    None,
    "Frame whose finest detail is kept. By default as the published evaluation of the camera: "
    + ", ".join(f"{c.name} {c.reference_frame}" for c in cameras.CAMERAS.values())
    + ".",
    enum_values=["first", "center"],
)
_define(
    flags.DEFINE_string,
    "result_dir",
    "results",
    "Folder for the pictures and figures, new or empty unless --resume.",
)
_define(flags.DEFINE_integer, "limit", None, "Only the first so many bursts.", lower_bound=1)
_define(
    flags.DEFINE_bool,
    "resume",
    False,
    "Go on in --result_dir: bursts that are in metrics.csv and have their picture are left out.",
)
_define(
    flags.DEFINE_bool,
    "keep_going",
    False,
    "Skip bursts that cannot be restored, list them at the end and exit with code 1.",
)
_define(flags.DEFINE_bool, "png16", False, "Write pictures of 16 bit instead of 8.")
_define(
    flags.DEFINE_string,
    "lpips_graph",
    None,
    "Frozen LPIPS graph; by default ~/.lpips/net-lin_alex_v0.1.pb if it is there.",
)


def _is_folder(path):
    return path is None or pathlib.Path(path).is_dir()


for _name in ("short_dir", "long_dir"):
    flags.register_validator(_name, _is_folder, "there is no such folder", flag_values=FLAGS)
flags.register_validator(
    "lpips_graph",
    lambda path: path is None or pathlib.Path(path).is_file(),
    "there is no such file",
    flag_values=FLAGS,
)
flags.register_multi_flags_validator(
    ["short_dir", "long_dir", "ratio"],
    lambda values: values["short_dir"] or not (values["long_dir"] or values["ratio"]),
    "--long_dir and --ratio belong to the bursts of --short_dir: give that too",
    flag_values=FLAGS,
)

flags.register_multi_flags_validator(
    ["short_dir", "long_dir", "ratio"],
    lambda values: not values["short_dir"] or values["long_dir"] or values["ratio"],
    "--short_dir needs --long_dir beside it, or --ratio if there are no long exposures",
    flag_values=FLAGS,
)


def main():
    camera = cameras.camera_named(FLAGS.camera)
    folder = pathlib.Path(FLAGS.result_dir)
    results.check_folder(folder, FLAGS.resume)
    if FLAGS.short_dir:
        bursts = sid.find_bursts(
            FLAGS.short_dir, FLAGS.long_dir, camera, FLAGS.split, FLAGS.n_burst, FLAGS.ratio
        )
    else:
        bursts = evaluation.sample_bursts(folder / results.SAMPLE, camera, FLAGS.n_burst)
    bursts = bursts[: FLAGS.limit]
    pictures = evaluation.pictures_of(folder, bursts)

    cli.import_tensorflow()
    # These import TensorFlow, which is slow and, if not told otherwise, talkative.
    from dbp_tf import lpips, pretrained, spec

    checkpoint = FLAGS.checkpoint or CHECKPOINTS / f"{camera.name}_small"
    warning = None
    if FLAGS.checkpoint or checkpoint.is_dir():
        model = pretrained.load_pretrained(checkpoint)
    else:
        warning = UNTRAINED.format(folder=f"checkpoints/{checkpoint.name}")
        progress.say(f"{warning}\n")
        checkpoint = None
        model = pretrained.untrained(
            spec.NetworkSpec(
                channels=camera.channels, scale=camera.scale, width=8, residual_blocks=2
            )
        )
    evaluation.check_model(model, camera, FLAGS.mode)
    graph = lpips.find_graph(FLAGS.lpips_graph)
    if graph is None:
        progress.say(lpips.HOW_TO_GET)

    reference_frame = FLAGS.reference_frame or camera.reference_frame
    used = FLAGS.flag_values_dict() | {
        "reference_frame": reference_frame,
        "checkpoint": checkpoint,
        "lpips_graph": graph,
    }
    done = results.begin(folder, evaluation.settings_of(used, model), pictures, FLAGS.resume)
    rows, failures = evaluation.evaluate(
        model,
        bursts,
        camera,
        folder,
        done,
        keep_going=FLAGS.keep_going,
        mode=FLAGS.mode,
        reference_frame=reference_frame,
        lpips=lpips.load_lpips(graph) if graph else None,
        bits=16 if FLAGS.png16 else 8,
    )
    progress.say("\n" + results.table(rows))
    progress.say(evaluation.where_to_look(folder, bursts))
    if warning:
        progress.say(f"\n{warning}")
    if failures:
        progress.say("\n" + evaluation.failure_list(failures, len(bursts)), sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
