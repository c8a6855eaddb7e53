"""Writing files whole: under a temporary name first, then renamed."""

import os
import pathlib
import secrets


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
