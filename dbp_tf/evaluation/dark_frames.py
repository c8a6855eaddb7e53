"""The dark frames of a burst of the dataset, one after another, the next one read ahead.

LibRaw leaves Python's lock alone, so a raw file is decoded while the networks work on the frame
before it, and no more than two packed frames and the first mosaic are in memory.
"""

from collections.abc import Iterator
from concurrent import futures

import numpy as np

from dbp_tf.data import checks, sid
from dbp_tf.evaluation import developed
from dbp_tf.raw import cameras, reading, white_balance


class DarkFrames:
    """The packed frames [H, W, C] of a burst, float32 in 0..1, brightened; can be iterated again.

    Iterating raises InputError if a file is missing, broken, of another camera or another size, or
    a frame is far brighter than the first one.

    Attributes:
      notes: sentences about frames that look odd, once they were iterated.
    """

    def __init__(
        self,
        burst: sid.Burst,
        camera: cameras.Camera,
        background: futures.Executor,
        most_frames: int | None = None,
        trained: white_balance.Multipliers | None = None,
    ):
        """
        Args:
          burst: of the dataset.
          camera: of its files.
          background: reads files, the first one at once.
          most_frames: that many at the most.
          trained: multipliers to which colours are scaled, `Enhancer.white_balance`.
        """
        self.notes: dict[str, None] = {}
        self._burst = burst
        self._seen: dict = {}
        self._paths = burst.frames[:most_frames]
        self._ratio = burst.ratio
        self._trained = trained
        self._camera = camera
        self._background = background
        self._first = background.submit(reading.read_raw, self._paths[0], camera)
        self._next = None

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def first(self) -> reading.RawFrame:
        """The first frame; waits for it."""
        return self._first.result()

    def __iter__(self) -> Iterator[np.ndarray]:
        # Not a generator, whose variables would hold a frame while the networks work on it.
        return map(self._frame, range(len(self)))

    def _frame(self, index):
        frame = self._next.result() if index else self.first.packed(self._brightness())
        after = self._paths[index + 1 : index + 2]
        self._next = self._background.submit(self._packed, *after) if after else None
        return frame

    def _packed(self, path):
        frame, first = reading.read_raw(path, self._camera), self.first
        frame.check_fits(first)
        # The first frame is noted down once, before those that are held against it.
        for one in (frame,) if self._seen else (first, frame):
            rows = checks.sampled(one.mosaic)
            found = checks.check_frame(self._burst, one.path, rows, self._seen, min(first.black))
            self.notes |= dict.fromkeys(found)
        return frame.packed(self._brightness())

    def _brightness(self):
        """Exposure ratio times white balance [C], of the first frame for all."""
        return self._ratio * white_balance.channel_scales_for(
            self.first.white_balance, self._trained, self.first.layout
        )

    def traditional(self) -> np.ndarray:
        """The first frame developed by LibRaw, brightened and nothing else."""
        return developed.develop_packed(self.first, self.first.packed(self._ratio))
