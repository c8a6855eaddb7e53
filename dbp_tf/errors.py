"""The user's mistakes: their exception, and its sentence for the terminal."""

import errno
import os


class InputError(ValueError):
    """Bad input. Its text is one sentence that names the file or flag and says what to do.

    Scripts print the text without a traceback and exit with a code other than 0.
    """


# Errors that the user can mend: bad input, a full disk or a missing permission (bugs rarely end in
# an OSError), and a name that is not UTF-8 where TensorFlow needs it to be.
MENDABLE = (InputError, OSError, UnicodeEncodeError)

_ADVICE = {
    errno.ENOSPC: "the disk is full: make room there, or give another folder",
    errno.EDQUOT: "your share of the disk is used up: make room there, or give another folder",
    errno.EACCES: "permission denied: change the permissions, or give another path",
    errno.EPERM: "permission denied: change the permissions, or give another path",
    errno.EROFS: "the disk is read-only: give another folder",
    errno.ENAMETOOLONG: "the name is too long for this disk: give a shorter one",
    errno.ENOENT: "there is no such file or folder",
    errno.EPIPE: "nobody reads any more what is printed",
}


def sentence(error: Exception) -> str:
    """A `MENDABLE` error as a sentence for the user: the path, the cause, what to do."""
    if isinstance(error, UnicodeEncodeError):
        return printable(f"the name {error.object} is not UTF-8, as is needed here: rename it")
    if not isinstance(error, OSError) or error.errno is None:
        return printable(str(error))
    cause = _ADVICE.get(error.errno) or str(error.strerror)
    names = [os.fsdecode(name) for name in (error.filename,) if isinstance(name, str | bytes)]
    return printable(": ".join([*names, cause]))


def first_line(error: Exception) -> str:
    """The first line of an error's text, or the name of its kind if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def raise_or_note(error: Exception, problems: list[str] | None) -> None:
    """Raises a `MENDABLE` error or, if there is a list of problems, adds its sentence to that."""
    if problems is None:
        raise error
    problems.append(sentence(error))


def printable(text: str, keep: str = "") -> str:
    r"""Text with escapes such as \n and \xff for characters that a terminal does not take.

    Args:
      text: may hold file names, which can contain anything.
      keep: control characters that stay.
    """
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character):
    # Python holds a byte that is not UTF-8 as one of these.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
