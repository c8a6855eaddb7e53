"""Burst photography in the dark: a TensorFlow 2 / Keras 3 port of arXiv 2006.09845."""

from dbp_tf import environment

__version__ = "0.2.0"

environment.prepare()


def __getattr__(name):
    # TensorFlow takes seconds to import, which `python -m dbp_tf.simulate` should not pay.
    if name in ("load_pretrained", "save_pretrained"):
        from dbp_tf.restore import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
