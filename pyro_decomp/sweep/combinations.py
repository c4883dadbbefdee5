"""Runs with the same arguments, and such groups of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro_decomp.sweep.intervals import MeanInterval
from pyro_decomp.sweep.naming import value_text
from pyro_decomp.sweep.rows import UNFINISHED, Row

PARTS = ("train", "test")


@dataclass(frozen=True)
class Combination:
    """Runs with the same arguments.

    Attributes:
        arguments: Those compared by.
        rows: Its runs, whatever became of them.
        means: Of each quantity, over the runs that finished and have it.
    """

    arguments: Mapping[str, Any]
    rows: Sequence[Row]
    means: Mapping[str, MeanInterval]

    @property
    def num_finished(self) -> int:
        """Runs that finished."""
        return sum(row.status == "finished" for row in self.rows)

    @property
    def num_unfinished(self) -> int:
        """Runs that have not ended."""
        return sum(row.status == UNFINISHED for row in self.rows)

    @property
    def num_failed(self) -> int:
        """Runs that ended in any other way."""
        return len(self.rows) - self.num_finished - self.num_unfinished

    def values(self, name: str) -> list[float]:
        """A quantity of each run that finished and has it."""
        return [value for row in self.rows if (value := row.value(name)) is not None]

    def pairs(self, first: str, second: str) -> list[tuple[float, float]]:
        """Two quantities of each run that finished and has both."""
        both = [(row.value(first), row.value(second)) for row in self.rows]
        return [(x, y) for x, y in both if x is not None and y is not None]

    @property
    def title(self) -> str:
        """Its arguments in words."""
        return ", ".join(f"{name} = {value_text(value)}" for name, value in self.arguments.items())


@dataclass(frozen=True)
class Comparison:
    """Combinations side by side.

    Attributes:
        by: The arguments compared by.
        quantities: What is compared.
        available: All that could be.
        combinations: In the order in which they first appear.
        averaged: Arguments other than the seed that vary inside a combination.
    """

    by: tuple[str, ...]
    quantities: tuple[str, ...]
    available: tuple[str, ...]
    combinations: Sequence[Combination]
    averaged: tuple[str, ...]

    def find(self, name: str) -> str | None:
        """The quantity of that name, or measured under it on training or else test data."""
        return find(name, self.available)

    def to_json(self) -> list[dict[str, Any]]:
        """In the types of JSON: an object a combination."""
        return [
            {
                "arguments": dict(one.arguments),
                "finished": one.num_finished,
                "failed": one.num_failed,
                "unfinished": one.num_unfinished,
                "means": {
                    name: {
                        "mean": mean.mean if mean.size else None,
                        "low": mean.low,
                        "high": mean.high,
                        "runs": mean.size,
                    }
                    for name, mean in one.means.items()
                },
            }
            for one in self.combinations
        ]


def find(name: str, available: Sequence[str]) -> str | None:
    """A quantity of that name, or measured under it on training or else test data."""
    candidates = (name, *(f"{part}.{name}" for part in PARTS))
    return next((candidate for candidate in candidates if candidate in available), None)
