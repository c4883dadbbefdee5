"""What became of each member, a line each, in a file that is only ever appended to."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.json_files import to_json


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

    def __init__(self, file: int) -> None:
        self._file = file
        self._size = os.fstat(file).st_size

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns, and none of it if this fails."""
        line = to_json(asdict(record))
        os.ftruncate(self._file, self._size)  # what is left of one that failed
        size = self._size + len(line)
        while line:
            line = line[os.write(self._file, line) :]
        os.fsync(self._file)
        self._size = size


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """Open a journal for writing, and cut off what a killed writer left of a line."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
        yield Journal(file)
    finally:
        os.close(file)


def read_journal(path: Path) -> dict[str, Record]:
    """The last record of each member, by name; ignores a last line that is not whole.

    Raises:
        RunError: A whole line is not a record.
    """
    if not path.exists():
        return {}
    whole = path.read_bytes().rpartition(b"\n")[0]
    records: dict[str, Record] = {}
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            entry: dict[str, Any] = json.loads(line)
            way = {"together": "batched", "alone": "single"}.get(entry["way"], entry["way"])
            record = Record(**{**entry, "way": way, "asked": tuple(entry["asked"])})
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path}:{number}: expected the record of a member") from error
        records[record.member] = record
    return records
