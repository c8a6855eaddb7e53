"""How fast raw files get into the cache, and training patches out of it.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --camera fuji --short_dir DIR --long_dir DIR --csv table.csv

Without folders of raw files it writes noise of the camera's full size as uncompressed DNG files;
a camera's own files, which are compressed, take longer to decode. The cache is a temporary one,
filled from nothing. Compare the patches a second with benchmarks/training_step.py. Peak memory
is that of the whole process, TensorFlow's own some 600 MB included, but for mapped files.
"""

import itertools
import os
import pathlib
import platform
import sys
import tempfile
import threading
import time

import numpy as np
from absl import flags
from common import processors, write_table

from dbp_tf import cli, environment, progress, simulate
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras

# Rows and columns of the visible areas, see `cameras`.
FULL_SIZE = {"bayer": (2848, 4256), "xtrans": (4032, 6032)}
COLUMNS = ("camera", "what", "per_second", "seconds_each", "peak_mb")

FLAGS = flags.FlagValues()
flags.DEFINE_enum("camera", "sony", list(cameras.CAMERAS), "Camera.", flag_values=FLAGS)
flags.DEFINE_string("short_dir", None, "Folder of the dark frames.", flag_values=FLAGS)
flags.DEFINE_string("long_dir", None, "Folder of the long exposures.", flag_values=FLAGS)
flags.DEFINE_integer("bursts", 2, "Bursts to decode, at the most.", 1, flag_values=FLAGS)
flags.DEFINE_integer("patch", 512, "Side in packed pixels, even.", 2, flag_values=FLAGS)
flags.DEFINE_integer("n_burst", 8, "Frames of a burst.", 1, flag_values=FLAGS)
flags.DEFINE_integer("patches", 50, "Patches timed.", 1, flag_values=FLAGS)
flags.DEFINE_string("csv", None, "Also write the table here.", flag_values=FLAGS)


def main():
    if (FLAGS.short_dir is None) != (FLAGS.long_dir is None):
        raise InputError("--short_dir and --long_dir belong together: give both or none")
    environment.import_tensorflow()
    camera = cameras.camera_named(FLAGS.camera)
    with tempfile.TemporaryDirectory() as scratch:
        folders = FLAGS.short_dir, FLAGS.long_dir
        if FLAGS.short_dir is None:
            folders = write_noise(pathlib.Path(scratch), camera)
        bursts = sid.find_bursts(*folders, camera, "train", FLAGS.n_burst)[: FLAGS.bursts]
        rows = list(measure(bursts, camera, pathlib.Path(scratch) / "cache"))
    progress.say(f"{camera.model}, {platform.node()}: {processors()}")
    progress.say(f"{'':<46}{'a second':>10}{'each':>10}{'peak memory':>14}")
    for _, what, rate, seconds, peak in rows:
        progress.say(f"{what:<46}{rate:>10.2f}{seconds:>8.3f} s{peak / 1000:>11.2f} GB")
    if FLAGS.csv:
        write_table(FLAGS.csv, [dict(zip(COLUMNS, row, strict=True)) for row in rows])


def write_noise(folder, camera):
    """Writes bursts of noise, (folder of the dark frames, folder of the long exposures)."""
    rng, size = np.random.default_rng(0), FULL_SIZE[camera.mosaic]
    for scene in range(FLAGS.bursts):
        for frame in range(FLAGS.n_burst):
            progress.status(f"writing frame {frame} of scene {scene}")
            dark = rng.integers(camera.black, camera.black + 60, size, np.uint16)
            path = folder / f"short/{scene:05d}_{frame:02d}_0.1s{camera.suffix}"
            simulate.write_dng(path, dark, camera)
        bright = rng.integers(camera.black, camera.white, size, np.uint16)
        simulate.write_dng(folder / f"long/{scene:05d}_00_10s{camera.suffix}", bright, camera)
    return folder / "short", folder / "long"


def measure(bursts, camera, cache):
    """Yields the rows of the table."""
    from dbp_tf.data import patches
    from dbp_tf.data.dataset import training_dataset
    from dbp_tf.data.recipe import Recipe
    from dbp_tf.data.sources import prepare

    with PeakMemory() as memory:
        started = time.monotonic()
        sources = prepare(bursts, cache, camera)
        seconds = (time.monotonic() - started) / len(bursts)
    yield FLAGS.camera, "bursts decoded into the cache", 1 / seconds, seconds, memory.peak

    recipe = Recipe("burst", FLAGS.patch, FLAGS.n_burst, shift=4 if camera.mosaic == "bayer" else 0)
    scenes = patches.group_scenes(sources)
    draws = (patches.draw(scenes, recipe, 0, number) for number in itertools.count())
    most = min(FLAGS.n_burst, max(len(one.frames) for one in sources))
    full = (drawn for drawn in draws if len(drawn.frames) == most)
    with PeakMemory() as memory:
        patches.load_patch(next(full), recipe)
        spent = []
        for drawn in itertools.islice(full, FLAGS.patches):
            started = time.monotonic()
            patches.load_patch(drawn, recipe)
            spent.append(time.monotonic() - started)
    what = f"patches of {FLAGS.patch}, {most} frames, one thread"
    yield FLAGS.camera, what, 1 / np.mean(spent), np.mean(spent), memory.peak

    with PeakMemory() as memory:
        stream = iter(training_dataset(sources, camera, recipe, seed=0))
        # What was made ahead before the clock started is not counted.
        for _ in range(8):
            next(stream)
        started = time.monotonic()
        for _ in range(FLAGS.patches):
            next(stream)
        seconds = (time.monotonic() - started) / FLAGS.patches
    what = f"patches of {FLAGS.patch}, 1 to {FLAGS.n_burst} frames, tf.data"
    yield FLAGS.camera, what, 1 / seconds, seconds, memory.peak


class PeakMemory:
    """The most memory, in MB, that the process had to itself while the block ran (Linux)."""

    def __enter__(self):
        self.peak, self._done = 0.0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._watch.join()

    def _look(self):
        statm = pathlib.Path("/proc/self/statm")
        while statm.exists():
            resident, shared = map(int, statm.read_text().split()[1:3])
            self.peak = max(self.peak, (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6)
            if self._done.wait(0.01):
                return


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
