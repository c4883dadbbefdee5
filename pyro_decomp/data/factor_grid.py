"""Every combination of some factors of variation, in order."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.errors import DataError


class FactorGrid:
    r"""Every combination of the values of some factors, each with an index.

    Factor :math:`k` of :math:`K` takes the values :math:`0 .. S_k - 1`, and the values :math:`v`
    have the index

    .. math::
        i = \sum_k v_k \prod_{l > k} S_l,

    so the last factor changes fastest.

    Args:
        name: Of the data set, for tables and messages.
        factors: Number of values of each factor by its name, slowest first.

    Raises:
        DataError: There is no factor, or one without a value.

    >>> FactorGrid("squares", {"shade": 3, "size": 2}).factors([4])
    tensor([[2, 0]])
    """

    def __init__(self, name: str, factors: Mapping[str, int]) -> None:
        with arguments.raised_as(DataError):
            arguments.text(name=name)
            arguments.instance(Mapping, "a dictionary of factors to numbers", factors=factors)
            arguments.whole(**{f"{name}: {factor}": size for factor, size in factors.items()})
        if not factors:
            raise DataError(f"{name}: expected at least one factor, got none")
        self.name = name
        self.factor_names = tuple(factors)
        self.factor_sizes = tuple(factors.values())
        places = [math.prod(self.factor_sizes[k + 1 :]) for k in range(len(factors))]
        self._places = torch.tensor(places)
        self._sizes = torch.tensor(self.factor_sizes)

    def __len__(self) -> int:
        return math.prod(self.factor_sizes)

    def factors(
        self, index: Int[Tensor, " n"] | Sequence[int] | None = None
    ) -> Int[Tensor, "n factors"]:
        """The values behind each index; of the whole grid by default.

        Args:
            index: Whole numbers from 0 to ``len(self) - 1``.

        Raises:
            DataError: An index is out of range.
        """
        chosen = torch.arange(len(self)) if index is None else _whole(index, "index")
        outside = (chosen < 0) | (chosen >= len(self))
        if outside.any():
            got = int(chosen[outside][0])
            raise DataError(f"index: expected 0 to {len(self) - 1} for {self.name}, got {got}")
        return chosen[:, None] // self._places % self._sizes

    def index(
        self, factors: Int[Tensor, "n factors"] | Sequence[Sequence[int]]
    ) -> Int[Tensor, " n"]:
        """The index of each row of values: the inverse of :meth:`factors`.

        Args:
            factors: Values of all factors.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        return (self.checked(factors) * self._places).sum(1)

    def sample_factors(self, n: int, *, seed: int = 0) -> Int[Tensor, "n factors"]:
        """Values drawn uniformly and independently, with replacement.

        Args:
            n: Number of rows.
            seed: Of this draw alone; the global generator is left as it was.

        Raises:
            DataError: ``n`` is negative.
        """
        with arguments.raised_as(DataError):
            arguments.whole(0, n=n, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        return self.factors(torch.randint(len(self), (n,), generator=generator))

    def checked(self, factors: Tensor | Sequence[Sequence[int]]) -> Int[Tensor, "n factors"]:
        """Rows of values as int64, if they are values of these factors.

        Args:
            factors: Values of all factors.

        Raises:
            DataError: A value is out of range, or a row too long or short.
        """
        values = _whole(factors, "factors")
        if values.dim() != 2 or values.shape[1] != len(self._sizes):
            expected = f"rows of {len(self._sizes)} values for {self.name}"
            raise DataError(f"factors: expected {expected}, got shape {tuple(values.shape)}")
        outside = (values < 0) | (values >= self._sizes)
        if outside.any():
            row, k = outside.nonzero()[0].tolist()
            raise DataError(
                f"factors: expected 0 to {self.factor_sizes[k] - 1} for "
                f"{self.factor_names[k]}, got {int(values[row, k])} in row {row}"
            )
        return values


def _whole(values: Tensor | Sequence[int] | Sequence[Sequence[int]], source: str) -> Tensor:
    tensor = torch.as_tensor(values)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise DataError(f"{source}: expected whole numbers, got {tensor.dtype}")
    return tensor.long()
