"""Restores your own dark photographs: raw files of any Bayer or X-Trans camera.

    python -m dbp_tf.photos IMG_1.dng IMG_2.dng
    python -m dbp_tf.photos burst/*.dng
    python -m dbp_tf.photos holiday/ --burst_gap 5 --result_dir results/holiday

Files and folders are named as plain words. All files that are named are one burst: they show one
scene. A folder's own raw files are a burst as well, and those of each folder in it another. Of a
folder in which several bursts lie side by side, --burst_gap makes one burst of what was taken
without a longer pause. A single file is a burst of one frame.

Each burst becomes one picture in --result_dir: BURST.png, named after its folder or, if its files
were named or parted by --burst_gap, after its first frame. Black and white level, colour filters
and white balance are those of the file, the exposure ratio is found in the raw signal; what was
used is printed. Exit code 0: all is done; 1: with --keep_going, something was left out; 2: bad
flags or input, said in one sentence.
"""

import functools
import pathlib

from absl import flags

from dbp_tf import cli, files, pictures, progress
from dbp_tf.errors import InputError
from dbp_tf.photos import alignment, bursts, photographs
from dbp_tf.raw import cameras, overrides, packing, white_balance
from dbp_tf.restore import checkpoints, modes


class RatioParser(flags.ArgumentParser):
    """ "auto" or a number."""

    syntactic_help = 'a number or "auto"'

    def __init__(self, least, most):
        self._number = flags.FloatParser(least, most)

    def parse(self, argument):
        return argument if argument == "auto" else self._number.parse(argument)

    def flag_type(self):
        return "ratio"


FLAGS = flags.FlagValues()
_define = functools.partial(cli.define, FLAGS)

_define(
    flags.DEFINE_enum,
    "camera",
    "sony",
    "Camera the weights were trained on: its mosaic, Bayer or X-Trans, is that of the raw files. "
    + ", ".join(f"{c.name}: {c.mosaic}" for c in cameras.CAMERAS.values())
    + ".",
    enum_values=list(cameras.CAMERAS),
    topic="Network",
)
_define(
    cli.DEFINE_path,
    "checkpoint",
    None,
    "Folder (or prefix) of the weights, released or this project's own. By default "
    "checkpoints/<camera>_small, the small ones that come with the project.",
    topic="Network",
)
_define(
    cli.DEFINE_path,
    "result_dir",
    "results/photographs",
    "Folder for the pictures; made if it is missing.",
    topic="Pictures",
)
_define(
    flags.DEFINE_enum,
    "format",
    "png",
    "; ".join(f"{name}: {kind.help}" for name, kind in pictures.FORMATS.items()) + ".",
    enum_values=list(pictures.FORMATS),
    topic="Pictures",
)
_define(
    flags.DEFINE_float,
    "burst_gap",
    None,
    "A pause of more seconds between two frames, from the end of one to the start of the next, "
    "begins a new burst.",
    lower_bound=0,
    topic="Frames",
)
_define(
    flags.DEFINE_integer,
    "n_burst",
    8,
    "Frames of a burst to use at the most, the first ones.",
    lower_bound=1,
    topic="Frames",
)
_define(
    flags.DEFINE_integer,
    "limit",
    None,
    "Only the first so many bursts.",
    lower_bound=1,
    topic="Frames",
)
_define(
    flags.DEFINE,
    "ratio",
    "auto",
    "Exposure ratio, by which the frames are brightened; auto: found in the raw signal. Give it "
    "for what is dark by nature, such as a night sky: 20 to 100.",
    parser=RatioParser(1, packing.MAX_RATIO),
    topic="Brightness and colour",
)
cli.finite("ratio", FLAGS)
_define(
    flags.DEFINE_string,
    "white_balance",
    white_balance.DEFAULT,
    "camera scales the colours from the file's multipliers to those of the camera the weights "
    "were trained on, and estimates them where the file notes none; auto always estimates them, "
    "R,G,B gives them, none leaves the colours.",
    topic="Brightness and colour",
)
_define(
    flags.DEFINE_list,
    "black",
    None,
    "Black level in DN instead of the file's: one number, R,G,B or, for Bayer, R,G,B,G (the "
    "greens beside red and beside blue).",
    topic="Facts instead of the file's",
)
_define(
    flags.DEFINE_float,
    "white",
    None,
    "White level in DN instead of the file's.",
    lower_bound=1,
    upper_bound=65535,
    topic="Facts instead of the file's",
)
_define(
    flags.DEFINE_string,
    "pattern",
    None,
    "Colour filters of the active area instead of the file's, such as RGGB.",
    topic="Facts instead of the file's",
)
_define(
    flags.DEFINE_list,
    "active_area",
    None,
    "TOP,LEFT,ROWS,COLUMNS of the sensor to use instead of the file's.",
    topic="Facts instead of the file's",
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
    "Frame to which the others are aligned and whose finest detail the revised version of the "
    "network keeps. By default as the published evaluation of the camera: "
    + ", ".join(f"{c.name} {c.reference_frame}" for c in cameras.CAMERAS.values())
    + ".",
    enum_values=list(alignment.REFERENCES),
    topic="Network",
)
_define(flags.DEFINE_bool, "align", True, "Undo the shake of the hand.", topic="Frames")
_define(
    flags.DEFINE_bool,
    "motion_mask",
    True,
    "Where something moves, use the reference frame alone.",
    topic="Frames",
)
_define(flags.DEFINE_bool, "keep_all", False, "Use even frames that do not match.", topic="Frames")
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
    "Compute the two large levels of the networks in stripes: much less memory for the same "
    "picture. Without effect on the SID baseline.",
    topic="Network",
)
_define(flags.DEFINE_bool, "overwrite", False, "Replace pictures that are there.", topic="Pictures")
_define(
    flags.DEFINE_bool,
    "resume",
    False,
    "Leave out bursts that have their picture already.",
    topic="Pictures",
)
_define(
    flags.DEFINE_bool,
    "keep_going",
    False,
    "Skip bursts that cannot be restored and files that cannot be told to belong to one, list "
    "them at the end and exit with code 1.",
    topic="Pictures",
)


def main(names):
    """Restores the bursts that files and folders make up; returns the exit code."""
    if FLAGS.resume and FLAGS.overwrite:
        raise InputError("--resume keeps pictures that --overwrite replaces: give one of them")
    if FLAGS.keep_all and not FLAGS.align:
        raise InputError(
            "--keep_all means nothing with --noalign, which leaves out no frame: leave out one of "
            "them"
        )
    balance = white_balance.parse(FLAGS.white_balance)
    given = overrides.parse(FLAGS.black, FLAGS.white, FLAGS.pattern, FLAGS.active_area)
    camera = cameras.camera_named(FLAGS.camera)
    files.check_writable(FLAGS.result_dir)
    problems, failures = [], []
    found = bursts.find_bursts(
        [*map(files.expand, names)],
        FLAGS.burst_gap,
        problems=problems if FLAGS.keep_going else None,
    )[: FLAGS.limit]
    found = _without_done(found) if FLAGS.resume else found
    photographs.check_paths(FLAGS.result_dir, found, FLAGS.format, FLAGS.overwrite)
    if found:
        model, _ = checkpoints.load(FLAGS.checkpoint, camera, FLAGS.mode, FLAGS.precision)
        failures = photographs.restore_all(
            model,
            found,
            camera,
            pathlib.Path(FLAGS.result_dir),
            keep_going=FLAGS.keep_going,
            mode=FLAGS.mode,
            reference_frame=FLAGS.reference_frame or camera.reference_frame,
            n_burst=FLAGS.n_burst,
            ratio=None if FLAGS.ratio == "auto" else FLAGS.ratio,
            balance=balance,
            overrides=given,
            align=FLAGS.align,
            motion_mask=FLAGS.motion_mask,
            keep_all=FLAGS.keep_all,
            kind=FLAGS.format,
            overwrite=FLAGS.overwrite,
            **({} if FLAGS.stripes else {"stripe_columns": None}),
        )
    return cli.report_failures(failures, len(found), problems)


def _without_done(found):
    """The bursts that have no picture yet."""
    todo = [
        burst
        for burst in found
        if not photographs.picture_path(FLAGS.result_dir, burst, FLAGS.format).exists()
    ]
    progress.say(f"{len(found) - len(todo)} of {len(found)} bursts are done already.")
    return todo
