"""Restores your own dark photographs: raw files of any Bayer or X-Trans camera.

    python -m dbp_tf.photos IMG_1.dng IMG_2.dng
    python -m dbp_tf.photos burst/*.dng
    python -m dbp_tf.photos holiday/ --burst_gap 5 --result_dir results/holiday

Files and folders are named as plain words. All files that are named are one burst: they show one
scene. A folder's own raw files are a burst as well, and those of each folder in it another. If
several bursts lie side by side in one folder, --burst_gap parts them where the camera paused for
longer. A single file is a burst of one frame. The command says which files are not used.

Each burst becomes one picture in --result_dir: BURST.png, named after its folder or, if its files
were named or parted by --burst_gap, after its first frame. Black and white level, colour filters
and white balance are those of the file, the exposure ratio is found in the raw signal; what was
used is printed. Exit code 0: all is done; 1: with --keep_going, something was left out; 2: bad
flags or input, said in one sentence.
"""

from absl import flags

from dbp_tf import cli, config, files, progress
from dbp_tf.photos import bursts, looking, photographs
from dbp_tf.photos.settings import Settings
from dbp_tf.restore import checkpoints

FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Settings)


def main(names: list[str]) -> int:
    """Restores the bursts that files and folders make up; returns the exit code."""
    settings = config.from_flags(FLAGS, Settings)
    files.check_writable(settings.result_dir)
    problems: list[str] = []
    found, notes = bursts.find_bursts(
        names, settings.burst_gap, problems=problems if settings.keep_going else None
    )
    for note in notes:
        progress.say(f"note: {note}")
    found = found[: settings.limit]
    if settings.resume:
        todo = [burst for burst in found if not looking.has_picture(burst, settings)]
        progress.say(f"{len(found) - len(todo)} of {len(found)} bursts are done already.")
        found = todo
    looking.check(found, settings)

    def load():
        return checkpoints.load(
            settings.checkpoint, settings.camera, settings.mode, settings.precision
        )[0]

    failures = photographs.restore_all(load, found, settings)
    return cli.report_failures(failures, len(found), problems)
