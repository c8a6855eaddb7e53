"""Scores of networks in training on whole bursts of the validation split."""

import zlib

import numpy as np

from dbp_tf.data import patches
from dbp_tf.evaluation import protocol
from dbp_tf.raw import packing
from dbp_tf.restore import modes


def validate(enhancer, bursts, cache, camera, stage, n_burst=8):
    """Mean scores, taken as the published evaluation takes them.

    The fine stage sees one frame a burst, the burst stage all. The coarse stage gives no picture:
    its output for the first frame is compared with the clean half-size raw frame.

    Args:
      enhancer: `pretrained.Enhancer`.
      bursts: list of `sid.Burst` with truths.
      cache: folder of the cache.
      camera: `cameras.Camera`.
      stage: one of `recipe.STAGES`.
      n_burst: frames at the most.

    Returns:
      dict of psnr (dB, data range 1), ssim_range2 and ssim_range1, and of "scored", a text that
      differs where the figures are of other frames.
    """
    scores = [
        _score_coarse(enhancer, burst, cache, camera)
        if stage == "coarse"
        else _score(enhancer, burst, cache, camera, n_burst if stage == "burst" else 1)
        for burst in bursts
    ]
    names = ("psnr", "ssim_range2", "ssim_range1")
    frames = ";".join(str(f) for b in bursts for f in (b.scene, b.exposure, len(b.frames)))
    scored = (
        f"{len(bursts)} bursts of {n_burst} frames at the most, {zlib.crc32(frames.encode()):08x}"
    )
    means = {name: float(np.mean([score[name] for score in scores])) for name in names}
    return {"scored": scored, **means}


def _score(enhancer, burst, cache, camera, n_burst):
    frames, truth = patches.load_burst(cache, burst, camera, n_burst)
    picture = modes.restore(
        enhancer,
        list(frames),
        reference_frame=enhancer.reference_frame_for(camera),
        padded_columns=camera.padded_columns,
    )
    return protocol.score(*protocol.crop_to_common(picture, truth))


def _score_coarse(enhancer, burst, cache, camera):
    (sources,) = patches.prepare([burst], cache, camera, "coarse")
    dark, clean = (
        packing.normalise(entry.open(), entry.black, entry.white, ratio)
        for entry, ratio in ((sources.frames[0], sources.ratio), (sources.clean, 1.0))
    )
    output = enhancer.coarse(packing.halve(dark)[None])[0].numpy()
    return protocol.score(output, packing.halve(clean))
