"""What is damaged in a run folder, told without executing or unpickling, and without torch."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.recorded import kept
from pyro_decomp.training.run_files.checked_files import AGAIN, RESTORE, check_archive, read_checked
from pyro_decomp.training.run_files.history import read_history
from pyro_decomp.training.run_files.run_config import check_own, read_run_config
from pyro_decomp.training.run_files.trust import other_source


def damages(folder: Path) -> list[str]:
    """What is damaged in a run folder, a sentence each; empty where nothing is.

    Every file that the package reads is held against its digest, those of older versions against
    the checksums that they have; what no checksum covers is read.
    """
    return sentences(_readers(folder))


def sentences(readers: Iterator[Callable[[], Any]]) -> list[str]:
    """What readers of files raise, each sentence once."""
    found = []
    for read in readers:
        try:
            read()
        except RunError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))  # without a configuration, no checkpoint is known


def _readers(folder: Path) -> Iterator[Callable[[], Any]]:
    yield partial(_check_config, folder)
    for name in ("checkpoint.pt", "best.pt"):
        if os.path.lexists(folder / name):
            yield partial(_check_checkpoint, folder / name)
    for name in ("metrics.json", "resources.json"):
        if os.path.lexists(folder / name):
            yield partial(read_checked, folder / name, AGAIN)
    if os.path.lexists(folder / kept.FILE_NAME):
        yield partial(check_archive, folder / kept.FILE_NAME, kept.REMEDY)


def _check_config(folder: Path) -> None:
    if why := other_source(folder, read_run_config(folder)):
        raise RunError(why)


def _check_checkpoint(path: Path) -> None:
    known = check_archive(path, RESTORE)
    check_own(path, known, read_run_config(path.parent))
    if known is None or known["rows"]:
        read_history(path.with_name("history.csv"), known)
