"""Burst photography in the dark: a TensorFlow 2 / Keras 3 port of arXiv 2006.09845.

The method, with F frames of H x W packed pixels and C packed channels:

    model = dbp_tf.load_pretrained(folder)              # networks with weights: an Enhancer
    raws = [read_raw(path) for path in burst]           # mosaics, black and white levels
    frames = tf.stack([raw.packed(ratio, model.white_balance) for raw in raws])
                                                        # [F, H, W, C] in 0..1, linear, brightened
    low = networks.half_size(frames)                    # [F, H/2, W/2, C]
    coarse = model.coarse(low)                          # every frame denoised on its own
    levels = encoder([frames, coarse])                  # five levels of every frame
    fused = [tf.reduce_max(level, 0, keepdims=True) for level in levels]
    picture = decoder(fused)[0]                         # [S*H, S*W, 3] sRGB

The last five lines are `models.networks.restore_burst(model.coarse, model.fine, frames)`. Encoder,
fusion and decoder make up the fine network, `model.fine`, see `networks.parts`. They are shown for
the first version; in the revised one the first level is the reference frame's alone, and the
deepest one passes a bottleneck. `model.enhance(frames)` gives the same picture frame by frame, so
that memory does not grow with F.

The subpackages. Each imports only from those above it (`photos` only from the first three,
`calibrate` only from `raw`):

    raw         cameras, raw files, levels, packing, white balance
    models      the networks and their layers, the published names of their weights
    restore     weights on disk, the Enhancer, frame by frame in little memory, modes
    data        files of the See-in-the-Dark dataset, their cache, training patches
    calibrate   a camera's noise, measured: python -m dbp_tf.calibrate
    simulate    raw bursts made of photographs: python -m dbp_tf.simulate
    evaluation  the published evaluation, its figures and metrics: test_burst.py
    report      the page of an evaluation's results: python -m dbp_tf.report
    training    the three stages: train_coarse.py, train_fine.py, train_burst.py
    photos      own photographs: python -m dbp_tf.photos

Modules beside the subpackages serve all of them: `parameters`, `config` and `cli` for flags,
`files`, `pictures` (PNG, TIFF and JPEG), `progress`, `errors` and `environment`.

README.md lists where to add or change a camera, a fusion, a training flag, a loss and more.
"""

from typing import Any

from dbp_tf import environment

__version__ = "0.2.0"

environment.prepare()


def __getattr__(name: str) -> Any:
    # TensorFlow takes seconds to import, which `python -m dbp_tf.simulate` should not pay.
    if name in ("load_pretrained", "save_pretrained"):
        from dbp_tf.restore import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
