"""What programs keep at one moment, to be compared with another."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from pyro_decomp.programs.program_state.own import TensorMark, own
from pyro_decomp.programs.program_state.walk import Node

_ABSENT = object()


class Fingerprint:
    """What programs keep, by dotted path.

    Args:
        nodes: Everything that they reach.
    """

    _is_memory_of_programs = True

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.marks: dict[str, Any] = {n.path: own(n.thing) for n in nodes if not n.is_part}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.marks == other.marks

    __hash__ = None  # type: ignore[assignment]

    def tensor(self, path: str) -> Tensor | None:
        """The tensor that was at a path; None if there was none."""
        mark = self.marks.get(path)
        return mark.tensor if isinstance(mark, TensorMark) else None

    def difference(self, other: "Fingerprint") -> dict[str, str]:
        """What moved between two moments.

        Args:
            other: Of the same programs, at another moment.

        Returns:
            The dotted path of each thing that is different, and what it is at both: "tensor", which
            may only have been written, or "value". What is in a thing that is different itself is
            not named too.
        """
        if self.marks == other.marks:
            return {}
        moved: dict[str, str] = {}
        for path in {**self.marks, **other.marks}:
            mine, its = self.marks.get(path, _ABSENT), other.marks.get(path, _ABSENT)
            if mine != its and not _is_inside(path, moved):
                are_tensors = isinstance(mine, TensorMark) and isinstance(its, TensorMark)
                moved[path] = "tensor" if are_tensors else "value"
        return moved


def _is_inside(path: str, moved: dict[str, str]) -> bool:
    """Whether a thing is in one that is named already; those come first."""
    start = path.rfind(".")
    while start > 0:
        if path[:start] in moved:
            return True
        start = path.rfind(".", 0, start)
    return False
