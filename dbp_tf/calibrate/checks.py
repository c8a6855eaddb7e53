"""Whether frames are what they are said to be. A frame that is not is refused by its name."""

from collections.abc import Sequence

import numpy as np

from dbp_tf.calibrate import darks, sites, transfer
from dbp_tf.calibrate.frames import Frame
from dbp_tf.errors import InputError
from dbp_tf.raw import mosaics, packing
from dbp_tf.raw.exif import Shot

# A dark frame's own number and what is recommended.
LEAST_DARKS = 4

# Read noise below this many steps of the raw values is lost in their rounding.
_LEAST_NOISE = 0.4

# Share of the pixels that may have the lowest value of all: noise thins out, a cut does not.
_MOST_AT_FLOOR = 0.01

# By how many standard deviations of the read noise, and by how many DN at the least, a place of a
# dark frame may be brighter than it is in the others, or than the rest of all frames, or a colour
# than the others, before it is light. A sensor's black level drifts by less from frame to frame,
# and its fixed shading is less than a pixel's noise.
_MOST_APART = 0.5, 0.75
_MOST_SHADING = 1.0, 1.5

# How far dark frames may lie above or below the black level, as a share of the range.
_MOST_OFF_BLACK = 0.01

# Correlation of neighbours' noise, in a row or a column: more is remarked on, far more is refused.
_SOME_LIKENESS, _MOST_LIKENESS = 0.05, 0.25

# Share of a flat frame's pixels that may be saturated, beside those that are hot.
_MOST_CLIPPED = 0.005

# Relative difference of the places of two frames that are a pair.
_MOST_UNLIKE = 0.1

# Electrons of a pixel in a bright frame; the largest pixels of any camera hold some 200 000. The
# signal is asked and not the white level, which a file may state for more bits than the camera has.
_MOST_ELECTRONS = 3e5

# Relative difference of one pair's gain from the others', in their errors too.
_MOST_OFF, _MOST_OFF_SIGMAS = 0.25, 5


def names(frames: Sequence[Frame | Shot]) -> str:
    """The files, as text; of many, some."""
    paths = [str(frame.path) for frame in frames]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def enough_darks(shots: dict[float, list[Shot]]) -> None:
    """Raises InputError if there are too few dark frames of an ISO setting."""
    for iso, found in shots.items():
        if len(found) < LEAST_DARKS:
            count = "one dark frame" if len(found) == 1 else f"{len(found)} dark frames"
            raise InputError(
                f"--dark: only {count} of ISO {iso:g} ({names(found)}): give 10 to 20 of "
                f"each ISO setting, {LEAST_DARKS} at the least, or leave this setting out"
            )


def with_darks(shots: dict[float, list[Shot]], isos: Sequence[float], flag: str) -> None:
    """Raises InputError if there are frames of a setting without dark ones."""
    for iso, found in shots.items():
        if iso not in isos:
            raise InputError(
                f"{flag}: {names(found)} are of ISO {iso:g}, but the dark frames are of ISO "
                f"{', '.join(f'{one:g}' for one in isos)}: give dark frames of that setting too, "
                f"or leave them out"
            )


def dark(frames: Sequence[Frame], noise: darks.DarkNoise) -> list[str]:
    """Looks at dark frames of one ISO setting.

    Returns:
      Sentences about what looks odd.

    Raises:
      InputError: there is light in a frame, the noise is cut off, or there is none.
    """
    read = float(noise.read.value)
    setting = f"ISO {frames[0].shot.iso:g}"
    _check_light(frames, noise, setting)
    if read < _LEAST_NOISE * noise.step:
        raise InputError(
            f"the dark frames of {setting} ({names(frames)}) have hardly any noise ({read:.2g} DN, "
            f"less than rounding): they are averaged, processed or made up; or, if they come "
            f"straight from the camera, give those of a higher ISO setting"
        )
    if noise.floor > _MOST_AT_FLOOR:
        raise InputError(
            f"the dark frames of {setting} ({names(frames)}) are cut off below: "
            f"{100 * noise.floor:.0f} % of their pixels have the lowest value, so that half their "
            f"noise is lost; switch off the camera's noise reduction for long exposures, and "
            f"convert no files; some cameras always cut at black, and cannot be calibrated"
        )
    notes = []
    if noise.likeness > _MOST_LIKENESS:
        raise InputError(
            f"the noise of neighbours in the dark frames of {setting} ({names(frames)}) is alike "
            f"(correlation {noise.likeness:.2f}): the raw files were smoothed; switch off the "
            f"camera's noise reduction, and convert no files"
        )
    if noise.likeness > _SOME_LIKENESS:
        notes.append(
            f"the noise of neighbours is a little alike (correlation {noise.likeness:.2f}): the "
            f"camera smooths its raw files or compresses them with loss, which makes gain and read "
            f"noise too small by up to twice that share, or has banding by colour"
        )
    exposures = sorted({frame.shot.exposure for frame in frames if frame.shot.exposure})
    if len(exposures) > 1:
        notes.append(
            f"the dark frames were exposed for {exposures[0]:g} to {exposures[-1]:g} s: best give "
            f"those of the exposure that you will photograph with"
        )
    return notes


def _check_light(frames, noise, setting):
    read = float(noise.read.value)
    level = noise.level.mean()
    span = frames[0].white - frames[0].black.mean()
    most = max(_MOST_OFF_BLACK * span, 2 * read)
    what_to_do = "put the cap on, cover the viewfinder, and take them again in the dark"
    if level > most:
        raise InputError(
            f"the dark frames of {setting} ({names(frames)}) lie {level:.3g} DN above the black "
            f"level {frames[0].black.mean():g}, so there is light in them (or --dark and --flat "
            f"were swapped, or the level is wrong: give --black): {what_to_do}"
        )
    if level < -most:
        raise InputError(
            f"the dark frames of {setting} ({names(frames)}) lie {-level:.3g} DN below the black "
            f"level {frames[0].black.mean():g}, which no frame does: give the right --black"
        )
    shifts = np.median(noise.blocks, axis=(1, 2))
    apart = max(_MOST_APART[0] * read, _MOST_APART[1])
    if np.ptp(shifts) > apart:
        lit, least = frames[int(np.argmax(shifts))], frames[int(np.argmin(shifts))]
        raise InputError(
            f"{lit.path} is {np.ptp(shifts):.3g} DN brighter than {least.path}, and both are to be "
            f"dark frames of {setting}: light fell into it; {what_to_do}"
        )
    places = noise.blocks - shifts[:, np.newaxis, np.newaxis]
    leaks = (places - np.median(places, axis=0)).max((1, 2))
    usual = sites.robust_spread(places - np.median(places, axis=0))
    if leaks.max() > max(2 * apart, 8 * usual):
        raise InputError(
            f"{frames[int(np.argmax(leaks))].path} is {leaks.max():.3g} DN brighter at one place "
            f"than the other dark frames of {setting}: light fell into it; {what_to_do}"
        )
    shading = max(_MOST_SHADING[0] * read, _MOST_SHADING[1])
    colours = noise.black_error.value
    low, high = np.quantile(np.median(places, axis=0), [0.02, 0.98])
    for difference, where in ((high - low, "from place to place"), (np.ptp(colours), "by colour")):
        if difference > shading:
            raise InputError(
                f"the dark frames of {setting} ({names(frames)}) differ by {difference:.3g} DN "
                f"{where}, so there is light in them: {what_to_do}"
            )


def flat(frame: Frame, noise: darks.DarkNoise, white: float) -> None:
    """Raises InputError if a flat frame clips, at `white` or below it, or is dark."""
    good = noise.good
    filters = mosaics.colour_indices(frame.layout.colours)
    colours = mosaics.spread(filters, frame.samples.shape)
    signal = sites.means(frame.samples, good, frame.layout.period) - frame.black - noise.level
    if signal.max() < noise.read.value:
        raise InputError(
            f"{frame.path}, of --flat, is no brighter than the dark frames of ISO "
            f"{frame.shot.iso:g}: give frames of an evenly lit surface (or were --dark and --flat "
            f"swapped?)"
        )
    for colour, name in enumerate(("red", "green", "blue")):
        samples = frame.samples[good & (colours == colour)]
        top = int(samples.max())
        saturated = np.mean(samples >= packing.SATURATED * white)
        piled = np.mean(samples == top)
        if max(saturated, piled) > _MOST_CLIPPED:
            at = f"at its highest value {top}, below white level {white:g}"
            at = f"at white level {white:g}" if saturated > _MOST_CLIPPED else at
            raise InputError(
                f"{frame.path}, of --flat, clips: {100 * max(saturated, piled):.0f} % of its "
                f"{name} pixels are {at}; expose it less, or leave it and its partner out"
            )


def pair(frames: tuple[Frame, Frame], found: transfer.Pair, flag: str) -> None:
    """Raises InputError if two frames of one exposure are no pair."""
    both = f"{frames[0].path} and {frames[1].path}, of {flag},"
    if not found.points:
        raise InputError(
            f"{both} have too few places with light that is not saturated: give brighter ones, or "
            f"darker ones"
        )
    if flag == "--flat" and found.unlike > _MOST_UNLIKE:
        raise InputError(
            f"{both} are no pair: their brightness differs by {100 * found.unlike:.0f} % from "
            f"place to place; give two frames of each exposure, of one surface and in one light"
        )
    if found.likeness > _MOST_LIKENESS:
        raise InputError(
            f"{both} differ in more than noise (neighbours are alike, correlation "
            f"{found.likeness:.2f}): camera or surface moved between the two, or the raw files "
            f"were smoothed; use a support, a surface out of focus, and the camera's own files"
        )


def gains(pairs: Sequence[tuple[Frame, Frame]], found: Sequence[transfer.Pair], flag: str) -> None:
    """Raises InputError if the noise does not grow with the light, or in one pair otherwise."""
    points = [point for pair in found for point in pair.points]
    gain, error = transfer.combined(points)
    if gain < max(5 * error, max(point.signal for point in points) / _MOST_ELECTRONS):
        raise InputError(
            f"the noise of {names([frame for pair in pairs for frame in pair])}, of {flag}, does "
            f"not grow with the light: they are averaged, processed or made up; give files as the "
            f"camera writes them, bright but not saturated"
        )
    each = [transfer.combined(pair.points) for pair in found]
    middle = float(np.median([gain for gain, _ in each]))
    for frames, (gain, error) in zip(pairs, each, strict=True):
        off = abs(gain - middle)
        if off > _MOST_OFF * middle and off > _MOST_OFF_SIGMAS * error:
            raise InputError(
                f"{frames[0].path} and {frames[1].path}, of {flag}, give {gain:.3g} DN per "
                f"electron, but the pairs together {middle:.3g}: the light changed between the "
                f"two, something moved, or the camera compresses bright parts with loss; leave "
                f"them out, or take them again"
            )
