"""Levels, colour filters and active area that the user gives instead of the raw file."""

import dataclasses
import functools

from dbp_tf.errors import InputError
from dbp_tf.parameters import parameter
from dbp_tf.raw import packing


@dataclasses.dataclass(frozen=True)
class Overrides:
    """The user's values; None leaves one to the file.

    Attributes:
      black: raw values of no light, in DN: one for all, three (R, G, B), or four for a Bayer
        mosaic (red, green beside red, blue, green beside blue).
      white: raw value of saturation, in DN.
      pattern: colour filters of the first rows and columns of the active area, one string of
        R, G and B a row: 2 x 2 (Bayer) or 6 x 6 (X-Trans).
      active_area: (top, left, rows, columns) in the whole of the sensor's raw pixels.
    """

    black: tuple[float, ...] | None = None
    white: float | None = None
    pattern: tuple[str, ...] | None = None
    active_area: tuple[int, int, int, int] | None = None

    @property
    def levels_given(self) -> str:
        """Which levels the user gave, for the log: "--black", "--white", both or nothing."""
        given = [name for name in ("black", "white") if getattr(self, name) is not None]
        return " and ".join(f"--{name}" for name in given)

    @property
    def area_given(self) -> str:
        """The flag of the active area as the user gave it, for the log and errors, or nothing."""
        return f"--active_area={','.join(map(str, self.active_area))}" if self.active_area else ""

    def black_of(self, layout: packing.Layout) -> tuple[float, ...] | None:
        """Black level of each packed channel [C] in DN; None if the user gave none."""
        if self.black is None or len(self.black) == 1:
            return self.black and self.black * layout.channels
        if len(self.black) == 3:
            return tuple(self.black["RGB".index(colour)] for colour in layout.channel_colours)
        if layout is not packing.BAYER:
            raise InputError(
                "--black: an X-Trans mosaic has three colours, so give one number or R,G,B, not "
                "four"
            )
        return self.black


NOTHING = Overrides()

_flag = functools.partial(parameter, topic="Instead of what the raw file says")


@dataclasses.dataclass(frozen=True)
class OverrideFlags:
    """The flags of a program by which the user overrules its raw files."""

    black: list[str] | None = _flag(
        None,
        "Black level in DN instead of the file's: one number, R,G,B or, for Bayer, R,G,B,G (the "
        "greens beside red and beside blue).",
    )
    white: float | None = _flag(None, "White level in DN instead of the file's.", low=1, high=65535)
    pattern: str | None = _flag(
        None, "Colour filters of the active area instead of the file's, such as RGGB."
    )
    active_area: list[str] | None = _flag(
        None, "TOP,LEFT,ROWS,COLUMNS of the sensor to use instead of the file's."
    )

    @functools.cached_property
    def overrides(self) -> Overrides:
        """What the flags say; raises InputError, which names the flag, if one makes no sense."""
        levels = area = None
        if self.black is not None:
            levels = _numbers("--black", self.black, (1, 3, 4), "one number, R,G,B or R,G,B,G")
        if self.active_area is not None:
            top, left, rows, columns = _numbers(
                "--active_area", self.active_area, (4,), "TOP,LEFT,ROWS,COLUMNS"
            )
            area = int(top), int(left), int(rows), int(columns)
            if area != (top, left, rows, columns):
                raise InputError("--active_area: give whole numbers of raw pixels")
        filters = None if self.pattern is None else _pattern(self.pattern)
        return Overrides(levels, self.white, filters, area)


def _numbers(flag, texts, counts, wanted):
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        numbers = ()
    # Not `number < 0`, which "nan" would pass.
    if len(numbers) not in counts or not all(0 <= number < 65536 for number in numbers):
        raise InputError(f"{flag}={','.join(texts)}: give {wanted}, from 0 to 65535")
    return numbers


def _pattern(text):
    """The filters of 4 or 36 letters R, G and B row by row; "/" between rows is passed over."""
    letters = text.upper().replace("/", "")
    for layout in packing.LAYOUTS.values():
        period = layout.period
        if len(letters) == period**2:
            rows = tuple(letters[at : at + period] for at in range(0, period**2, period))
            if packing.phase_of(rows, layout) is not None:
                return rows
    raise InputError(
        f"--pattern={text}: give the colour filters of the first two rows and columns (RGGB, GRBG, "
        f"GBRG or BGGR) or the 36 letters of an X-Trans mosaic"
    )
