"""TensorFlow and Keras: the environment they need, and their import without noise.

`import dbp_tf` calls `prepare`, and so does it before Keras is imported.
"""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator

from dbp_tf import progress

# TensorFlow logs these before it has read TF_CPP_MIN_LOG_LEVEL: information, and complaints that
# its own libraries register twice.
_CHATTER = (
    "^I[0-9]{4} |^WARNING: All log messages before absl::InitializeLog|"
    "^[WE][0-9]{4} .*(register|Register)"
)


def prepare() -> None:
    """Chooses Keras' backend, and leaves out a plot backend that matplotlib would not find.

    Keras reads both when it is imported: the backend of another project would be imported instead
    of TensorFlow, and the MPLBACKEND that a notebook hands to its programs stops matplotlib, which
    Keras imports, where the notebook's own package is missing.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    backend = os.environ.get("MPLBACKEND")
    if backend and "matplotlib" not in sys.modules and not _is_found(backend):
        del os.environ["MPLBACKEND"]


def _is_found(backend):
    """Whether matplotlib has a plot backend of this name; importing matplotlib could fail."""
    if backend.startswith("module://"):
        package = backend.removeprefix("module://").partition(".")[0]
        return bool(package) and importlib.util.find_spec(package) is not None
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is None or backend.lower() == "notebook":
        return True
    (folder,) = matplotlib.submodule_search_locations
    return (pathlib.Path(folder) / f"backends/backend_{backend.lower()}.py").is_file()


def import_tensorflow(all_gpus: bool = False) -> types.ModuleType:
    """Imports TensorFlow without the lines about CPU features and says which device computes.

    Set TF_CPP_MIN_LOG_LEVEL to less than 3 to see all that TensorFlow logs. With a GPU, memory is
    taken as needed, not all at once. Keras is imported without scikit-learn and matplotlib, so
    that in this process its wrappers for scikit-learn and its plots fail; both packages themselves
    can be imported afterwards.

    Args:
      all_gpus: whether all GPUs compute, and not the first alone.

    Returns:
      The `tensorflow` module.
    """
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") not in ("0", "1", "2")
    with _without_chatter() if quiet else contextlib.nullcontext(), without_extras_of_keras():
        import tensorflow as tf
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # The GPU is in use already: its memory is shared out, nothing is to be changed.
            break
    progress.say(f"Computing on {_device(tf, gpus, all_gpus)}.")
    return tf


def _device(tf, gpus, all_gpus):
    if gpus:
        names = [
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus
        ]
        if all_gpus or len(gpus) == 1:
            return f"the GPU: {', '.join(names)}"
        return f"the first of {len(gpus)} GPUs: {names[0]}"
    cpu = f"the CPU ({os.cpu_count()} cores)"
    if pathlib.Path("/dev/nvidia0").exists():
        cpu += (
            ", though this machine has an NVIDIA GPU: pip install 'tensorflow[and-cuda]' lets "
            "TensorFlow use it, and TF_CPP_MIN_LOG_LEVEL=0 shows what it lacks"
        )
    return cpu


@contextlib.contextmanager
def without_extras_of_keras() -> Iterator[None]:
    """Keeps Keras from importing packages for parts of it that are not used here.

    They take a third of the time of importing TensorFlow, most of it scikit-learn.
    """
    extras = [name for name in ("matplotlib", "sklearn") if name not in sys.modules]
    for name in extras:
        # Python takes a module that is None for one that is not installed.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in extras:
            del sys.modules[name]


@contextlib.contextmanager
def _without_chatter():
    """Drops the lines that match `_CHATTER` from standard error, where there is grep.

    Another process filters the lines, so that TensorFlow's messages before a crash are printed.
    """
    grep = shutil.which("grep")
    if grep is None:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with subprocess.Popen(
        [grep, "-v", "-E", _CHATTER], stdin=subprocess.PIPE, stdout=stderr
    ) as picking:
        os.dup2(picking.stdin.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
