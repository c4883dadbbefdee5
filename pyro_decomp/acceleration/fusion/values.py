"""Tensors as functions of an index: what a fused graph computes, before it is put into loops.

A value gives the C expression of its number at an index. Views only change the index, so that they
cost nothing; expressions are written into the loop of whoever needs them. What has to be kept in
memory :mod:`.materialization` decides, and in which loop it is computed, :mod:`.schedule`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pyro_decomp.acceleration.fusion.indexing import Index, Shape, offset, viewed_index

Kind = Literal["real", "float", "int64_t", "bool"]

FLOATING: frozenset[Kind] = frozenset({"real", "float"})
MOST_UNROLLED = 8  # numbers that are added in one expression


class Reader(Protocol):
    """Where expressions are written to: the body of a loop."""

    def of(self, value: "Value", index: Index) -> str:
        """The C expression of a value's number at an index."""


@dataclass(eq=False)
class Value:
    """A tensor of a graph.

    Attributes:
        shape: Of the tensor.
        kind: The C type of its numbers; "real" is the floating type of the graph, and "float" the
            one of 32 bits beside it.
        operands: The values that it is computed from.
        cost: Of computing one of its numbers from those of the operands, in additions.
    """

    shape: Shape
    kind: Kind
    operands: Sequence["Value"] = field(default=(), kw_only=True)
    cost: int = field(default=0, kw_only=True)

    def at(self, index: Index, reader: Reader) -> str:
        """The C expression of the value's number at an index."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)

    @property
    def base(self) -> "Value":
        """The value's first operand."""
        return self.operands[0]


@dataclass(eq=False)
class Number(Value):
    """One constant, whatever the index.

    Attributes:
        text: The constant in C.
    """

    text: str

    def at(self, index: Index, reader: Reader) -> str:
        """The constant in C."""
        return self.text


@dataclass(eq=False)
class Stored(Value):
    """A tensor in memory, which the program is given; contiguous but for expanded dimensions.

    Attributes:
        number: Of the pointer to it.
        strides: In numbers.
        constant: What is in it, if that is known.
    """

    number: int
    strides: Shape
    constant: Tensor | None = None

    def at(self, index: Index, reader: Reader) -> str:
        """The number in memory, or itself where it is known."""
        if self.constant is not None and all(map(str.isdigit, index)):
            return literal(self.constant[tuple(map(int, index))].item(), self.kind)
        return f"p{self.number}[{offset(index, self.strides)}]"


@dataclass(eq=False)
class View(Value):
    """A view, in torch's sense, of the first operand as if that were contiguous.

    Attributes:
        strides: Of the view.
        first: Where its first number is.
    """

    strides: Shape
    first: int

    def place(self, index: Index) -> Index:
        """The index into the operand at an index of the view."""
        return viewed_index(index, self.shape, self.strides, self.first, self.base.shape)

    def at(self, index: Index, reader: Reader) -> str:
        """The operand's number at another index."""
        return reader.of(self.base, self.place(index))


@dataclass(eq=False)
class Expression(Value):
    """Numbers that are computed where they are needed.

    Attributes:
        text: Gives the C expression of the number at an index.
    """

    text: Callable[[Index, Reader], str]

    def at(self, index: Index, reader: Reader) -> str:
        """The C expression that the value was made with."""
        return self.text(index, reader)


@dataclass(eq=False)
class Reduction(Value):
    """The sum or the largest of the operand's numbers along dimensions, which are left out.

    A largest of many ignores NaN.

    Attributes:
        how: "sum" or "max".
        dims: The dimensions, ascending.
    """

    how: Literal["sum", "max"]
    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        self.cost = math.prod(self.base.shape[dim] for dim in self.dims)

    @property
    def is_unrolled(self) -> bool:
        """Whether all terms are written as one C expression."""
        return self.cost <= MOST_UNROLLED

    def at(self, index: Index, reader: Reader) -> str:
        """The sum of all terms as one C expression."""
        kept = iter(index)
        along = [None if dim in self.dims else next(kept) for dim in range(len(self.base.shape))]
        text, *terms = (reader.of(self.base, each) for each in indices(self.base.shape, along))
        for term in terms:
            text = f"({text} + {term})" if self.how == "sum" else f"largest({text}, {term})"
        return text


@dataclass(eq=False)
class Product(Value):
    """A product of two matrices, ``[M, K]`` and ``[K, N]``: the operands."""


@dataclass(eq=False)
class Call(Value):
    """A function of a library, called on operands that are contiguous in memory.

    Attributes:
        write: The C statement, from the pointers of what is kept, of operands and of results.
        kept: Objects of ctypes whose addresses the statement needs.
        shapes: Of what it gives.
        results: What it gives.
    """

    write: Callable[[Sequence[str], Sequence[str], Sequence[str]], str]
    kept: Sequence[Any]
    shapes: Sequence[Shape]

    def __post_init__(self) -> None:
        self.results = [Result(shape, self.kind, operands=(self,)) for shape in self.shapes]


@dataclass(eq=False)
class Result(Value):
    """One of what a call gives; the call is its operand."""


def indices(shape: Shape, along: Sequence[str | None]) -> list[Index]:
    """The indices that are ``along`` where that is given, and take every value where it is None.

    >>> indices((5, 2), ["i0", None])
    [('i0', '0'), ('i0', '1')]
    """
    found: list[Index] = [()]
    for extent, each in zip(shape, along, strict=True):
        here = list(map(str, range(extent))) if each is None else [each]
        found = [(*index, place) for index in found for place in here]
    return found


def literal(value: float, kind: Kind = "real") -> str:
    """A number in C.

    >>> literal(0.5), literal(-2), literal(float("inf")), literal(3, "int64_t")
    ('((real)0.5)', '((real)-2.0)', '((real)INFINITY)', '((int64_t)3)')
    """
    if kind in ("int64_t", "bool"):
        return f"(({kind}){int(value)})"
    value = float(value)
    if math.isinf(value):
        return f"((real){'-' if value < 0 else ''}INFINITY)"
    return "((real)NAN)" if math.isnan(value) else f"((real){value!r})"


def promoted(*kinds: Kind) -> Kind:
    """The kind of what is computed from these, or put together of them.

    >>> promoted("bool", "bool"), promoted("bool", "int64_t"), promoted("int64_t", "float")
    ('bool', 'int64_t', 'real')
    """
    if not FLOATING.isdisjoint(kinds):
        return "real"
    return "int64_t" if "int64_t" in kinds else "bool"


def kind_of(dtype: torch.dtype, real: torch.dtype) -> Kind | None:
    """The C type of a dtype, where ``real`` is that of the graph; None if it is not written."""
    kinds: dict[torch.dtype, Kind] = {torch.int64: "int64_t", torch.bool: "bool"}
    kinds[torch.float32] = "float"
    kinds[real] = "real"
    return kinds.get(dtype)
