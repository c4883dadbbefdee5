"""The sections of the table of ``speed.py``: each gives comparisons, one a row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from timing import Comparison


@dataclass(frozen=True)
class Effort:
    """How much time there is.

    Attributes:
        turns: Numbers that a ratio's least, median and most are of.
        is_quick: Small sizes and nothing compiled: to see that all runs, and no more.
    """

    turns: int = 15
    is_quick: bool = False

    @property
    def steps(self) -> str:
        """How training computes its steps: as runs of 10,000 do, or without compiling anything."""
        return "eager" if self.is_quick else "auto"


QUICK = Effort(turns=2, is_quick=True)
Section = Callable[[Effort], Iterator[Comparison]]
