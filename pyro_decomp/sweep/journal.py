"""What became of each member, a line each, in a file that is only ever appended to."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.run_files.checked_files import digest
from pyro_decomp.training.run_files.json_files import regular, to_json

MOST_BYTES = 2**30


@dataclass(frozen=True)
class Record:
    """What became of one member.

    Args:
        member: Its name.
        status: ``finished``, ``not finite`` or ``failed``.
        message: What went wrong, in a sentence; empty if nothing did.
        steps: Steps done.
        seconds: Of wall clock that training took; of batched members, its share; None
            where it was not told.
        way: ``batched`` with others, or a ``single`` run.
        terms: The last row of its history, without step and epoch; None where that is not a
            number. Empty unless it finished.
        metrics: What was measured on it; empty if nothing was.
        asked: The names of the metrics that were asked for.
    """

    member: str
    status: str
    message: str
    steps: int
    seconds: float | None
    way: str
    terms: Mapping[str, float | None] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    asked: tuple[str, ...] = ()


class Journal:
    """The journal of a sweep, ``members.jsonl``, open for one writer."""

    def __init__(self, file: int, check: Callable[[], None]) -> None:
        self._file, self._check = file, check
        self._size = os.fstat(file).st_size

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns, and none of it if this fails.

        Raises:
            RunError: Another process writes there.
        """
        self._check()
        entry = asdict(record)
        line = to_json(entry | {"digest": digest(entry)})
        os.ftruncate(self._file, self._size)  # what is left of one that failed
        size = self._size + len(line)
        while line:
            line = line[os.write(self._file, line) :]
        os.fsync(self._file)
        self._size = size


@contextmanager
def journal(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[Journal]:
    """Open a journal for writing, and cut off what a killed writer left of a line.

    Args:
        path: The file.
        check: Is called before each record, and raises where another process writes there.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
        yield Journal(file, check)
    finally:
        os.close(file)


def read_journal(path: Path) -> dict[str, Record]:
    """The last record of each member, by name; ignores a last line that is not whole.

    Raises:
        RunError: It cannot be read, or a whole line is damaged or not a record.
    """
    if not path.exists():
        return {}
    try:
        regular(path, MOST_BYTES)
        whole = path.read_bytes().rpartition(b"\n")[0]
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror} (restore it)") from error
    records: dict[str, Record] = {}
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            entry: dict[str, Any] = json.loads(line)
            if entry.pop("digest", None) not in (None, digest(entry)):
                raise ValueError("another digest")
            way = {"together": "batched", "alone": "single"}.get(entry["way"], entry["way"])
            record = Record(**{**entry, "way": way, "asked": tuple(entry["asked"])})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{path}:{number}: expected the record of a member, got a line that is damaged "
                "(delete the line, and go on with --resume)"
            ) from error
        records[record.member] = record
    return records
