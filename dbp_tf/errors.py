"""The one exception that means: the user's input, not the program, is at fault."""


class InputError(ValueError):
    """Bad input. Its text is one sentence that names the file or flag and says what to do.

    Scripts print the text without a traceback and exit with a code other than 0.
    """
