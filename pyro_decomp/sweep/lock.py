"""One writer for a folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_decomp.errors import RunError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and keep other processes that ask for it out; the system ends it with us.

    Raises:
        RunError: Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # where two sweeps at once in one folder go unnoticed
        yield
        return
    import fcntl  # noqa: PLC0415 (Windows has none)

    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RunError(f"{folder}: another process is running this sweep") from error
    finally:
        os.close(file)
