"""Scores of networks in training on whole bursts of the validation split."""

import zlib
from typing import Any

import numpy as np

from dbp_tf.data.sources import Sources, load_burst
from dbp_tf.evaluation import metrics
from dbp_tf.raw import packing, white_balance
from dbp_tf.raw.cameras import Camera
from dbp_tf.restore import modes
from dbp_tf.restore.enhancer import Enhancer
from dbp_tf.training.config import Training


def validate(
    enhancer: Enhancer, held_out: list[Sources], camera: Camera, settings: Training
) -> dict[str, Any]:
    """Mean scores, taken as the published evaluation takes them.

    The fine stage sees one frame a burst, the burst stage all. The coarse stage gives no picture:
    its output for the first frame is compared with the clean half-size raw frame.

    Args:
      enhancer: `enhancer.Enhancer`.
      held_out: list of `Sources`.
      camera: `cameras.Camera`.
      settings: a stage of `training.config`.

    Returns:
      dict of psnr (dB, data range 1), ssim_range2 and ssim_range1, and of "scored", a text that
      differs where the figures are of other frames.
    """
    score = _score_coarse if settings.stage == "coarse" else _score
    scores = [score(enhancer, sources, camera, settings) for sources in held_out]
    names = ("psnr", "ssim_range2", "ssim_range1")
    frames = ";".join(f"{s.scene};{s.ratio};{len(s.frames)}" for s in held_out)
    scored = (
        f"{len(held_out)} bursts of {settings.n_burst} frames at the most, "
        f"{zlib.crc32(frames.encode()):08x}"
    )
    means = {name: float(np.mean([score[name] for score in scores])) for name in names}
    return {"scored": scored, **means}


def _score(enhancer, sources, camera, settings):
    frames, truth = load_burst(sources, enhancer.white_balance)
    picture = modes.restore(
        enhancer,
        list(frames),
        reference_frame=enhancer.reference_frame_for(camera),
        padded_columns=camera.padded_columns,
    )
    return metrics.score(*metrics.crop_to_common(picture, truth))


def _score_coarse(enhancer, sources, camera, settings):
    first = sources.frames[0]
    scales = white_balance.channel_scales_for(
        first.white_balance, enhancer.white_balance, sources.layout
    )
    dark, clean = (
        packing.normalise(entry.open(), entry.black, entry.white, ratio * scales)
        for entry, ratio in ((first, sources.ratio), (sources.clean, 1.0))
    )
    output = enhancer.coarse(packing.halve(dark)[None])[0].numpy()
    return metrics.score(output, packing.halve(clean))
