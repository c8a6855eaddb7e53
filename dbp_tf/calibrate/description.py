"""What was measured, as a camera for the other programs and as text for the reader."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from dbp_tf.calibrate import colours
from dbp_tf.calibrate.frames import Frame
from dbp_tf.calibrate.measurement import Setting
from dbp_tf.raw import cameras
from dbp_tf.raw.white_balance import Multipliers

# Digits of a number in the file.
_DIGITS = 5

# Numbers are called uncertain from this share of them on, and the black level from so many DN on.
_UNCERTAIN = 0.05
_UNCERTAIN_BLACK = 0.1

# Multipliers nearer than this share are of one light.
_SAME_LIGHT = 0.01

# How far the black error differs from burst to burst shows only over many sessions. As a share of
# the read noise, it is taken to be that of the built-in Sony at ISO 800, whatever a DN is worth.
_SPREAD_OF_READ_NOISE = (
    cameras.SONY.noise[0].black_error_spread_dn / cameras.SONY.noise[0].read_noise_dn
)

# Share of the read noise from which banding along columns is to be seen.
_VISIBLE = 0.05


def camera_of(
    name: str,
    first: Frame,
    white: float,
    balances: Sequence[Multipliers | None],
    measured: Sequence[Setting],
    notes: list[str],
) -> cameras.Camera:
    """The camera that was measured.

    Args:
      name: what to call it.
      first: a dark frame.
      white: level of saturation in DN.
      balances: multipliers that the files note.
      measured: what each ISO setting gave.
      notes: gets sentences about what the files do not say.
    """
    matrix = colours.xyz_to_camera(first.path)
    if matrix is None:
        notes.append(
            "LibRaw knows no colour matrix of this camera: its colours are taken for those of sRGB"
        )
        matrix = colours.srgb_matrix()
    suffix = first.path.suffix
    letters = np.array([list(row) for row in first.layout.colours])
    dark = sum(setting.noise.frames for setting in measured)
    points = sum(len(setting.points) for setting in measured) // first.layout.channels
    return cameras.Camera(
        name=name,
        model=first.shot.camera or name,
        mosaic=first.layout.name,
        pattern="".join(np.roll(letters, first.offset, (0, 1)).ravel()),
        black=_short(first.black.mean()),
        white=_short(white),
        xyz_to_camera=(
            tuple(matrix[0].tolist()),
            tuple(matrix[1].tolist()),
            tuple(matrix[2].tolist()),
        ),
        white_balance=_balance(balances, matrix, notes),
        noise=tuple(map(_noise_of, measured)),
        suffix=suffix if re.fullmatch(r"\.\w{1,10}", suffix) else ".dng",
        source=f"python -m dbp_tf.calibrate: {dark} dark frames, {points} pairs of bright ones",
    )


def _short(value):
    return float(f"{float(value):.{_DIGITS}g}")


def _balance(balances, matrix, notes):
    """The multipliers that all files note or, if they differ, those of daylight by the matrix."""
    first = balances[0]
    if first is not None and all(
        one is not None and np.allclose(one, first, rtol=_SAME_LIGHT) for one in balances
    ):
        return tuple(map(_short, first))
    notes.append(
        "the files do not all note one white balance: that of daylight by the colour matrix is "
        "taken"
    )
    return colours.daylight(matrix)


def _noise_of(setting):
    noise = setting.noise
    numbers = {
        "read_noise_dn": noise.read,
        "read_noise_shape": noise.shape,
        "row_noise_dn": noise.row,
        "column_noise_dn": noise.column,
        "fixed_pattern_dn": noise.fixed,
    }
    sd = setting.gain_sd
    return cameras.Noise(
        iso=setting.iso,
        gain_dn_per_electron=_short(setting.gain),
        black_error_dn=tuple(map(_short, noise.black_error.value)),
        uncertainty=cameras.Uncertainty(
            gain_dn_per_electron=None if sd is None else _short(sd),
            black_error_dn=tuple(map(_short, noise.black_error.sd)),
            **{name: _short(number.sd) for name, number in numbers.items()},
        ),
        black_error_spread_dn=_short(_SPREAD_OF_READ_NOISE * noise.read.value),
        **{name: _short(number.value) for name, number in numbers.items()},
    )


def lines(
    camera: cameras.Camera, size: tuple[int, int], measured: Sequence[Setting]
) -> Iterator[str]:
    """Yields the lines of the log, a text for each ISO setting and one for the camera."""
    balance = "/".join(f"{value:.3g}" for value in camera.white_balance)
    yield (
        f"{camera.model}: {camera.mosaic}, {size[0]} x {size[1]} pixels, black {camera.black:g}, "
        f"white {camera.white:g}, white balance {balance}"
    )
    for setting, noise in zip(measured, camera.noise, strict=True):
        yield "\n  ".join(_lines_of(setting, noise))


def _lines_of(setting, noise):
    dark, sd = setting.noise, noise.uncertainty
    yield f"ISO {setting.iso:g}: {dark.frames} dark frames"
    yield _line("gain", noise.gain_dn_per_electron, sd.gain_dn_per_electron, "DN per electron") + (
        f" ({setting.gain_source})"
    )
    electrons = noise.read_noise_dn / noise.gain_dn_per_electron
    yield _line("read noise", noise.read_noise_dn, sd.read_noise_dn) + f" = {electrons:.3g} e-"
    shape = "Tukey lambda; 0.14 is normal, less has heavier tails"
    yield _line("its shape", noise.read_noise_shape, sd.read_noise_shape, f"({shape})")
    yield _line("row noise", noise.row_noise_dn, sd.row_noise_dn)
    yield _line("column noise", noise.column_noise_dn, sd.column_noise_dn)
    yield _line("fixed pattern", noise.fixed_pattern_dn, sd.fixed_pattern_dn) + (
        f", {dark.fixed_columns:.2g} DN of it columns"
    )
    for colour, value, error in zip("RGB", noise.black_error_dn, sd.black_error_dn, strict=True):
        yield _line(f"black error {colour}", value, error)
    spread = noise.black_error_spread_dn
    yield f"{'its spread':14} {spread:.3g} DN from burst to burst, not measured"
    yield f"{'hot pixels':14} {100 * dark.hot:.3g} %, left out"
    uncertain = [
        name
        for name, value, error in (
            ("the gain", noise.gain_dn_per_electron, sd.gain_dn_per_electron),
            ("the read noise", noise.read_noise_dn, sd.read_noise_dn),
            ("the row noise", noise.row_noise_dn, sd.row_noise_dn),
        )
        # Without an error nothing was measured.
        if error is None or error > _UNCERTAIN * value
    ]
    if max(sd.black_error_dn) > _UNCERTAIN_BLACK:
        uncertain.append("the black error")
    if uncertain:
        yield f"uncertain: {', '.join(uncertain)}"
    if max(noise.column_noise_dn, dark.fixed_columns) > _VISIBLE * noise.read_noise_dn:
        yield "note: there is banding along columns"
    for note in setting.notes:
        yield f"note: {note}"


def _line(name, value, error, unit="DN"):
    within = "" if error is None else f" ± {error:.2g}"
    return f"{name:14} {value:.4g}{within} {unit}"
