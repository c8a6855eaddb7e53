"""Raw files: what LibRaw reads from a camera's file, brought to the published phase.

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
from dbp_tf.raw import exif, packing, white_balance
from dbp_tf.raw.overrides import NOTHING

# Endings of the raw files that LibRaw reads; a folder's other files are passed over.
RAW_SUFFIXES = frozenset(
    ".3fr .arw .bay .cap .cr2 .cr3 .crw .cs1 .dc2 .dcr .dcs .dng .drf .erf .fff .gpr .iiq .k25 "
    ".kdc .mdc .mef .mos .mrw .nef .nrw .orf .pef .ptx .pxn .qtk .raf .raw .rw2 .rwl .rwz .sr2 "
    ".srf .srw .sti .x3f".split()
)

# Raw files take between 1 and 16 bits a pixel, lossy ones somewhat less. A damaged header that
# claims far more pixels than the file can hold would cost gigabytes before LibRaw notices.
_MOST_PIXELS_PER_BYTE = 64


@dataclasses.dataclass(frozen=True)
class RawFrame:
    """One raw exposure.

    Attributes:
      path: the file.
      mosaic: [rows, columns] uint16, raw values in DN, the layout's (0, 0) first. Views of the
        visible area: masked borders are cut off.
      layout: `packing.BAYER` or `packing.XTRANS`.
      offset: (row, column) of `mosaic` in the visible area.
      black: raw value of no light of each packed channel [C], in DN.
      white: raw value of saturation, in DN.
      level_source: where black and white come from, for the log.
      white_balance: multipliers (R, G, B) the camera noted, green 1; None if it noted none.
      visible: rows and columns that the file shows from `offset` on, `mosaic` and what was cut
        off it; the size of its developed picture.
      flip: how the picture is to be turned, LibRaw's code, see `pictures.upright`.
    """

    path: pathlib.Path
    mosaic: np.ndarray
    layout: packing.Layout
    offset: tuple[int, int]
    black: tuple[float, ...]
    white: float
    level_source: str
    white_balance: tuple[float, float, float] | None
    visible: tuple[int, int]
    flip: int = 0

    @property
    def levels(self):
        """One line for the log: black and white level and their source."""
        blacks = sorted(set(self.black))
        black = "/".join(f"{value:g}" for value in blacks)
        return f"black {black}, white {self.white:g} ({self.level_source})"

    def signal(self):
        """The packed signal [H, W, C], float32, 0 at black and 1 at white, cut off at neither."""
        black = np.asarray(self.black, np.float32)
        signal = packing.pack(self.mosaic, self.layout).astype(np.float32)
        signal -= black
        signal /= np.float32(self.white) - black
        return signal

    def packed(self, ratio=1.0, trained=None):
        """The packed frame [H, W, C], float32 in 0..1.

        Args:
          ratio: exposure ratio by which it is brightened: a number or one for each channel [C].
          trained: multipliers (R, G, B) that the weights were trained for,
            `Enhancer.white_balance`: colours are scaled to them from the file's.
        """
        if trained is not None:
            ratio = ratio * white_balance.channel_scales_for(
                self.white_balance, trained, self.layout
            )
        samples = packing.pack(self.mosaic, self.layout)
        return packing.normalise(samples, self.black, self.white, ratio)


@contextlib.contextmanager
def open_raw(path, unpack=True):
    """Opens a raw file with LibRaw; a failure is an InputError that names it.

    Without `unpack` the pixels are not decoded: only the header is looked at.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"there is no raw file {path}")
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None
    if not head:
        raise InputError(f"{path} is empty: copy it from the camera again")
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG")) or head[4:12] in (b"ftypheic", b"ftypavif"):
        raise InputError(
            f"{path} is a finished picture, not a raw file: what the dark held is already lost; "
            f"use the camera's raw file of the same shot"
        )
    try:
        raw = rawpy.RawPy()
        # A file object would be read by Python in one gulp; LibRaw maps the file itself.
        try:
            raw.open_file(os.fspath(path))
        except UnicodeEncodeError:
            # LibRaw's wrapper takes names in UTF-8 only.
            with path.open("rb") as file:
                raw.open_buffer(file)
        pixels = raw.sizes.raw_height * raw.sizes.raw_width
        if pixels > _MOST_PIXELS_PER_BYTE * path.stat().st_size:
            raise InputError(
                f"{path} is damaged or cut short (it claims {pixels} pixels in "
                f"{path.stat().st_size} bytes): copy it from the camera again"
            )
        if unpack:
            raw.unpack()
    except rawpy.LibRawFileUnsupportedError:
        raise InputError(f"{path} is not a raw file that LibRaw can read") from None
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise InputError(
            f"{path} is damaged or cut short ({_said_by(error)}): copy it from the camera again"
        ) from None
    with contextlib.closing(raw):
        yield raw


def _said_by(error):
    text = error.args[0] if error.args else error
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _raw_pattern(raw):
    try:
        return raw.raw_pattern
    except NotImplementedError:
        # rawpy's answer to a damaged description of the colour filters.
        return None


def _active_area(raw, path, overrides):
    """(top, left, rows, columns) of the pixels to use, in the sensor's raw pixels."""
    if raw.raw_type != rawpy.RawType.Flat or raw.raw_image_visible is None:
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
        layout = next(one for one in packing.LAYOUTS.values() if one.period == len(given))
        return layout, packing.phase_of([list(row) for row in given], layout)
    pattern = _raw_pattern(raw)
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


def _levels(raw, path, layout, area, offset, camera, given):
    """(black of each packed channel, white, where they come from)."""
    colours = _site_colours(raw, layout.period, area, offset)
    blacks = raw.black_level_per_channel
    black = tuple(float(blacks[colours[sites[0]]]) for sites in layout.sites)
    white, source = float(raw.white_level), "file"
    block = exif.read_black_levels(path) if given.black is None else None
    if block:
        start = area[0] + offset[0], area[1] + offset[1]
        black, spread = _black_of_block(np.array(block, float), min(black), layout, start)
        if spread:
            source = f"file; its black differs by {spread:g} within a channel, whose mean is taken"
    if camera is not None and _is_of(camera, black, white):
        black, white = (float(camera.black),) * layout.channels, float(camera.white)
        source = "camera table"
    if given.levels_given:
        black = given.black_of(layout) or black
        white = given.white or white
        both = given.black is not None and given.white is not None
        source = given.levels_given if both else f"{given.levels_given}, else {source}"
    return black, white, source


def _black_of_block(block, least, layout, start):
    """Black of each packed channel from the block of levels that repeats over a DNG file's pixels.

    LibRaw cuts off decimals, and of all but the smallest blocks it tells the least level alone.

    Args:
      block: [rows, columns] float, in DN, from the sensor's first pixel on.
      least: the least level that LibRaw tells, with what other tags add to all of them.
      layout: `packing.Layout`.
      start: (row, column) of the sensor at which the layout starts.

    Returns:
      (means over the sites of each packed channel [C], how far those of one lie apart at the most).
    """
    block = np.roll(block - int(block.min()) + least, (-start[0], -start[1]), (0, 1))
    # So many blocks are a whole number of the filters' periods.
    sites = packing.pack(np.tile(block, (layout.period, layout.period)), layout)
    return tuple(map(float, sites.mean((0, 1)))), np.ptp(sites, (0, 1)).max()


def _is_of(camera, black, white):
    """Whether a file's levels are near the camera's, so that the published ones hold.

    LibRaw's black of one body differs by a few DN from file to file, and its white by what it
    takes for saturation. Black 0 is what it says of files in which it finds none.
    """
    black = sum(black) / len(black)
    near_black = black == 0 or abs(black / camera.black - 1) < 0.1
    return near_black and abs(white / camera.white - 1) < 0.15


def read_raw(path, camera=None, overrides=NOTHING):
    """Reads one raw file.

    Args:
      path: the file.
      camera: `cameras.Camera` whose mosaic the file must have. Where the file's levels are near
        that camera's, the published ones are taken; otherwise, or with None, the file's own.
      overrides: `overrides.Overrides`, what is not to be taken from the file or the camera.

    Returns:
      `RawFrame`. The mosaic has whole periods and even packed sizes: up to three Bayer
      or five X-Trans rows and columns at the bottom and right are cut off.

    Raises:
      InputError: missing, empty, damaged, not raw, of another mosaic than the camera's, all zero,
        or of none that the method knows; the sentence names the file.
    """
    path = pathlib.Path(path)
    with open_raw(path) as raw:
        area = _active_area(raw, path, overrides)
        layout, offset = _layout_and_phase(raw, path, area, overrides.pattern)
        if camera is not None and camera.mosaic != layout.name:
            raise InputError(
                f"{path} has a {layout.name} mosaic, but --camera {camera.name} has a "
                f"{camera.mosaic} one: give the camera the file comes from"
            )
        black, white, source = _levels(raw, path, layout, area, offset, camera, overrides)
        if not max(black) < white:
            raise InputError(
                f"{path} says black level {max(black):g} and white level {white:g}: nothing lies "
                f"between them"
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
        return RawFrame(
            path=path,
            mosaic=mosaic,
            layout=layout,
            offset=offset,
            black=black,
            white=white,
            level_source=source,
            white_balance=_multipliers(raw),
            flip=raw.sizes.flip,
            visible=(area[2] - offset[0], area[3] - offset[1]),
        )


def read_white_balance(path):
    """`RawFrame.white_balance` of a file, without decoding its pixels."""
    with open_raw(path, unpack=False) as raw:
        return _multipliers(raw)


def _multipliers(raw):
    """The camera's white balance (R, G, B), green 1; None if it noted none or nonsense."""
    red, green, blue = raw.camera_whitebalance[:3]
    if not (green > 0 and red > 0 and blue > 0):
        return None
    multipliers = red / green, 1.0, blue / green
    return multipliers if all(np.isfinite(multipliers)) else None


def develop(raw):
    """Develops an open raw file as the published ground truth: LibRaw, camera white balance.

    Full size, no automatic brightening, 16 bit, LibRaw's sRGB primaries and default (BT.709)
    tone curve; the file's orientation is not applied, so that rows and columns are those of
    the mosaic.

    Returns:
      [rows, columns, 3] uint16.
    """
    return raw.postprocess(
        use_camera_wb=True,
        half_size=False,
        no_auto_bright=True,
        output_bps=16,
        user_flip=0,
    )


def read_truth(path, offset=(0, 0)):
    """The ground truth of a long exposure: [rows, columns, 3] float32 sRGB in 0..1.

    Args:
      path: raw file of the long exposure.
      offset: (row, column) at which the burst's mosaic starts, see `RawFrame.offset`.

    Raises:
      InputError: see `open_raw`.
    """
    return as_float(read_truth_16bit(path, offset))


def as_float(picture):
    """A developed picture of uint16 in 0..65535 as float32 in 0..1, of the same shape."""
    return picture.astype(np.float32) / np.float32(65535)


def read_truth_16bit(path, offset=(0, 0)):
    """As `read_truth`, but [rows, columns, 3] uint16 in 0..65535."""
    with open_raw(path) as raw:
        try:
            picture = develop(raw)
        except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
            raise InputError(f"{path} cannot be developed ({_said_by(error)})") from None
    return picture[offset[0] :, offset[1] :]
