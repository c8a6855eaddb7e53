"""The dark frames of a burst of the dataset, one after another, the next one read ahead.

LibRaw leaves Python's lock alone, so a raw file is decoded while the networks work on the frame
before it, and no more than two packed frames and the first mosaic are in
memory.
"""

from dbp_tf.errors import InputError
from dbp_tf.raw import reading, white_balance


class DarkFrames:
    """The packed frames [H, W, C] of a burst, float32 in 0..1, brightened; as often as asked.

    Iterating raises InputError if a file is missing, broken, of another camera or another size.
    """

    def __init__(self, burst, camera, background, most_frames=None, trained=None):
        """
        Args:
          burst: `sid.Burst`.
          camera: `cameras.Camera`.
          background: `concurrent.futures.Executor` that reads; the first file at once.
          most_frames: that many at the most.
          trained: multipliers to which colours are scaled, `Enhancer.white_balance`.
        """
        self._paths = burst.frames[:most_frames]
        self._ratio = burst.ratio
        self._trained = trained
        self._camera = camera
        self._background = background
        self._first = background.submit(reading.read_raw, self._paths[0], camera)

    def __len__(self):
        return len(self._paths)

    @property
    def first(self):
        """`reading.RawFrame` of the first frame; waits for it."""
        return self._first.result()

    def __iter__(self):
        ahead = None
        for index in range(len(self)):
            held = [ahead.result() if index else self.first.packed(self._brightness())]
            ahead = None
            if index + 1 < len(self):
                ahead = self._background.submit(self._packed, self._paths[index + 1])
            # A variable would hold the frame while the networks work on it.
            yield held.pop()

    def _packed(self, path):
        frame, first = reading.read_raw(path, self._camera), self.first
        if frame.mosaic.shape != first.mosaic.shape or frame.offset != first.offset:
            raise InputError(
                f"{path} is a frame of {_size(frame)} pixels, but {first.path.name} has "
                f"{_size(first)}: a burst's frames are of one size"
            )
        return frame.packed(self._brightness())

    def _brightness(self):
        """Exposure ratio times white balance [C], of the first frame for all."""
        if self._trained is None:
            return self._ratio
        return self._ratio * white_balance.channel_scales_for(
            self.first.white_balance, self._trained, self.first.layout
        )


def _size(frame):
    rows, columns = frame.mosaic.shape
    offset = "" if frame.offset == (0, 0) else f" (from row, column {frame.offset})"
    return f"{rows} x {columns}{offset}"
