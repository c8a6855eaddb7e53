"""The pictures of a burst that a figure shows, beside the one that is written and scored.

They are restored together with it, so that no frame is encoded twice.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dbp_tf import progress
from dbp_tf.evaluation import developed, sheets
from dbp_tf.evaluation.dark_frames import DarkFrames
from dbp_tf.raw import reading
from dbp_tf.restore import modes

if TYPE_CHECKING:  # TensorFlow takes seconds to import.
    from dbp_tf.restore.enhancer import Enhancer


def make(
    figure: Any, model: "Enhancer", frames: DarkFrames, mode: str, **how: Any
) -> tuple[np.ndarray, float, Any]:
    """Makes a burst's picture and all that a figure shows of it.

    Args:
      figure: of `figures`; None for the picture alone.
      model: it can do the mode.
      frames: of the burst.
      mode: a key of `modes.MODES`; "burst" with a figure.
      **how: `reference_frame`, `padded_columns` and more, see `modes.restore`.

    Returns:
      (the burst's picture, the seconds it took, what the figure's `draw` needs or None).

    Raises:
      InputError: the detail that the figure enlarges is not in the picture.
    """
    if figure:
        sheets.check_box(figure.box, frames.first.mosaic.shape)
        return _LOOKS[figure.name](figure, model, frames, **how)
    started = time.monotonic()
    picture = modes.restore(model, frames, mode, **how)
    return picture, time.monotonic() - started, None


def _panel(figure, model, dark, **how):
    frames = list(dark)
    grown = list(modes.grow(model, frames, {1, len(frames)}, **how))
    (_, fine, _), (_, picture, seconds) = grown[0], grown[-1]
    progress.status("figure: developing the traditional and the coarse picture")
    looks = {
        "Traditional": dark.traditional(),
        "Coarse": developed.coarse(model, dark.first, frames[0]),
        "Fine (1 frame)": fine,
        f"Burst of {len(frames)}" if len(frames) > 1 else "Burst": picture,
    }
    return picture, seconds, looks


def _teaser(figure, model, dark, **how):
    frames = list(dark)
    *_, (_, picture, seconds) = modes.grow(model, frames, {len(frames)}, **how)
    looks = {"Input": reading.read_truth(dark.first.path, dark.first.offset)}
    for label, network in (("SID", figure.sid), ("Fine", model)):
        for mode, letter in (("single", "S"), ("ensemble", "E")):
            if network:
                progress.status(f"figure: restoring {label} ({letter})")
                looks[f"{label} ({letter})"] = modes.restore(network, frames, mode, **how)
    looks["Burst (B)"] = picture
    return picture, seconds, looks


def _frames(figure, model, dark, **how):
    grown = list(modes.grow(model, dark, figure.counts_of(len(dark)), **how))
    _, picture, seconds = grown[-1]
    return picture, seconds, grown


_LOOKS: dict[str, Callable] = {"panel": _panel, "teaser": _teaser, "frames": _frames}
