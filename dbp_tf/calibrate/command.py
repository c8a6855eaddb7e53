"""Measures a camera's noise from raw files, and writes it down for the other programs.

    python -m dbp_tf.calibrate --dark DARK/*.RAF --flat FLAT/*.RAF --out mycamera.json

--dark: 10 to 20 frames taken with the cap on, of each ISO setting. --flat: frames of an even
surface out of focus, two of each brightness, at some five brightnesses up to three quarters of
saturation. Files, patterns and folders may be named; ISO settings are told apart by the files.

It prints each number with its uncertainty, and writes a JSON file, which the other programs take as
--camera, and a picture of what was measured beside it. Files that are not what they are said to be
are refused: light in a dark frame, a flat frame that clips, no pairs, and the like. Exit code 0:
all is done; 2: bad flags or input, said in one sentence.
"""

import itertools

from absl import flags

from dbp_tf import config, files, progress
from dbp_tf.calibrate import checks, description, frames, measurement, page
from dbp_tf.calibrate.settings import Settings
from dbp_tf.raw import cameras, named_files

FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Settings)


def main() -> None:
    """Measures as the flags say, writes the JSON file and the picture."""
    settings = config.from_flags(FLAGS, Settings)
    folder = settings.out.parent
    files.check_writable(folder, "--out")
    notes: list[str] = []
    flag = "--picture" if settings.picture else "--flat"
    dark, bright, over = (
        frames.find(words, name, settings.iso, notes) if words else {}
        for name, words in (
            ("--dark", settings.dark),
            (flag, settings.picture or settings.flat),
            ("--saturated", settings.saturated),
        )
    )
    saturated = [*itertools.chain.from_iterable(over.values())]
    shots = [shot for group in (dark, bright) for found in group.values() for shot in found]
    named_files.check_distinct(shot.path for shot in [*shots, *saturated])
    checks.enough_darks(dark)
    checks.with_darks(bright, list(dark), flag)

    reader = frames.Reader(settings.overrides)
    measured = [measurement.of_darks(reader, iso, found) for iso, found in dark.items()]
    white = measurement.white_level(reader, saturated, notes)
    for setting in measured:
        if setting.iso in bright:
            measurement.add_gain(setting, reader, bright[setting.iso], flag, white)
    measurement.fill_gains(measured, settings.gain)
    camera = description.camera_of(
        settings.camera_name, reader.first, white, reader.balances, measured, notes
    )
    drawn = _drawn(camera, measured, notes)

    for line in description.lines(camera, reader.first.size, measured):
        progress.say(line)
    for note in dict.fromkeys([*reader.first.notes, *notes]):
        progress.say(f"note: {note}")
    folder.mkdir(parents=True, exist_ok=True)
    if drawn is not None:
        files.write_whole(settings.page, drawn)
        progress.say(f"{settings.page} shows what was measured")
    cameras.save(camera, settings.out)
    progress.say(f"{settings.out} describes the camera")


def _drawn(camera, measured, notes):
    """The picture as a PNG file; None without matplotlib, which is no reason to stop."""
    settings = [(one.iso, one.noise, one.gain, one.points) for one in measured]
    try:
        return page.draw(camera.model, settings)
    except ImportError:
        notes.append(
            "no picture is written: the picture is drawn with matplotlib: pip install "
            '"dbp_tf[figures]"'
        )
        return None
