"""Raw files of dark and flat frames: found, told apart by ISO setting, read, compared.

Of a large frame only some bands of rows are kept, which is more than enough: twenty frames of
24 megapixels take 160 MB.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from dbp_tf import progress
from dbp_tf.calibrate import sites
from dbp_tf.errors import InputError
from dbp_tf.raw import exif, named_files, packing, reading
from dbp_tf.raw.exif import Shot
from dbp_tf.raw.overrides import Overrides
from dbp_tf.raw.white_balance import Multipliers

# Pixels of a frame that are kept, in so many bands from top to bottom. The height of a band is a
# whole number of periods of either mosaic.
_MOST_PIXELS = 4_000_000
_BANDS = 3
_PERIODS = 12

# EXIF's tag of the ISO setting ends here: higher ones are said elsewhere.
_MOST_ISO_OF_EXIF = 65535

# LibRaw leaves Python's lock alone.
_READERS = 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """A raw file's pixels and what it says about them.

    Attributes:
      shot: the file and how it was taken; its ISO setting is known.
      samples: [rows, columns] uint16, bands of the mosaic one below the other, in DN.
      contiguous: rows of a band.
      size: rows and columns of the whole mosaic.
      layout: `packing.BAYER` or `packing.XTRANS`.
      offset: (row, column) of the mosaic in the visible area.
      black: [P, P] black level of each filter site, in DN.
      white: raw value of saturation.
      white_balance: multipliers (R, G, B) that the file notes; None if it notes none.
      digest: of all pixels.
      notes: sentences about the file.
    """

    shot: Shot
    samples: np.ndarray
    contiguous: int
    size: tuple[int, int]
    layout: packing.Layout
    offset: tuple[int, int]
    black: np.ndarray
    white: float
    white_balance: Multipliers | None
    digest: bytes
    notes: tuple[str, ...]

    @property
    def path(self) -> pathlib.Path:
        """The file."""
        return self.shot.path


def find(
    words: Sequence[str], flag: str, iso: float | None, notes: list[str]
) -> dict[float, list[Shot]]:
    """The shots of files, patterns and folders, by rising ISO setting, which all of them say.

    Args:
      words: of the flag.
      flag: for errors, such as "--dark".
      iso: setting of the files that do not say theirs.
      notes: gets sentences about files that are not used.

    Raises:
      InputError: a file is missing, or does not say its ISO setting.
    """
    found, folders = named_files.find(words, f"of the files of {flag}", notes)
    for folder in folders:
        found += named_files.raw_files_in(folder, notes)
    if not found:
        raise InputError(f"{flag}: there are no raw files in {', '.join(words)}")
    shots: dict[float, list[Shot]] = collections.defaultdict(list)
    for path in found:
        said = exif.read_shot(path)
        setting = _iso(said, flag, iso)
        shots[setting].append(dataclasses.replace(said, iso=setting))
    return dict(sorted(shots.items()))


def _iso(shot, flag, iso):
    """The ISO setting of a shot; `iso` if the file does not say."""
    found = shot.iso
    if found is None or found >= _MOST_ISO_OF_EXIF:
        with reading.open_raw(shot.path, unpack=False) as raw:
            # LibRaw knows more places, the maker's own notes among them.
            found = getattr(getattr(raw, "other", None), "iso_speed", 0) or found or iso
    if not found:
        raise InputError(
            f"{shot.path}, of {flag}, does not say its ISO setting: give --iso, and files of that "
            f"one setting only"
        )
    return round(float(found), 2)


class Reader:
    """Reads frames and makes sure that they are different pictures of one camera.

    Attributes:
      whites: white levels that the files say.
      balances: multipliers (R, G, B) that the files note, None for none.
    """

    def __init__(self, overrides: Overrides):
        """`overrides`: facts that replace the files'."""
        self._overrides = overrides
        self._first: Frame | None = None
        self.whites: set[float] = set()
        self.balances: list[Multipliers | None] = []
        self._seen: dict[bytes, pathlib.Path] = {}

    def read(self, shots: Sequence[Shot], what: str) -> list[Frame]:
        """The frames of the shots.

        Args:
          shots: of one ISO setting.
          what: they are, for the log.

        Raises:
          InputError: a file cannot be read, comes from another camera than the first one of all, or
            holds the same pixels as another.
        """
        frames = []
        with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
            try:
                for frame in self._in_order(shots, readers):
                    progress.status(f"{what}: {len(frames) + 1} of {len(shots)} read")
                    self._check(frame)
                    frames.append(frame)
            finally:
                readers.shutdown(cancel_futures=True)
        return frames

    @property
    def first(self) -> Frame:
        """The first frame of all; there has to be one."""
        assert self._first is not None
        return self._first

    def _in_order(self, shots, readers) -> Iterator[Frame]:
        if self._first is None:
            # By its black level the others are read.
            yield _read(shots[0], self._overrides)
            shots = shots[1:]
        overrides = self._overrides
        first = self._first
        if first is not None and overrides.black is None and not first.black.any():
            # The first frame is dark and has shown that 0 is right; of a bright one it would be
            # doubted.
            overrides = dataclasses.replace(overrides, black=(0.0,))
        yield from readers.map(lambda shot: _read(shot, overrides), shots)

    def _check(self, frame):
        self._first = first = self._first or frame
        self.whites.add(frame.white)
        self.balances.append(frame.white_balance)
        other = self._seen.setdefault(frame.digest, frame.path)
        if other is not frame.path:
            raise InputError(
                f"{frame.path} holds the very pixels of {other}: each frame counts once, so leave "
                f"one of them out"
            )
        for ours, theirs, text in (
            (frame.shot.camera, first.shot.camera, "comes from {}"),
            (frame.size, first.size, "has {0[0]} x {0[1]} pixels"),
            (frame.layout.name, first.layout.name, "has the mosaic {}"),
            (frame.offset, first.offset, "has its colour filters laid out from {}"),
        ):
            if ours != theirs:
                raise InputError(
                    f"{frame.path} {text.format(ours)}, but {first.path} {text.format(theirs)}: "
                    f"all frames have to be of one camera, with the same settings"
                )


def _read(shot, overrides):
    raw = reading.read_raw(shot.path, overrides=overrides)
    samples, contiguous = _bands(raw.mosaic, raw.layout.period)
    return Frame(
        shot=shot,
        samples=samples,
        contiguous=contiguous,
        size=raw.mosaic.shape,
        layout=raw.layout,
        offset=raw.offset,
        black=sites.of_channels(raw.black, raw.layout),
        white=raw.white,
        white_balance=raw.white_balance,
        digest=hashlib.sha1(raw.mosaic, usedforsecurity=False).digest(),
        notes=raw.notes,
    )


def _bands(mosaic, period):
    """(bands of a mosaic one below the other, the height of each), whole periods."""
    columns = mosaic.shape[1] // period * period
    step = period * _PERIODS
    height = _MOST_PIXELS // columns // _BANDS // step * step
    if mosaic.size <= _MOST_PIXELS or not height:
        rows = len(mosaic) // period * period
        return mosaic[:rows, :columns], rows
    starts = np.linspace(0, (len(mosaic) - height) // period, _BANDS).astype(int) * period
    bands = [mosaic[start : start + height, :columns] for start in starts]
    return np.concatenate(bands), height
