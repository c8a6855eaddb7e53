"""Raw files as the user names them: files, patterns and folders."""

import glob
import os
import pathlib
from collections.abc import Iterable

from dbp_tf import files
from dbp_tf.errors import InputError
from dbp_tf.raw import reading


def expanded(name: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The paths that one word of the command line means; some shells leave `*` to the program.

    Raises:
      InputError: the word is empty.
    """
    if not os.fspath(name):
        raise InputError("one of the files is named by nothing, '': leave it out")
    path = files.expand(name)
    if os.path.lexists(path):
        return [path]
    # A folder may be called "night [1]", which as a pattern means another one.
    folder = glob.escape(str(path.parent)) if path.parent.is_dir() else str(path.parent)
    found = sorted(glob.glob(os.path.join(folder, path.name)))
    return [pathlib.Path(one) for one in found] or [path]


def find(
    words: Iterable[str | os.PathLike[str]], which: str, notes: list[str]
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The raw files and the folders that words of the command line name.

    Args:
      words: files, patterns and folders.
      which: of the files, for the note, such as "of the files named".
      notes: gets a sentence about files that are not raw.

    Returns:
      (files, folders). If none of the files is raw, all are returned: the error of reading says
      what each is instead.

    Raises:
      InputError: a word is empty, or there is nothing of its name.
    """
    paths = [path for word in words for path in expanded(word)]
    folders = [path for path in paths if path.is_dir()]
    named = [path for path in paths if not path.is_dir()]
    for path in named:
        if _is_broken_link(path):
            raise InputError(f"{path} is a link to {os.readlink(path)}, which is not there")
        if not path.is_file():
            raise InputError(f"there is no file or folder {path}")
    raw = _raw_of(named)
    if raw:
        notes += _not_used(named, raw, which)
    return raw or named, folders


def check_distinct(paths: Iterable[pathlib.Path]) -> None:
    """Raises InputError if a file is there twice, by one name or by two."""
    seen: dict = {}
    for path in paths:
        other = seen.setdefault(_identity(path), path)
        if other is not path:
            also = "" if other == path else f", also as {other}"
            raise InputError(f"{path} is named twice{also}: name each file once")


def _is_broken_link(path):
    return path.is_symlink() and not path.exists()


def _identity(path):
    """The same for all names of one file, links included."""
    status = path.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else path.resolve()


def raw_files_in(folder: pathlib.Path, notes: list[str]) -> list[pathlib.Path]:
    """The raw files of a folder, without those in folders below.

    Args:
      folder: it is there.
      notes: gets sentences about files that are not used.
    """
    # Files that start with a dot are other programs' notes, such as macOS's "._IMG_1.DNG".
    visible = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    notes += [
        f"{path} is not used: it is a link to {os.readlink(path)}, which is not there"
        for path in visible
        if _is_broken_link(path)
    ]
    # Links come last, so that the note names the link and not the file.
    there = sorted((path for path in visible if path.is_file()), key=pathlib.Path.is_symlink)
    first_of = {}
    for path in there:
        other = first_of.setdefault(_identity(path), path)
        if other is not path:
            notes.append(f"{path} is not used: it is the same file as {other.name}")
    raw = _raw_of(first_of.values())
    notes += _not_used(first_of.values(), raw, f"in {folder}")
    return raw


def _raw_of(paths):
    """The files that are raw by their names or, if none is, by their contents.

    The raw files of a Raspberry Pi are called .jpg.
    """
    raw = [path for path in paths if is_raw_name(path.name)]
    return raw or [path for path in paths if _holds_raw(path)]


def _not_used(paths, raw, which):
    """[sentence about files that are not raw], or []."""
    other = [path.name for path in paths if path not in raw]
    return [f"{len(other)} {which} not used, not raw: {some(other)}"] if other else []


def some(names: list[str]) -> str:
    """A few names as text."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def is_raw_name(name: str) -> bool:
    """Whether a file's name has the ending of a raw file."""
    return os.path.splitext(name)[1].lower() in reading.RAW_SUFFIXES


def _holds_raw(path):
    try:
        with reading.open_raw(path, unpack=False):
            return True
    except InputError:
        return False
