"""Several aligned tensors as one data set, from which batches are gathered."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, Union

import torch
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.stored import Rows, Stored
from pyro_decomp.errors import DataError

Batch: TypeAlias = tuple[Tensor, ...]
"""What a program is called with: ``model(*batch)``."""

AnyData: TypeAlias = Union[Tensor, Stored, "Data", tuple[Tensor | Stored, ...]]
"""One tensor or several, in memory or not."""


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set of one or more tensors, row i of each belonging to datum i.

    The first is x, what is reconstructed; others may be labels, masks or whatever else the programs
    take. Indexing by a slice or by a tensor of row numbers gives a batch, one tensor each.

    Args:
        tensors: Of equal length; each a tensor, or stored elsewhere and read a batch at a time.

    Raises:
        DataError: There is none, or their lengths differ.

    >>> data = Data((torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([7, 8, 9])))
    >>> data[torch.tensor([2, 0])]
    (tensor([[3.],
            [1.]]), tensor([9, 7]))
    """

    tensors: tuple[Tensor | Stored, ...]

    def __post_init__(self) -> None:
        with arguments.raised_as(DataError):
            arguments.instance(tuple, "a tuple of tensors", tensors=self.tensors)
            arguments.items((Tensor, Stored), "tensors", tensors=self.tensors)
        if not self.tensors:
            raise DataError("data: expected at least one tensor, got an empty tuple")
        if not all(map(len, (tensor.shape for tensor in self.tensors))):
            raise DataError("data: expected a row for each datum, got a single number")
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) > 1:
            raise DataError(f"data: expected tensors of one length, got lengths {lengths}")

    def __str__(self) -> str:
        return f"{len(self)} of shape {' and '.join(map(str, self.shapes))}"

    def __repr__(self) -> str:
        return f"Data({self})"

    @classmethod
    def of(cls, data: AnyData) -> "Data":
        """Data from a tensor, from several, or from data; nothing is copied or checked.

        Returns:
            ``data`` itself where it is of this class, else a data set around the same tensors.
        """
        if isinstance(data, Data):
            return data
        return cls(data if isinstance(data, tuple) else (data,))

    @property
    def x(self) -> Tensor | Stored:
        """The first tensor, which is what is reconstructed."""
        return self.tensors[0]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of one datum in each tensor."""
        return [tuple(tensor.shape[1:]) for tensor in self.tensors]

    @property
    def datum_size(self) -> int:
        """The number of elements of one datum, over all tensors."""
        return sum(tensor.shape[1:].numel() for tensor in self.tensors)

    @property
    def device(self) -> torch.device:
        """The device of the batches."""
        return self.tensors[0].device

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: Rows) -> Batch:
        return tuple(_gather(tensor, rows) for tensor in self.tensors)

    def to(self, device: torch.device | str) -> "Data":
        """The same data, whose batches are on another device.

        Returns:
            A data set of the same rows; tensors in memory are copied there.
        """
        return Data(tuple(tensor.to(device) for tensor in self.tensors))

    def split(self, size: int) -> Iterator[Batch]:
        """All data in order, so many rows at a time; the last batch may be smaller.

        Returns:
            Batches of ``size`` rows, each a tuple of one tensor for each tensor of the data.
        """
        return (self[start : start + size] for start in range(0, len(self), size))

    def order(self, seed: int) -> Tensor:
        """All row numbers in a random order, which depends on the seed alone.

        Returns:
            The row numbers, int64 of shape ``[n]``.
        """
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(int(seed)))

    def shuffled(self, size: int, *, seed: int, first: int = 0) -> Iterator[Batch]:
        """All data in a random order, so many rows at a time; the last batch may be smaller.

        Args:
            size: Rows of a batch.
            seed: Of the order, which depends on nothing else.
            first: Begin with this batch of them, from 0, as a resumed run does.

        Returns:
            Batches, each a tuple of one tensor for each tensor of the data.
        """
        for rows in self.order(seed).to(self.device).split(size)[first:]:
            yield self[rows]


def _gather(tensor: Tensor | Stored, rows: Rows) -> Tensor:
    if isinstance(rows, Tensor) and isinstance(tensor, Tensor):
        return tensor.index_select(0, rows)
    return tensor[rows]
