"""Raw exposures and the ground truth, brought to the published phase of the filters.

A mosaic whose colour filters start elsewhere than the published layout is cut by a few rows
and columns, never relabelled; the ground truth is cut by the same.
"""

import contextlib
import dataclasses
import os
import pathlib

import numpy as np
import rawpy

from dbp_tf.errors import InputError
from dbp_tf.raw import dng, levels, packing, white_balance
from dbp_tf.raw.cameras import Camera
from dbp_tf.raw.opening import holds_mosaic, open_raw, opened, white_of
from dbp_tf.raw.overrides import NOTHING, Overrides
from dbp_tf.raw.white_balance import Multipliers

# Endings of the raw files that LibRaw reads; a folder's other files are passed over.
RAW_SUFFIXES = frozenset(
    ".3fr .arw .bay .cap .cr2 .cr3 .crw .cs1 .dc2 .dcr .dcs .dng .drf .erf .fff .gpr .iiq .k25 "
    ".kdc .mdc .mef .mos .mrw .nef .nrw .orf .pef .ptx .pxn .qtk .raf .raw .rw2 .rwl .rwz .sr2 "
    ".srf .srw .sti .x3f".split()
)


@dataclasses.dataclass(frozen=True)
class RawFrame:
    """A raw exposure.

    Attributes:
      path: the file.
      mosaic: [rows, columns] uint16, raw values in DN of the visible area, the layout's (0, 0)
        first.
      layout: `packing.BAYER` or `packing.XTRANS`.
      offset: (row, column) of `mosaic` in the visible area.
      black: raw value of no light of each packed channel [C], in DN.
      white: raw value of saturation, in DN.
      level_source: where black and white come from, for the log.
      white_balance: multipliers (R, G, B) the camera noted, green 1; None if it noted none.
      visible: rows and columns that the file shows from `offset` on, `mosaic` and the part cut
        off it; the size of its developed picture.
      flip: how the picture is to be turned, LibRaw's code, see `pictures.upright`.
      notes: sentences, without the file's name, about oddities of the file, and about
        requests of it that are not carried out.
    """

    path: pathlib.Path
    mosaic: np.ndarray
    layout: packing.Layout
    offset: tuple[int, int]
    black: tuple[float, ...]
    white: float
    level_source: str
    white_balance: Multipliers | None
    visible: tuple[int, int]
    flip: int = 0
    notes: tuple[str, ...] = ()

    @property
    def levels(self) -> str:
        """A line for the log: black and white level and their source."""
        black = levels.text_of(self.black)
        return f"black {black}, white {self.white:g} ({self.level_source})"

    def signal(self) -> np.ndarray:
        """The packed signal [H, W, C], float32, 0 at black and 1 at white, cut off at neither."""
        return packing.signal_of(packing.pack(self.mosaic, self.layout), self.black, self.white)

    def packed(
        self, ratio: float | np.ndarray = 1.0, trained: Multipliers | None = None
    ) -> np.ndarray:
        """The packed frame [H, W, C], float32 in 0..1.

        Args:
          ratio: exposure ratio by which it is brightened: a number or one for each channel [C].
          trained: multipliers (R, G, B) that the weights were trained for,
            `Enhancer.white_balance`: colours are scaled to them from the file's.
        """
        scales = white_balance.channel_scales_for(self.white_balance, trained, self.layout)
        samples = packing.pack(self.mosaic, self.layout)
        return packing.normalise(samples, self.black, self.white, ratio * scales)

    def check_fits(self, first: "RawFrame") -> None:
        """Raises InputError if the frame cannot be of one burst with `first`."""
        # First the phase: the same sensor from another one has whole periods of another number.
        if self.offset != first.offset:
            raise InputError(
                f"{self.path} has its colour filters laid out from {self.offset}, but "
                f"{first.path.name} from {first.offset}: a burst's frames have one phase"
            )
        if self.mosaic.shape != first.mosaic.shape:
            ours, theirs = ("{} x {}".format(*one.mosaic.shape) for one in (self, first))
            raise InputError(
                f"{self.path} has {ours} pixels, but {first.path.name} has {theirs}: a burst's "
                f"frames are of one size"
            )


def _active_area(raw, path, overrides):
    """(top, left, rows, columns) of the pixels to use, in the sensor's raw pixels."""
    if not holds_mosaic(raw):
        raise InputError(
            f"{path} holds no colour-filter mosaic (a Foveon sensor or an already demosaiced, "
            f"linear DNG): only Bayer and X-Trans raw files can be restored"
        )
    if overrides.active_area is None:
        return raw.sizes.top_margin, raw.sizes.left_margin, *raw.raw_image_visible.shape
    top, left, rows, columns = overrides.active_area
    whole = raw.raw_image.shape
    if top + rows > whole[0] or left + columns > whole[1]:
        raise InputError(
            f"{overrides.area_given} reaches beyond {path}, which has {whole[0]} rows and "
            f"{whole[1]} columns"
        )
    return overrides.active_area


def _layout_and_phase(raw, path, area, given):
    """The packing layout of the active area and the offset in it at which the layout starts."""
    if given is not None:
        layout = packing.BAYER if len(given) == packing.BAYER.period else packing.XTRANS
        return layout, packing.phase_of(given, layout)
    pattern = None
    # rawpy's answer to a damaged description of the colour filters.
    with contextlib.suppress(NotImplementedError):
        pattern = raw.raw_pattern
    if raw.num_colors != 3 or pattern is None:
        raise InputError(
            f"{path} has {raw.num_colors} colour(s) of filter: only Bayer and X-Trans raw files "
            f"in red, green and blue can be restored"
        )
    names = raw.color_desc.decode("latin-1")
    for layout in packing.LAYOUTS.values():
        sites = _site_colours(raw, layout.period, area)
        offset = packing.phase_of(np.array(list(names))[sites], layout)
        # A Bayer mosaic repeats within six as well, so its period is checked too.
        if offset and pattern.shape == (layout.period,) * 2:
            return layout, offset
    raise InputError(
        f"{path} has colour filters laid out as neither Bayer nor X-Trans "
        f"({'/'.join(''.join(names[i] for i in row) for row in pattern)})"
    )


def _site_colours(raw, period, area, offset=(0, 0)):
    """[period, period] colour indices of LibRaw, from `offset` in the active area on."""
    top, left = raw.sizes.top_margin, raw.sizes.left_margin
    # LibRaw knows the filters of the visible area only, where the same ones come again.
    rows = (area[0] + offset[0] - top + np.arange(period)) % period + top
    columns = (area[1] + offset[1] - left + np.arange(period)) % period + left
    return np.array([[raw.raw_color(row, column) for column in columns] for row in rows])


def _levels_of_file(raw, facts, layout, area, offset):
    """The `levels.Levels` that a file says."""
    if facts.black is None:
        colours = _site_colours(raw, layout.period, area, offset)
        blacks = raw.black_level_per_channel
        black = tuple(float(blacks[colours[sites[0]]]) for sites in layout.sites)
        return levels.Levels(black, white_of(raw, facts), "file")
    # LibRaw cuts off decimals, and of all but the smallest blocks it tells the least level alone.
    # So many blocks are a whole number of the filters' periods.
    shape = tuple(layout.period * size for size in facts.black.shape)
    start = area[0] + offset[0], area[1] + offset[1]
    block = dng.black_at(facts.black, facts.area, *start, shape)
    sites = packing.pack(block + facts.mean_delta, layout)
    spread = np.ptp(sites, (0, 1)).max()
    source = f"file; its black differs by {spread:g} within a channel, whose mean is taken"
    black = tuple(map(float, sites.mean((0, 1))))
    return levels.Levels(black, white_of(raw, facts), source if spread else "file")


def _with_given(found, given, layout):
    """`levels.Levels` in which the user's levels replace those found."""
    if not given.levels_given:
        return found
    rest = f", else {found.source}"
    if given.black is not None:
        # Remarks on the file's black level play no part.
        rest = "" if given.white is not None else f", else {found.source.partition(';')[0]}"
    return levels.Levels(
        black=given.black_of(layout) or found.black,
        white=given.white or found.white,
        source=given.levels_given + rest,
    )


def read_raw(
    path: str | os.PathLike[str], camera: Camera | None = None, overrides: Overrides = NOTHING
) -> RawFrame:
    """Reads one raw file and checks its levels by its pixels, see `levels`.

    Args:
      path: the file.
      camera: the file must have its mosaic. Where the file's levels are near that camera's, the
        published ones are taken; otherwise, or with None, the file's own.
      overrides: levels, filters and area that replace the file's and the camera's.

    Returns:
      `RawFrame`. The mosaic has whole periods and even packed sizes: up to three Bayer or five
      X-Trans rows and columns at the bottom and right are cut off.

    Raises:
      InputError: the file is missing, empty, damaged, not raw, of another mosaic than the
        camera's, all zero, or its black level cannot be true.
    """
    path = pathlib.Path(path)
    with opened(path) as (raw, facts):
        area = _active_area(raw, path, overrides)
        layout, offset = _layout_and_phase(raw, path, area, overrides.pattern)
        if camera is not None and camera.mosaic != layout.name:
            raise InputError(
                f"{path} has the mosaic {layout.name}, but --camera {camera.name} has "
                f"{camera.mosaic}: give the camera the file comes from"
            )
        top, left = area[0] + offset[0], area[1] + offset[1]
        rows, columns = (
            (size - start) // (2 * layout.scale) * 2 * layout.scale
            for size, start in zip(area[2:], offset, strict=True)
        )
        mosaic = raw.raw_image[top : top + rows, left : left + columns].copy()
        if not mosaic.size:
            raise InputError(
                f"{overrides.area_given or path} has only {area[2]} x {area[3]} pixels: that is "
                f"too small a picture"
            )
        if not mosaic.any():
            raise InputError(f"{path} holds nothing but zeros: the camera recorded no picture")
        said = _levels_of_file(raw, facts, layout, area, offset)
        balance, balance_notes = _white_balance(raw, facts)
        notes = [*facts.notes, *balance_notes]
        flip = raw.sizes.flip
    darkest = levels.Darkest(mosaic, layout)
    if camera is not None and not overrides.levels_given:
        said, remarks = levels.decide(said, camera, darkest)
        notes += remarks
    found = _with_given(said, overrides, layout)
    if not max(found.black) < found.white:
        raise InputError(
            f"{path} has black level {max(found.black):g} and white level {found.white:g} "
            f"({found.source}): nothing lies between them"
        )
    notes += levels.check(found, darkest, mosaic, path, overrides, camera)
    return RawFrame(
        path=path,
        mosaic=mosaic,
        layout=layout,
        offset=offset,
        black=found.black,
        white=found.white,
        level_source=found.source,
        white_balance=balance,
        visible=(area[2] - offset[0], area[3] - offset[1]),
        flip=flip,
        notes=tuple(notes),
    )


def read_white_balance(path: str | os.PathLike[str]) -> Multipliers | None:
    """`RawFrame.white_balance` of a file, without decoding its pixels."""
    with opened(path, unpack=False) as (raw, facts):
        return _white_balance(raw, facts)[0]


def _white_balance(raw, facts):
    """(multipliers (R, G, B), green 1, that the camera noted; None if none or nonsense, notes)."""
    red, green, blue = raw.camera_whitebalance[:3]
    if min(red, green, blue) > 0 and np.isfinite([red, green, blue]).all():
        multipliers = red / green, 1.0, blue / green
        if not np.allclose(multipliers, 1, atol=1e-3):
            return multipliers, []
        return None, [
            "the white balance 1/1/1 that the file notes is a placeholder and not used; a ground "
            "truth that LibRaw develops from such a file is not balanced"
        ]
    if facts.white_balance is not None:
        return facts.white_balance, [
            "the white balance is the file's AsShotWhiteXY, which LibRaw does not read: a ground "
            "truth that it develops from such a file is balanced automatically instead"
        ]
    return None, []


def develop(raw: rawpy.RawPy) -> np.ndarray:
    """Develops an open raw file as the published ground truth: [rows, columns, 3] uint16.

    LibRaw with the camera's white balance, full size, no automatic brightening, sRGB primaries and
    LibRaw's default (BT.709) tone curve. The file's orientation is not applied, so that rows and
    columns are those of the mosaic.
    """
    return raw.postprocess(
        use_camera_wb=True,
        half_size=False,
        no_auto_bright=True,
        output_bps=16,
        user_flip=0,
    )


def read_truth(path: str | os.PathLike[str], offset: tuple[int, int] = (0, 0)) -> np.ndarray:
    """The ground truth of a long exposure: [rows, columns, 3] float32 sRGB in 0..1.

    Args:
      path: raw file of the long exposure.
      offset: (row, column) at which the burst's mosaic starts, see `RawFrame.offset`.

    Raises:
      InputError: see `open_raw`.
    """
    return as_float(read_truth_16bit(path, offset))


def as_float(picture: np.ndarray) -> np.ndarray:
    """A developed picture of uint16 in 0..65535 as float32 in 0..1, of the same shape.

    The result is C-contiguous, though the picture may be a flipped or transposed view.
    """
    return np.divide(picture, np.float32(65535), dtype=np.float32, order="C")


def read_truth_16bit(path: str | os.PathLike[str], offset: tuple[int, int] = (0, 0)) -> np.ndarray:
    """As `read_truth`, but [rows, columns, 3] uint16 in 0..65535."""
    with open_raw(path) as raw:
        return develop(raw)[offset[0] :, offset[1] :]
