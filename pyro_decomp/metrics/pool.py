"""Draws from an encoded pool with one factor held fixed."""

import numpy as np
from jaxtyping import Int

from pyro_decomp.metrics.arrays import Factors

ROWS_OF_A_VALUE = 8  # half as many in a half: of fewer, copies make what is held fixed too alike


class Pool:
    """The rows of a pool by the level of each factor.

    Interventions on a generator, "draw data with factor k as it is here", become draws from the
    rows that have that level, so nothing is encoded again.

    Args:
        factors: Levels, one row a datum of the pool.
    """

    def __init__(self, factors: Factors) -> None:
        levels = factors.levels.T
        self._order = np.argsort(levels, axis=1, kind="stable")
        counts = [np.bincount(column) for column in levels]
        self._count = [count[column] for count, column in zip(counts, levels, strict=True)]
        starts = [np.cumsum(count) - count for count in counts]
        self._start = [start[column] for start, column in zip(starts, levels, strict=True)]

    @property
    def smallest(self) -> int:
        """The fewest rows that any level of any factor has."""
        return int(min(count.min() for count in self._count))

    def partners(
        self,
        factor: int,
        rows: Int[np.ndarray, "..."],
        shape: tuple[int, ...],
        generator: np.random.Generator,
    ) -> Int[np.ndarray, "..."]:
        """Rows with the same level of ``factor``, uniform, with replacement.

        Args:
            factor: Which factor.
            rows: Rows whose level it is, of a shape that broadcasts to ``shape``.
            shape: Of the result.
            generator: Of the draws.
        """
        count = self._count[factor].take(rows)
        drawn = (generator.random(shape) * count).astype(np.int64)
        return self._order[factor].take(drawn + self._start[factor].take(rows))
