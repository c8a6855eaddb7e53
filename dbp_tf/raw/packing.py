"""Packing: a colour-filter mosaic becomes a stack of half- or third-size colour planes.

Everything here is array in, array out. Axis letters: H W packed rows and columns, C packed
channels (4 Bayer, 9 X-Trans). The layouts are those of the published code, so that released
weights see each colour in the channel they were trained on.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbp_tf.errors import InputError

# The largest exposure ratio of the published code, which the networks were trained with.
MAX_RATIO = 300.0

# Share of the white level from which a sample counts as saturated: each pixel has its own limit, a
# little below the level that the file states.
SATURATED = 0.98


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one kind of mosaic is packed.

    Attributes:
      name: "bayer" or "xtrans".
      period: rows and columns after which the colour filters repeat (2 or 6).
      colours: the filters of one period as strings of R, G, B, one per row.
      cells: packed rows (and columns) that one period gives (1 Bayer, 2 X-Trans).
      sites: for each packed channel, the (row, column) in the period of each of its
        cells x cells samples, in row-major order of the packed samples.
    """

    name: str
    period: int
    colours: tuple[str, ...]
    cells: int
    sites: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def channels(self) -> int:
        """Packed channels C."""
        return len(self.sites)

    @property
    def channel_colours(self) -> tuple[str, ...]:
        """The colour "R", "G" or "B" of each packed channel [C]."""
        return tuple(self.colours[row][column] for (row, column), *_ in self.sites)

    @property
    def scale(self) -> int:
        """Mosaic pixels per packed pixel, along rows and along columns (S)."""
        return self.period // self.cells


BAYER = Layout(
    name="bayer",
    period=2,
    colours=("RG", "GB"),
    cells=1,
    sites=(((0, 0),), ((0, 1),), ((1, 1),), ((1, 0),)),
)


def _green_grid(row, column):
    return tuple((row + 3 * i, column + 3 * j) for i in (0, 1) for j in (0, 1))


XTRANS = Layout(
    name="xtrans",
    period=6,
    colours=("RBGBRG", "GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB"),
    cells=2,
    sites=(
        ((0, 0), (0, 4), (3, 1), (3, 3)),
        ((0, 2), (0, 5), (3, 2), (3, 5)),
        ((0, 1), (0, 3), (3, 0), (3, 4)),
        ((1, 2), (2, 5), (5, 2), (4, 5)),
        ((2, 2), (1, 5), (4, 2), (5, 5)),
        _green_grid(1, 0),
        _green_grid(1, 1),
        _green_grid(2, 0),
        _green_grid(2, 1),
    ),
)

LAYOUTS = {layout.name: layout for layout in (BAYER, XTRANS)}


def _samples(layout):
    """Yields (packed index, mosaic index) pairs of strided slices that cover the layout."""
    for channel, sites in enumerate(layout.sites):
        for cell, (row, column) in enumerate(sites):
            cell_row, cell_column = divmod(cell, layout.cells)
            packed = (
                slice(cell_row, None, layout.cells),
                slice(cell_column, None, layout.cells),
                channel,
            )
            yield packed, (slice(row, None, layout.period), slice(column, None, layout.period))


def pack(mosaic: np.ndarray, layout: Layout) -> np.ndarray:
    """Packs a mosaic whose first sample is the layout's (0, 0).

    Args:
      mosaic: [rows, columns] array of any type; rows and columns beyond whole periods are dropped.
      layout: `BAYER` or `XTRANS`.

    Returns:
      [H, W, C] array of the same type, H = rows // period * cells.
    """
    rows, columns = (size // layout.period * layout.period for size in mosaic.shape)
    mosaic = mosaic[:rows, :columns]
    packed = np.empty(
        (rows // layout.scale, columns // layout.scale, layout.channels), mosaic.dtype
    )
    for there, here in _samples(layout):
        packed[there] = mosaic[here]
    return packed


def unpack(packed: np.ndarray, layout: Layout) -> np.ndarray:
    """Puts packed samples back where `pack` took them from.

    Args:
      packed: [H, W, C] array.
      layout: `BAYER` or `XTRANS`.

    Returns:
      [S*H, S*W] array of the same type.
    """
    rows, columns = packed.shape[0] * layout.scale, packed.shape[1] * layout.scale
    mosaic = np.empty((rows, columns), packed.dtype)
    for there, here in _samples(layout):
        mosaic[here] = packed[there]
    return mosaic


def signal_of(samples: np.ndarray, black: ArrayLike, white: float) -> np.ndarray:
    """Packed samples [H, W, C] in DN as float32, 0 at black and 1 at white, cut off at neither."""
    level = np.asarray(black, np.float32)
    signal = samples.astype(np.float32)
    signal -= level
    signal /= np.float32(white) - level
    return signal


def normalise(
    samples: np.ndarray,
    black: ArrayLike,
    white: float,
    ratio: ArrayLike = 1.0,
    clip: bool = True,
) -> np.ndarray:
    """Raw values in the network's range: max(DN - black, 0) / (white - black) * ratio, at most 1.

    A saturated sample becomes 1 even if its ratio is less, as a white balance can make it: it says
    "so much or more", and what is blown out in all colours is to stay white.

    Args:
      samples: [H, W, C] raw values in DN.
      black: raw value of no light, in DN: a number or one for each packed channel [C].
      white: raw value of saturation, in DN.
      ratio: exposure ratio, by which the short exposure is brightened: a number or one for each
        packed channel [C].
      clip: False to leave values above 1.

    Returns:
      [H, W, C] float32 in 0..1.
    """
    signal = signal_of(samples, black, white)
    np.maximum(signal, 0, out=signal)
    factor = np.asarray(ratio, np.float32)
    saturated = signal >= SATURATED if factor.min() < 1 else None
    signal *= factor
    if saturated is not None:
        signal[saturated] = np.maximum(signal[saturated], 1)
    return np.minimum(signal, 1, out=signal) if clip else signal


def halve(pictures: np.ndarray) -> np.ndarray:
    """The mean of every 2 x 2 pixels, [..., rows, columns, channels] of even size.

    The published bilinear resize does the same for even sizes; `networks.half_size` without
    TensorFlow, equal to rounding.

    Raises:
      InputError: rows or columns are odd.
    """
    rows, columns = pictures.shape[-3:-1]
    if rows % 2 or columns % 2:
        raise InputError(
            f"{rows} x {columns} packed pixels cannot be halved: cut or pad them to even numbers"
        )
    total = pictures[..., ::2, ::2, :] + pictures[..., 1::2, ::2, :]
    total += pictures[..., ::2, 1::2, :]
    total += pictures[..., 1::2, 1::2, :]
    total *= np.float32(0.25)
    return np.ascontiguousarray(total)


def phase_of(colours: Sequence[Sequence[str]], layout: Layout) -> tuple[int, int] | None:
    """Where the layout starts in a mosaic.

    Args:
      colours: the filters of the mosaic's first rows and columns, one string of R, G and B, or
        sequence of them, for each row of a period.
      layout: `BAYER` or `XTRANS`.

    Returns:
      (row, column) of the first sample at which the mosaic equals the layout, or None if it
      is another mosaic.
    """
    period = layout.period
    if [len(row) for row in colours] != [period] * period:
        return None
    wanted, found = (np.array([list(row) for row in rows]) for rows in (layout.colours, colours))
    for row, column in sorted(np.ndindex(period, period), key=sum):
        if np.array_equal(np.roll(found, (-row, -column), (0, 1)), wanted):
            return row, column
    return None
