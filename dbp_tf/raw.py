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

from dbp_tf import packing
from dbp_tf.errors import InputError


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
    """

    path: pathlib.Path
    mosaic: np.ndarray
    layout: packing.Layout
    offset: tuple[int, int]
    black: tuple[float, ...]
    white: float
    level_source: str
    white_balance: tuple[float, float, float] | None

    @property
    def levels(self):
        """One line for the log: black and white level and their source."""
        blacks = sorted(set(self.black))
        black = "/".join(f"{value:g}" for value in blacks)
        return f"black {black}, white {self.white:g} ({self.level_source})"

    def packed(self, ratio=1.0):
        """The packed frame [H, W, C], float32 in 0..1, brightened by the exposure ratio."""
        samples = packing.pack(self.mosaic, self.layout)
        return packing.normalise(samples, self.black, self.white, ratio)


@contextlib.contextmanager
def open_raw(path):
    """Opens and unpacks a raw file with LibRaw; a failure is an InputError that names it."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"there is no raw file {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: copy it from the camera again")
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG")) or head[4:12] in (b"ftypheic", b"ftypavif"):
        raise InputError(
            f"{path} is a finished picture, not a raw file: what the dark held is already lost; "
            f"use the camera's raw file of the same shot"
        )
    try:
        raw = rawpy.RawPy()
        # A file object would be read by Python in one gulp; LibRaw maps the file itself.
        raw.open_file(os.fspath(path))
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


def _layout_and_phase(raw, path):
    """The packing layout of the visible area and the offset at which it starts."""
    if raw.raw_type != rawpy.RawType.Flat or raw.raw_image_visible is None:
        raise InputError(
            f"{path} holds no colour-filter mosaic (a Foveon sensor or an already demosaiced, "
            f"linear DNG): only Bayer and X-Trans raw files can be restored"
        )
    if raw.num_colors != 3 or raw.raw_pattern is None:
        raise InputError(
            f"{path} has {raw.num_colors} colour(s) of filter: only Bayer and X-Trans raw files "
            f"in red, green and blue can be restored"
        )
    names = raw.color_desc.decode("ascii")
    for layout in packing.LAYOUTS.values():
        sites = _site_colours(raw, layout.period)
        offset = packing.phase_of(np.array(list(names))[sites], layout)
        # A Bayer mosaic repeats within six as well, so its period is checked too.
        if offset and raw.raw_pattern.shape == (layout.period,) * 2:
            return layout, offset
    raise InputError(
        f"{path} has colour filters laid out as neither Bayer nor X-Trans "
        f"({'/'.join(''.join(names[i] for i in row) for row in raw.raw_pattern)})"
    )


def _site_colours(raw, period, offset=(0, 0)):
    """[period, period] colour indices of LibRaw, from `offset` in the visible area on."""
    top = raw.sizes.top_margin + offset[0]
    left = raw.sizes.left_margin + offset[1]
    return np.array(
        [[raw.raw_color(top + row, left + col) for col in range(period)] for row in range(period)]
    )


def _levels(raw, layout, offset, camera):
    """(black of each packed channel, white, where they come from)."""
    if camera is not None:
        return (float(camera.black),) * layout.channels, float(camera.white), "camera table"
    colours = _site_colours(raw, layout.period, offset)
    blacks = raw.black_level_per_channel
    black = tuple(float(blacks[colours[sites[0]]]) for sites in layout.sites)
    return black, float(raw.white_level), "file"


def read_raw(path, camera=None):
    """Reads one raw file.

    Args:
      path: the file.
      camera: `cameras.Camera` whose levels hold and whose mosaic the file must have; None takes
        black and white level from the file.

    Returns:
      `RawFrame`. The mosaic has whole periods and even packed sizes: up to three Bayer
      or five X-Trans rows and columns at the bottom and right are cut off.

    Raises:
      InputError: missing, empty, damaged, not raw, not of the camera, or no mosaic the method
        knows; the sentence names the file.
    """
    path = pathlib.Path(path)
    with open_raw(path) as raw:
        layout, offset = _layout_and_phase(raw, path)
        if camera is not None and camera.mosaic != layout.name:
            raise InputError(
                f"{path} has a {layout.name} mosaic, but --camera {camera.name} has a "
                f"{camera.mosaic} one: give the camera the file comes from"
            )
        black, white, source = _levels(raw, layout, offset, camera)
        if not max(black) < white:
            raise InputError(
                f"{path} says black level {max(black):g} and white level {white:g}: nothing lies "
                f"between them"
            )
        multipliers = raw.camera_whitebalance
        green = multipliers[1]
        balanced = green > 0 and min(multipliers[:3]) > 0
        visible = raw.raw_image_visible[offset[0] :, offset[1] :]
        rows, columns = (size // (2 * layout.scale) * 2 * layout.scale for size in visible.shape)
        return RawFrame(
            path=path,
            mosaic=visible[:rows, :columns].copy(),
            layout=layout,
            offset=offset,
            black=black,
            white=white,
            level_source=source,
            white_balance=tuple(m / green for m in multipliers[:3]) if balanced else None,
        )


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
    return read_truth_16bit(path, offset).astype(np.float32) / np.float32(65535)


def read_truth_16bit(path, offset=(0, 0)):
    """As `read_truth`, but [rows, columns, 3] uint16 in 0..65535."""
    with open_raw(path) as raw:
        try:
            picture = develop(raw)
        except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
            raise InputError(f"{path} cannot be developed ({_said_by(error)})") from None
    return picture[offset[0] :, offset[1] :]
