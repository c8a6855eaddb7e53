"""Paths that the user gives, and files that are written whole or not at all."""

import functools
import os
import pathlib
import secrets
import tempfile

from dbp_tf.errors import InputError


def expand(path: str | os.PathLike) -> pathlib.Path:
    """A path of the user's, with `~` for the home folder; everything else is taken as it is.

    Raises:
      InputError: there is no home folder.
    """
    path = os.path.expanduser(os.fspath(path))
    if path == "~" or path.startswith("~" + os.sep):
        raise InputError(f"{path}: ~ stands for your home folder, but none is known: write it out")
    return pathlib.Path(path)


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Writes bytes so that `path` holds all of them or what it held before, even after a crash.

    Args:
      path: file to write or replace; its folder must exist.
      data: the file.

    Raises:
      OSError: it cannot be written; the error names `path`.
    """
    path = pathlib.Path(path)
    # The suffix comes last so that no "*.png" pattern ever meets a half-written picture. The name
    # does not follow from the file's own, which may be as long as the disk allows.
    scratch = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        try:
            scratch.unlink(missing_ok=True)
        except OSError:
            # The disk is gone or the name too long: the error above says so.
            pass


@functools.cache
def plain_alias(folder: str | os.PathLike) -> str:
    """A path to a folder by which TensorFlow finds the files in it, whatever the folder is called.

    TensorFlow takes `*`, `?`, `[` and the backslash in a path for patterns, and wants UTF-8.

    Args:
      folder: it is there.

    Returns:
      str: the path itself, or that of a link to it, which is removed when Python exits.
    """
    text = os.fspath(folder)
    if text.isprintable() and not set(text) & set("*?[]\\"):
        return text
    holder = tempfile.TemporaryDirectory(prefix="dbp_tf-")
    _aliases.append(holder)
    link = os.path.join(holder.name, "folder")
    os.symlink(os.path.abspath(text), link, target_is_directory=True)
    return link


# Their links go when they go.
_aliases: list[tempfile.TemporaryDirectory] = []


def check_writable(folder: str | os.PathLike, flag: str = "--result_dir") -> None:
    """Raises InputError unless files can be written in the folder, which need not exist yet.

    Args:
      folder: of the files.
      flag: that gave the folder, for the error.
    """
    # A mistaken name leaves no folder behind, so the nearest one that exists is tried.
    there = pathlib.Path(folder).absolute()
    try:
        while not there.exists():
            there = there.parent
        if there.is_dir():
            with tempfile.TemporaryFile(dir=there):
                return
    except OSError as error:
        raise InputError(
            f"{flag}: nothing can be written to {folder} ({error.strerror or error}): give "
            f"another folder"
        ) from None
    raise InputError(f"{flag}: {there} is a file: give a folder")
