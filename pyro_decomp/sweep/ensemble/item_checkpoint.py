"""Checkpoints of work items: how far they are, so that they can go on after a kill."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.ensemble.members import WorkItem
from pyro_decomp.training.run_files.checked_files import AGAIN, read_checked, write_checked
from pyro_decomp.training.run_files.tensor_files import read_tensors, write_tensors

FOLDER = "items"


@dataclass(frozen=True)
class Begun:
    """An item that was begun.

    Attributes:
        members: The names of its members.
        why: The reason for training them as a batch.
        backend: What computes their steps, see :class:`WorkItem`.
        numbers: Of the objective, that are inputs of the step.
    """

    members: list[str]
    why: str
    backend: str
    numbers: list[str]


class ItemCheckpoint:
    """The state of one item in the folder of its sweep."""

    def __init__(self, out: Path, item: WorkItem) -> None:
        names = [member.name for member in item.members]
        key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        self._state = out / FOLDER / f"{key}.pt"
        self._begun = out / FOLDER / f"{key}.json"
        self._record = Begun(names, item.why, item.backend, list(item.numbers))

    def read(self) -> dict[str, Any] | None:
        """What was written last; None if nothing was, or if it is damaged."""
        try:
            state: dict[str, Any] = read_tensors(self._state, "train anew", device=None)[0]
        except RunError:  # begin again
            return None
        return state

    def begin(self) -> None:
        """Note which members are a batch, so that they are one again after a kill."""
        self._begun.parent.mkdir(parents=True, exist_ok=True)
        write_checked(self._begun, asdict(self._record))

    def write(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all."""
        self._state.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(self._state, state, {})

    def remove(self) -> None:
        """Forget the item, whose members are all in their folders."""
        self._state.unlink(missing_ok=True)
        self._begun.unlink(missing_ok=True)  # last: what is left of a kill is found by it


def interrupted(out: Path) -> Sequence[Begun]:
    """The items of a sweep that were begun and not ended."""
    found = []
    for path in sorted((out / FOLDER).glob("*.json")):
        try:
            found.append(Begun(**read_checked(path, AGAIN, Begun)))
        except (RunError, TypeError):  # damaged, or of another version
            path.unlink(missing_ok=True)
    return found
