"""The errors that a user can mend; the command line prints each ``DecompError`` as one line."""

import textwrap

MESSAGE_WIDTH = 400  # characters


class DecompError(Exception):
    """Something that the user can mend: one sentence of what was wrong and what would be right."""


class DataError(DecompError, ValueError):
    """Data that cannot be found, read or used."""


class ArgumentError(TypeError, ValueError):
    """An argument of a function or class, called from Python, of a wrong type or out of range."""


class ExperimentError(DecompError, ValueError):
    """An experiment file or its arguments that cannot be used."""


class ModelError(DecompError, ValueError):
    """A model and guide that do not fit together, the data, or the objective."""


class NonFiniteError(DecompError, ArithmeticError):
    """A term or gradient that became infinite or not a number."""


class RunError(DecompError):
    """A run folder that cannot be read, continued or written."""


def one_line(error: BaseException) -> str:
    """Give an error's type and message as one line of bounded length.

    The shapes of all sites, which Pyro appends to an error's message, are left out, and so are the
    values that torch does.
    """
    message = str(error)
    for appended in ("\nTrace Shapes:", ", but found invalid values:"):
        message = message.partition(appended)[0]
    text = f"{type(error).__name__}: {message}".strip().removesuffix(":")
    return textwrap.shorten(text, MESSAGE_WIDTH, placeholder=" ...")
