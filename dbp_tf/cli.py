"""What the scripts share: flags, errors in one sentence, a quiet TensorFlow."""

import math
import os
import sys
import tempfile

from absl import flags

from dbp_tf import memory, progress
from dbp_tf.errors import InputError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def run(main, flag_values, argv=None, words=False):
    """Parses the flags, runs a script and turns the user's mistakes into one sentence.

    Each script keeps its flags in a `flags.FlagValues` of its own and not in absl's global one,
    so that several scripts, whose flags share names, can be imported side by side.

    Args:
      main: function without arguments, see `words`; returns an exit code, None for 0.
      flag_values: the script's flags; `--help` prints them after the script's docstring.
      argv: the command line, script name first; `sys.argv` by default.
      words: whether `main` takes the words that are not flags, as a list; else they are a mistake.

    Returns:
      The exit code: 0, what `main` returns, 2 after bad flags or input (`error: ...` on
      standard error, no traceback), 130 after Ctrl-C.
    """
    argv = sys.argv if argv is None else argv
    flag_values.unparse_flags()
    try:
        if "--help" in argv[1:] or "-h" in argv[1:]:
            print((main.__globals__.get("__doc__") or "").strip() + "\n" + flag_values.get_help())
            return 0
        _, *rest = flag_values(argv)
        if words:
            return main(rest) or 0
        if rest:
            raise InputError(f"{rest[0]!r} is not a flag: flags look like --name=value")
        return main() or 0
    except flags.Error as error:
        return _fail(" ".join(str(error).split()))
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        # A full disk or a folder without permission; bugs rarely end in one.
        return _fail(str(error))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return EXIT_INTERRUPTED


def report_failures(failures, bursts, problems):
    """Lists what --keep_going passed over.

    Args:
      failures: a sentence for each burst that could not be restored.
      bursts: how many there were.
      problems: a sentence for each file that belongs to no burst.

    Returns:
      The exit code, 1 if anything was passed over.
    """
    if failures:
        lines = [f"{len(failures)} of {bursts} bursts could not be restored:", *failures]
        progress.say("\n" + "\n".join(lines), sys.stderr)
    if problems:
        progress.say("\n" + "\n".join(["Left out from the start:", *problems]), sys.stderr)
    return 1 if failures or problems else 0


def leave(code):
    """Ends the process with an exit code, without the second that TensorFlow is taken apart for.

    For scripts that have closed their files and ended their threads.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            # Nobody reads what was printed last, or there is no room for it.
            code = code or EXIT_BAD_INPUT
    os._exit(code)


def _fail(sentence):
    print(f"error: {sentence}", file=sys.stderr)
    return EXIT_BAD_INPUT


def define(values, kind, name, default, text, **limits):
    """Defines a flag of the `flags.FlagValues`; `kind` is one of absl's DEFINE functions.

    Numbers are finite, see `finite`.
    """
    kind(name=name, default=default, help=text, flag_values=values, **limits)
    if kind is flags.DEFINE_float:
        finite(name, values)


def finite(name, flag_values):
    """Makes the number flag `name` refuse nan and inf, which pass absl's bounds."""
    flags.register_validator(
        name,
        lambda value: not isinstance(value, float) or math.isfinite(value),
        "give a finite number",
        flag_values,
    )


def import_tensorflow():
    """Imports TensorFlow without the lines about CPU features and missing GPU drivers.

    Set TF_CPP_MIN_LOG_LEVEL to less than 3 to see them. With a GPU, memory is taken as needed, not
    all at once. The processor's memory is kept once it was taken, see `memory.keep_freed`.

    Returns:
      The `tensorflow` module.
    """
    memory.keep_freed()
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1", "2"):
        import tensorflow as tf
    else:
        # Some lines are printed before TensorFlow has read that variable.
        with tempfile.TemporaryFile() as swallowed:
            sys.stderr.flush()
            stderr = os.dup(2)
            os.dup2(swallowed.fileno(), 2)
            try:
                import tensorflow as tf
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # The GPU is in use already: its memory is shared out, nothing is to be changed.
            break
    return tf
