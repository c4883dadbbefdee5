"""The errors that a user can mend, and the writer of whole files; never what is computed.

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

import errno
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_decomp.errors import memory
from pyro_decomp.errors.files import intended as intended
from pyro_decomp.errors.files import tidied as tidied
from pyro_decomp.errors.files import unfinished as unfinished
from pyro_decomp.errors.files import write_whole as write_whole

MESSAGE_WIDTH = 400  # characters
_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_OF_FOLDER = {errno.EACCES, errno.EPERM}


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


class DiskError(RunError):
    """A file that the disk or the rights on its folder do not let be written."""


class OutOfMemoryError(DecompError, MemoryError):
    """Running the programs takes more memory than is free."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell errors of the disk that a folder is on from those of what else is done inside.

    Internal: where what fails by itself is left out or tried again, the disk's are nobody's own.

    Raises:
        DiskError: It is full, broken or read-only, or something in the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename or folder))
        is_ours = error.errno in _OF_FOLDER and place.is_relative_to(folder)
        if error.errno in _OF_DISK or is_ours:
            said = f"{place}: {error.strerror}; what was written before is kept"
            raise DiskError(said) from error
        raise


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


def listed(paths: Sequence[str]) -> str:
    """The first three paths in words, and how many more there are."""
    rest = len(paths) - 3
    return " and ".join(paths[:3]) + (f" and {rest} more" if rest > 0 else "")
