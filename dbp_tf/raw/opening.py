"""Opening raw files with LibRaw: each failure is a sentence that names the file and a way out.

Samples of DNG files are changed here as the file asks for and LibRaw does not, so that frames and
the ground truth, which LibRaw develops, get the same.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import tempfile
import threading
from collections.abc import Iterator

import numpy as np
import rawpy

from dbp_tf.errors import InputError
from dbp_tf.raw import dng

# Raw files take between 1 and 16 bits a pixel, lossy ones somewhat less. A damaged header that
# claims far more pixels than the file can hold would cost gigabytes before LibRaw notices.
_MOST_PIXELS_PER_BYTE = 64

_REMARK = re.compile(rb": (Unexpected end of file|data corrupted at -?\d+)$", re.MULTILINE)

# First bytes of the files whose header names the camera. For others, dumps of a sensor, LibRaw
# guesses it from the size.
_HEADERS = (
    *(b"II", b"MM", b"FUJIFILM", b"\xff\xd8\xff", b"FOVb", b"\0MRM", b"qktk", b"qktn", b"ARRI"),
    *(b"PWAD", b"NOKIA", b"RIFF", b"DSC-Image", b"BM", b"BR", b"SONY"),
)


@contextlib.contextmanager
def open_raw(path: str | os.PathLike[str], unpack: bool = True) -> Iterator[rawpy.RawPy]:
    """Opens a raw file with LibRaw.

    The samples of a DNG file are changed as the file asks for and LibRaw does not, see
    `dng.correct`. Without `unpack` the pixels are not decoded: only the header is looked at.

    Raises:
      InputError: the file is missing, empty, damaged, no raw file, of a kind that LibRaw does not
        read, or cannot be developed.
    """
    with opened(path, unpack) as (raw, _):
        yield raw


@contextlib.contextmanager
def opened(
    path: str | os.PathLike[str], unpack: bool = True
) -> Iterator[tuple[rawpy.RawPy, dng.Facts]]:
    """`open_raw` that yields (LibRaw's file, `dng.Facts` in the scale of its samples).

    The facts of a file that is no DNG say nothing but notes.
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
    # HEIC and AVIF are ISO media files, too; among these only Canon's CR3 is raw.
    if head.startswith(b"\x89PNG") or (head[4:8] == b"ftyp" and head[8:12] != b"crx "):
        raise InputError(_finished(path))
    facts = dng.read_facts(path)
    if facts.refusal:
        raise InputError(f"{path} {facts.refusal}")
    size = path.stat().st_size
    if facts.size > size:
        raise InputError(
            f"{path} is damaged or cut short (it has {size} of {facts.size} bytes): copy it from "
            f"the camera again"
        )
    try:
        with _without_remarks():
            raw = rawpy.RawPy()
            # A file object would be read by Python in one gulp; LibRaw maps the file itself.
            try:
                raw.open_file(os.fspath(path))
            except UnicodeEncodeError:
                # LibRaw's wrapper takes names in UTF-8 only.
                with path.open("rb") as file:
                    raw.open_buffer(file)
            pixels = raw.sizes.raw_height * raw.sizes.raw_width
            if pixels > _MOST_PIXELS_PER_BYTE * size:
                raise InputError(
                    f"{path} is damaged or cut short (it claims {pixels} pixels in {size} bytes): "
                    f"copy it from the camera again"
                )
            if unpack:
                raw.unpack()
    except rawpy.LibRawFileUnsupportedError:
        raise InputError(_unsupported(path, head, facts)) from None
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise InputError(
            f"{path} is damaged or cut short ({_said_by(error)}): copy it from the camera again"
        ) from None
    with contextlib.closing(raw):
        facts = _in_libraws_scale(facts, raw)
        if unpack and holds_mosaic(raw):
            black = max(min(raw.black_level_per_channel) - facts.mean_delta, 0)
            if facts.black is not None and not facts.black.any() and black >= 1:
                # The file says 0, but LibRaw measured another level in its MaskedAreas.
                facts = dataclasses.replace(facts, black=None)
            dng.correct(raw.raw_image, facts, black, white_of(raw, facts))
            notes = (*facts.notes, *_notes(raw, head))
            facts = dataclasses.replace(facts, notes=notes)
        try:
            yield raw, facts
        except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
            raise InputError(f"{path} cannot be developed ({_said_by(error)})") from None


@contextlib.contextmanager
def _without_remarks():
    """Keeps LibRaw from printing about damaged files, of which it also raises an error.

    It does so from C, which only the file descriptor can keep quiet. Other threads read while the
    networks work, and TensorFlow's messages must not get lost: there LibRaw may print.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            said = stack.enter_context(tempfile.TemporaryFile())
            error_output = os.dup(2)
            os.dup2(said.fileno(), 2)
            stack.callback(_give_back, error_output, said)
        yield


def _give_back(error_output, said):
    """Standard error as it was, with all that was said meanwhile but LibRaw's remarks."""
    os.dup2(error_output, 2)
    os.close(error_output)
    said.seek(0)
    for line in said:
        if not _REMARK.search(line):
            os.write(2, line)


def _finished(path):
    return (
        f"{path} is a finished picture, not a raw file: what the dark held is already lost; use "
        f"the camera's raw file of the same shot"
    )


def _unsupported(path, head, facts):
    """Why LibRaw does not know a file, and the way out."""
    if facts.compression:
        return f"{path} is compressed with {facts.compression}"
    if head.startswith(b"\xff\xd8\xff"):
        # LibRaw finds the raw samples behind the picture of some of a Raspberry Pi's cameras.
        if b"BRCMo" in path.read_bytes():
            return (
                f"{path} is the JPEG of a Raspberry Pi whose raw samples LibRaw does not read: "
                f"shoot DNG (rpicam-still --raw), or convert it with PyDNG"
            )
        return _finished(path)
    return (
        f"{path} is not a raw file that LibRaw can read, or it is damaged or cut short: copy it "
        f"from the camera again"
    )


def _in_libraws_scale(facts, raw):
    """Facts with levels in DN of the samples that LibRaw gives."""
    if not facts.floating_point:
        return facts
    scale = raw.white_level / (facts.white or 1)
    scaled = {
        name: getattr(facts, name) * scale
        for name in ("black", "delta_rows", "delta_columns")
        if getattr(facts, name) is not None
    }
    return dataclasses.replace(facts, white=None, **scaled)


def _notes(raw, head):
    """Sentences about pixels that are not square and files without a header."""
    notes = []
    aspect = raw.sizes.pixel_aspect
    if abs(aspect - 1) > 0.01:
        notes.append(
            f"the sensor's pixels are not square ({aspect:.3g} to 1): the picture is not "
            f"stretched, so change its size by that afterwards"
        )
    if not head.startswith(_HEADERS) and head[4:8] != b"ftyp":
        notes.append(
            f"the file has no header that names its camera: size, filters and levels are LibRaw's "
            f"guess (white level {raw.white_level}, brightest pixel "
            f"{np.max(raw.raw_image_visible)}); if the picture is wrong, give --black, --white, "
            f"--pattern or --active_area"
        )
    return notes


def white_of(raw: rawpy.RawPy, facts: dng.Facts) -> float:
    """The white level in DN."""
    return facts.white or float(raw.white_level)


def holds_mosaic(raw: rawpy.RawPy) -> bool:
    """Whether the file holds one sample a pixel, behind filters or none."""
    return raw.raw_type == rawpy.RawType.Flat and raw.raw_image_visible is not None


def _said_by(error):
    text = error.args[0] if error.args else error
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
