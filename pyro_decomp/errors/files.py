"""The one writer of files, which no error leaves half there, and the names until they are whole."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp")


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
