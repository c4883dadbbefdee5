"""The errors that a user can mend, and the one writer of files, which no error leaves half there.

Each is a ``DecompError``, and whatever else callers of Python expect: ``except DecompError``
catches all of them, and ``except ValueError`` those of arguments, data, programs and experiments.
The command line prints each as one line.

>>> from pyro_decomp import BetaELBO
>>> try:
...     BetaELBO(beta=-1)
... except DecompError as error:
...     print(error)
beta: expected a finite number of at least 0, got -1
"""

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_decomp import memory

MESSAGE_WIDTH = 400  # characters
_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp")


class DecompError(Exception):
    """Something that the user can mend: one sentence of what was wrong and what would be right."""


class DataError(DecompError, ValueError):
    """Data that cannot be found, read or used."""


class ArgumentError(DecompError, TypeError, ValueError):
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
    """Give an error's type and message as one line of bounded length, or that memory ended.

    The shapes of all sites, which Pyro appends to an error's message, are left out, and so are the
    values that torch does.
    """
    if memory.is_short(error):
        return memory.told(error)
    message = str(error)
    for appended in ("\nTrace Shapes:", ", but found invalid values:"):
        message = message.partition(appended)[0]
    text = f"{type(error).__name__}: {message}".strip().removesuffix(":")
    return textwrap.shorten(text, MESSAGE_WIDTH, placeholder=" ...")


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that at any instant either its old content is there or its new, whole.

    Internal: run folders, sweeps and pictures are written by it.

    Raises:
        OSError: The file cannot be written; what was there before stays.
    """
    part = unfinished(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the name that a user knows
        raise


def unfinished(path: Path) -> Path:
    """A name, given once, under which a file is collected until it is whole.

    Two processes may write a file at once, and one that is killed leaves it.
    """
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def intended(path: Path) -> str:
    """For which file a name of :func:`unfinished` is; empty where it is another's name."""
    match = _UNFINISHED.fullmatch(path.name)
    return match[1] if match else ""


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Remove what is unfinished in a folder at the beginning and still is at the end.

    For files that take far less time to write than what is done meanwhile: what is left was left by
    a process that was killed.
    """
    before = list(filter(intended, folder.glob("*")))
    yield
    for path in before:
        path.unlink(missing_ok=True)


def listed(paths: Sequence[str]) -> str:
    """The first three paths in words, and how many more there are."""
    rest = len(paths) - 3
    return " and ".join(paths[:3]) + (f" and {rest} more" if rest > 0 else "")
