"""The environment as Keras needs it, set by `import dbp_tf`, so before Keras is imported."""

import importlib.util
import os
import pathlib
import sys


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
