"""Writing files whole: under a temporary name first, then renamed."""

import os
import pathlib
import secrets
import tempfile

from dbp_tf.errors import InputError


def write_whole(path, data):
    """Writes bytes so that `path` holds all of them or what it held before, even after a crash.

    Args:
      path: file to write or replace; its folder must exist.
      data: bytes.
    """
    path = pathlib.Path(path)
    # The suffix comes last so that no "*.png" pattern ever meets a half-written picture.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def check_writable(folder):
    """Raises InputError unless files can be written in the folder, which need not exist yet."""
    # What comes of a mistake leaves no folder behind, so the nearest one that exists is tried.
    there = pathlib.Path(folder).absolute()
    try:
        while not there.exists():
            there = there.parent
        if there.is_dir():
            with tempfile.TemporaryFile(dir=there):
                return
    except OSError as error:
        raise InputError(
            f"--result_dir: nothing can be written to {folder} ({error.strerror or error}): give "
            f"another folder"
        ) from None
    raise InputError(f"--result_dir: {there} is a file: give a folder")
