"""White sheets with pictures on them: a panel, a teaser, the detail that both enlarge.

Every pixel of a detail is a square of whole pixels, which plotting programs do not promise. All
pictures are [rows, columns, 3] uint8, unless said otherwise.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dbp_tf.errors import InputError

# Sizes in pixels of the finished figure.
COLUMN = 480  # widest detail of a panel
CROP = 300  # of a teaser
_MARGIN = 16
# Text is to be read where a page shows the figure at a third of its size.
_NAME_SIZE = 44
_TEXT_SIZE = 34
_LINE = 58  # a name and the space to the picture below it
_GAP = 14  # between a detail and the text below it

_PAPER = (255, 255, 255)
_INK = (20, 20, 20)
_GREY = (90, 90, 90)
_BOX = (255, 210, 0)


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of a picture: its top row, its left column, its rows and columns."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in a picture."""
        return (
            slice(self.row, self.row + self.rows),
            slice(self.column, self.column + self.columns),
        )


def parse_box(text: str) -> Box:
    """The `Box` of "row,column,rows,columns"; raises InputError on anything else."""
    try:
        row, column, rows, columns = (int(number) for number in text.split(","))
    except ValueError:
        row = -1
    if row < 0 or column < 0 or rows < 1 or columns < 1:
        raise InputError(
            f"--box={text} is no part of a picture: give row,column,rows,columns in whole pixels"
        )
    return Box(row, column, rows, columns)


def most_detail(picture: np.ndarray, rows: int, columns: int) -> Box:
    """The `Box` of that size that holds most detail: the largest sum of brightness steps.

    Args:
      picture: [rows, columns, 3], any type; a noisy picture has its detail where it is noisy.
      rows, columns: of the box, at most those of the picture.
    """
    grey = picture.astype(np.float32).mean(axis=-1)
    steps = np.zeros(grey.shape, np.float64)
    steps[:-1] += np.abs(np.diff(grey, axis=0))
    steps[:, :-1] += np.abs(np.diff(grey, axis=1))
    sums = np.pad(steps.cumsum(0).cumsum(1), [(1, 0), (1, 0)])
    inside = sums[rows:, columns:] - sums[rows:, :-columns]
    inside -= sums[:-rows, columns:] - sums[:-rows, :-columns]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    return Box(int(row), int(column), rows, columns)


def default_box(picture: np.ndarray, width: int) -> Box:
    """The box that a figure shows if none is given.

    Its shape is that of the picture, its place where there is most detail, its size such that
    twofold enlargement of a large picture, fourfold of a small one, makes it `width` pixels wide.
    """
    rows, columns = picture.shape[:2]
    factor = 2 if columns > 4 * width else 4
    across = max(1, min(width // factor, columns // 3))
    return most_detail(picture, max(1, round(across * rows / columns)), across)


def check_box(box: Box | None, shape: tuple[int, ...]) -> None:
    """Raises InputError if the box, or None, does not lie in a picture of that shape."""
    if box and (box.row + box.rows > shape[0] or box.column + box.columns > shape[1]):
        raise InputError(
            f"--box {box.row},{box.column},{box.rows},{box.columns} reaches beyond the picture of "
            f"{shape[0]} rows and {shape[1]} columns: give row,column,rows,columns inside it"
        )


@dataclasses.dataclass(frozen=True)
class View:
    """A picture of a figure: its name, its 8-bit pixels and its line of text, perhaps empty."""

    name: str
    picture: np.ndarray
    text: str = ""


class _Sheet:
    """White paper to put pictures and text on."""

    def __init__(self, rows, columns):
        self._image = Image.new("RGB", (columns, rows), _PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self, row, column, picture):
        self._image.paste(Image.fromarray(picture), (column, row))

    def text(self, row, column, width, text, size=_TEXT_SIZE, colour=_INK):
        """A line of text in the middle of `width` pixels, smaller if it is too long for them."""
        font = ImageFont.load_default(size)
        while font.getbbox(text)[2] > width and font.size > 8:
            font = ImageFont.load_default(font.size - 1)
        left = column + (width - font.getbbox(text)[2]) // 2
        self._draw.text((left, row), text, fill=colour, font=font)

    def frame(self, row, column, rows, columns, width=4):
        """A coloured line around a place, with a dark one around it to show on any ground."""
        for margin, colour in ((width + 1, _INK), (width, _BOX)):
            corner = column + columns + margin - 1, row + rows + margin - 1
            self._draw.rectangle(
                (column - margin, row - margin, *corner), outline=colour, width=margin
            )

    def pixels(self):
        return np.asarray(self._image)


def _height(picture, columns):
    """Rows of the whole picture if it is so many columns wide."""
    return max(1, round(picture.shape[0] * columns / picture.shape[1]))


def _put_whole(sheet, row, column, picture, columns, box):
    """Puts the whole picture, so many columns wide, and its box on the sheet."""
    size = columns, _height(picture, columns)
    image = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
    sheet.picture(row, column, np.asarray(image))
    scale = columns / picture.shape[1]
    sheet.frame(
        row + int(box.row * scale),
        column + int(box.column * scale),
        max(3, round(box.rows * scale)),
        max(3, round(box.columns * scale)),
    )


def _put_detail(sheet, row, column, picture, box, factor):
    detail = picture[box.slices].repeat(factor, axis=0).repeat(factor, axis=1)
    sheet.picture(row, column, detail)
    sheet.frame(row, column, box.rows * factor, box.columns * factor, width=1)


def draw_panel(views: Sequence[View], box: Box) -> np.ndarray:
    """The paper's panel: every view whole with its box, its enlarged detail below.

    Args:
      views: of one size.
      box: of the detail. It is enlarged by the largest whole factor that keeps it as
        narrow as the whole picture, and not twice as tall as that, each pixel a square.

    Returns:
      [rows, columns, 3] uint8.
    """
    # A tall box must not make the sheet huge.
    factor = max(1, min(COLUMN // box.columns, 2 * COLUMN // box.rows))
    detail = box.columns * factor
    width = max(COLUMN, detail)
    top = _MARGIN + _LINE
    middle = top + _height(views[0].picture, COLUMN) + _MARGIN
    bottom = middle + box.rows * factor + _GAP
    lines = any(view.text for view in views)
    sheet = _Sheet(
        bottom + (_TEXT_SIZE + _GAP if lines else 0) + _GAP,
        _MARGIN + len(views) * (width + _MARGIN),
    )
    for place, view in enumerate(views):
        left = _MARGIN + place * (width + _MARGIN)
        sheet.text(_MARGIN, left, width, view.name, _NAME_SIZE)
        _put_whole(sheet, top, left + (width - COLUMN) // 2, view.picture, COLUMN, box)
        _put_detail(sheet, middle, left + (width - detail) // 2, view.picture, box, factor)
        sheet.text(bottom, left, width, view.text, colour=_GREY)
    return sheet.pixels()


def draw_teaser(first: View, views: Sequence[View], box: Box) -> np.ndarray:
    """The paper's teaser: one picture whole with its box, the detail of the others beside it.

    Args:
      first: shown whole.
      views: of the same size, of which the detail is shown, in columns of two.
      box: of the detail.

    Returns:
      [rows, columns, 3] uint8.
    """
    factor = max(1, min(CROP // box.columns, 2 * CROP // box.rows))
    rows, columns = box.rows * factor, box.columns * factor
    down, across = _LINE + rows + _GAP + _TEXT_SIZE + _GAP, columns + _MARGIN
    top = _MARGIN + _LINE
    # From the top of the upper details to the bottom of the lower ones.
    shape = first.picture.shape
    wide = max(1, round((down + rows) * shape[1] / shape[0]))
    left = _MARGIN + wide + _MARGIN
    sheet = _Sheet(_MARGIN + 2 * down + _GAP, left + (len(views) + 1) // 2 * across)
    sheet.text(_MARGIN, _MARGIN, wide, first.name, _NAME_SIZE)
    _put_whole(sheet, top, _MARGIN, first.picture, wide, box)
    for place, view in enumerate(views):
        row, column = top + place % 2 * down, left + place // 2 * across
        sheet.text(row - _LINE, column, columns, view.name, _NAME_SIZE)
        _put_detail(sheet, row, column, view.picture, box, factor)
        sheet.text(row + rows + _GAP, column, columns, view.text, colour=_GREY)
    return sheet.pixels()
