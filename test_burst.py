"""Restores dark bursts and scores them: the published evaluation.

    python test_burst.py
    python test_burst.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --checkpoint checkpoints/Sony/burst_l1_res_se_motion_cx --result_dir results/sony

The first line restores the bundled sample, the second one the test split of a dataset. Every burst
gives a picture IIIII_00_RRR_out.png (scene, exposure ratio), its truth IIIII_00_RRR_gt.png and a
row in metrics.csv; at the end come the table of averages and results.npy. A run that was stopped
goes on with --resume. Exit code 0: all is done; 1: with --keep_going, something was left out; 2:
bad flags or input, said in one sentence. Your own photographs have a command of their own:
python -m dbp_tf.photos.
"""

import functools
import pathlib
import sys

from absl import flags

from dbp_tf import cli, progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import figures, protocol, results
from dbp_tf.models.reference import REFERENCE_FRAMES
from dbp_tf.raw import cameras
from dbp_tf.restore import checkpoints, modes


class Moved(flags.ArgumentParser):
    """A flag that is no longer here: any value is answered with where it went."""

    def __init__(self, where):
        self._where = where

    def parse(self, argument):
        raise ValueError(self._where)


FLAGS = flags.FlagValues()


_define = functools.partial(cli.define, FLAGS)


_define(
    flags.DEFINE_enum,
    "camera",
    "sony",
    "Camera of the raw files.",
    enum_values=list(cameras.CAMERAS),
    topic="Dataset",
)
_define(
    cli.DEFINE_path,
    "short_dir",
    None,
    "Folder of the dark bursts, IIIII_NN_Ts.ARW or .RAF. Without it, the bundled sample is "
    "restored.",
    must_be="folder",
    topic="Dataset",
)
_define(
    cli.DEFINE_path,
    "long_dir",
    None,
    "Folder of the long exposures: they give the ratio and the truth.",
    must_be="folder",
    topic="Dataset",
)
_define(
    flags.DEFINE_enum,
    "split",
    "test",
    "Part of the dataset: scenes 0xxxx train, 1xxxx test, 2xxxx validation.",
    enum_values=list(sid.SPLITS),
    topic="Dataset",
)
_define(
    flags.DEFINE_float,
    "ratio",
    None,
    "Exposure ratio of bursts without a long exposure, which cannot do without; they are restored "
    "but not scored.",
    lower_bound=1,
    upper_bound=sid.MAX_RATIO,
    topic="Dataset",
)
cli.finite("ratio", FLAGS)
_define(
    cli.DEFINE_path,
    "checkpoint",
    None,
    "Folder (or prefix) of the weights, released or this project's own. By default "
    "checkpoints/<camera>_small, the small ones that come with the project.",
    topic="Network",
)
_define(
    flags.DEFINE_list,
    "n_burst",
    None,
    "Frames of a burst to use at the most; 8 by default. With --figure frames several with commas "
    f"between them; {','.join(map(str, figures.DEFAULT_COUNTS))} by default.",
    topic="Network",
)
_define(
    flags.DEFINE_enum,
    "mode",
    "burst",
    "; ".join(f"{name}: {mode.help}" for name, mode in modes.MODES.items()) + ".",
    enum_values=list(modes.MODES),
    topic="Network",
)
_define(
    flags.DEFINE_enum,
    "reference_frame",
    None,
    "Frame whose finest detail the revised version of the network keeps. By default as the "
    "published evaluation of the camera: "
    + ", ".join(f"{c.name} {c.reference_frame}" for c in cameras.CAMERAS.values())
    + ".",
    enum_values=list(REFERENCE_FRAMES),
    topic="Network",
)
_define(
    flags.DEFINE_enum,
    "precision",
    "float32",
    "What the networks compute in. bfloat16 differs by less than eight bits show and saves memory, "
    "and time where the processor or GPU has instructions for it.",
    enum_values=["float32", "bfloat16"],
    topic="Network",
)
_define(
    flags.DEFINE_bool,
    "stripes",
    True,
    "Compute the two large levels of the networks in stripes: much less memory for the "
    "same picture. Without effect on the SID baseline.",
    topic="Network",
)
_define(
    cli.DEFINE_path,
    "result_dir",
    None,
    "Folder for the pictures and figures, new or empty unless --resume. By default in results: "
    "<camera>_<split>_<mode> of a dataset, or sample_<camera>.",
    topic="Results",
)
_define(
    flags.DEFINE_integer,
    "limit",
    None,
    "Only the first so many bursts.",
    lower_bound=1,
    topic="Dataset",
)
_define(
    flags.DEFINE_bool,
    "resume",
    False,
    "Go on in --result_dir: bursts that are in metrics.csv and have their picture are left out.",
    topic="Results",
)
_define(
    flags.DEFINE_bool,
    "keep_going",
    False,
    "Skip bursts that cannot be restored and files that cannot be told to belong to one, list "
    "them at the end and exit with code 1.",
    topic="Results",
)
_define(
    flags.DEFINE_bool, "png16", False, "Write pictures of 16 bit instead of 8.", topic="Results"
)
_define(
    cli.DEFINE_path,
    "lpips_graph",
    None,
    "Frozen LPIPS graph; by default ~/.lpips/net-lin_alex_v0.1.pb if it is there.",
    must_be="file",
    topic="Results",
)
_define(
    flags.DEFINE_enum,
    "figure",
    None,
    "A figure of each burst as well, beside its picture; "
    + "; ".join(f"{name}: {text}" for name, text in figures.FIGURES.items())
    + ".",
    enum_values=list(figures.FIGURES),
    topic="Figures",
)
_define(
    flags.DEFINE_string,
    "box",
    None,
    "Detail that --figure panel or teaser enlarges: row,column,rows,columns in pixels of the "
    "picture. By default where there is most of it.",
    topic="Figures",
)
_define(
    cli.DEFINE_path,
    "sid_checkpoint",
    None,
    "Folder of the SID baseline's weights, for its two pictures in --figure teaser.",
    topic="Figures",
)
_define(
    flags.DEFINE_bool,
    "report",
    False,
    "At the end, write report.html: figures, plots and pictures of --result_dir on one page.",
    topic="Results",
)
_define(
    flags.DEFINE,
    "burst",
    None,
    "Gone: python -m dbp_tf.photos FILE_OR_FOLDER... restores your own photographs.",
    parser=Moved(
        "your own photographs have a command of their own: python -m dbp_tf.photos IMG_1.dng "
        "IMG_2.dng, or a folder"
    ),
    topic="Moved",
)


for _names, _holds, _said in (
    (
        ["n_burst", "figure"],
        lambda values: len(values["n_burst"] or []) < 2 or values["figure"] == "frames",
        "several numbers in --n_burst belong to --figure frames: give that too, or one number",
    ),
    (
        ["box", "figure"],
        lambda values: values["box"] is None or values["figure"] in ("panel", "teaser"),
        "--box belongs to --figure panel or teaser: give that too",
    ),
    (
        ["sid_checkpoint", "figure"],
        lambda values: values["sid_checkpoint"] is None or values["figure"] == "teaser",
        "--sid_checkpoint belongs to --figure teaser: give that too",
    ),
    (
        ["mode", "figure"],
        lambda values: values["figure"] is None or values["mode"] == "burst",
        "--figure shows what --mode burst restores: leave out the other mode",
    ),
):
    flags.register_multi_flags_validator(_names, _holds, _said, flag_values=FLAGS)
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


def result_folder(camera):
    """--result_dir, by default a folder in results that says what is restored."""
    if FLAGS.result_dir is not None:
        return pathlib.Path(FLAGS.result_dir)
    if FLAGS.short_dir:
        name = f"{camera.name}_{FLAGS.split}_{FLAGS.mode}"
    else:
        name = f"sample_{camera.name}"
    return pathlib.Path("results") / name


def make_figure(camera, box, counts, lpips):
    """The figure of --figure, None without it."""
    if FLAGS.figure == "panel":
        return figures.Panel(box)
    if FLAGS.figure == "teaser":
        sid_baseline = None
        if FLAGS.sid_checkpoint:
            from dbp_tf.restore import pretrained

            sid_baseline = pretrained.load_pretrained(FLAGS.sid_checkpoint, FLAGS.precision)
            figures.check_baseline(sid_baseline, camera)
        return figures.Teaser(box, sid_baseline)
    return figures.Frames(counts, lpips) if FLAGS.figure == "frames" else None


def load_model(camera):
    """(networks with weights, the folder of these)."""
    model, checkpoint = checkpoints.load(FLAGS.checkpoint, camera, FLAGS.mode, FLAGS.precision)
    if FLAGS["reference_frame"].present and not model.spec.refers:
        raise InputError(
            f"--reference_frame means nothing to the weights in {checkpoint}: to the first version "
            f"of the network all frames are alike, and the SID baseline sees one; leave it out"
        )
    return model, checkpoint


def compute():
    """What of the flags says how the networks compute, see `Enhancer.enhance`."""
    return {} if FLAGS.stripes else {"stripe_columns": None}


def main():
    camera = cameras.camera_named(FLAGS.camera)
    folder = result_folder(camera)
    counts = figures.DEFAULT_COUNTS if FLAGS.figure == "frames" else (8,)
    if FLAGS.n_burst is not None:
        counts = figures.parse_counts(FLAGS.n_burst)
    n_burst = max(counts)
    if FLAGS["split"].present and not FLAGS.short_dir:
        raise InputError("--split belongs to the bursts of --short_dir: give that too")
    box = None if FLAGS.box is None else figures.parse_box(FLAGS.box)
    results.check_folder(folder, FLAGS.resume)
    problems = []
    if FLAGS.short_dir:
        bursts = sid.find_bursts(
            FLAGS.short_dir,
            FLAGS.long_dir,
            camera,
            FLAGS.split,
            n_burst,
            FLAGS.ratio,
            limit=FLAGS.limit,
            problems=problems if FLAGS.keep_going else None,
        )
    else:
        bursts = protocol.sample_bursts(folder / results.SAMPLE, camera, n_burst)
    pictures = protocol.pictures_of(folder, bursts)
    if not FLAGS.keep_going:
        sid.check_files(bursts, camera)
    if FLAGS.figure == "frames":
        figures.check_frames(bursts)

    model, checkpoint = load_model(camera)
    from dbp_tf.evaluation import lpips

    graph = lpips.find_graph(FLAGS.lpips_graph)
    if graph is None:
        progress.say(lpips.HOW_TO_GET)
    distance = lpips.load_lpips(graph) if graph else None
    figure = make_figure(camera, box, counts, distance)

    reference_frame = FLAGS.reference_frame or model.reference_frame_for(camera)
    used = FLAGS.flag_values_dict() | {
        "result_dir": folder,
        "n_burst": n_burst,
        "reference_frame": reference_frame,
        "checkpoint": checkpoint,
        "lpips_graph": graph,
    }
    settings = protocol.settings_of(used, model)
    redo = figure.unfinished(folder, bursts) if figure else ()
    done = results.begin(folder, settings, pictures, FLAGS.resume, redo)
    rows, failures = protocol.evaluate(
        model,
        bursts,
        camera,
        folder,
        done,
        keep_going=FLAGS.keep_going,
        work=protocol.Work(
            mode=FLAGS.mode,
            reference_frame=reference_frame,
            lpips=distance,
            bits=16 if FLAGS.png16 else 8,
            figure=figure,
            compute=compute(),
        ),
    )
    progress.say("\n" + results.table(rows))
    progress.say(protocol.where_to_look(folder, bursts))
    if figure:
        progress.say(figure.finish(folder))
    if FLAGS.report and rows:
        from dbp_tf.report import result_page

        progress.say(f"The report is {result_page.write(folder, bursts, camera)}")
    return cli.report_failures(failures, len(bursts), problems)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
