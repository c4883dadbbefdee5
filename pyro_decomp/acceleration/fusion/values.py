"""Tensors as functions of an index: what a fused graph computes, before it is put into loops.

A value gives the C expression of its number at an index. Views only change the index, so that they
cost nothing; pointwise operations are written into the loop of whoever needs them. What has to be
kept in memory, and in which loop it is computed, :mod:`.schedule` decides.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

Index = tuple[str, ...]  # C expressions, one a dimension; digits where the number is known
Shape = tuple[int, ...]
Kind = Literal["real", "float", "int64_t", "bool"]

FLOATING: frozenset[Kind] = frozenset({"real", "float"})
MOST_UNROLLED = 8  # numbers that are added in one expression


class Reader(Protocol):
    """Where expressions are written to: the body of a loop."""

    def of(self, value: "Value", index: Index) -> str:
        """The C expression of a value's number at an index."""


@dataclass(eq=False)
class Value:
    """A tensor.

    Attributes:
        shape: Of the tensor.
        kind: The C type of its numbers; "real" is that of the graph, and "float" for what it is
            given besides.
    """

    shape: Shape
    kind: Kind

    @property
    def operands(self) -> Sequence["Value"]:
        """What it is computed from."""
        return ()

    @property
    def cost(self) -> int:
        """Of computing one number from the operands', in additions."""
        return 0

    def at(self, index: Index, reader: Reader) -> str:
        """The C expression of its number at an index."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(eq=False)
class Number(Value):
    """One constant, whatever the index."""

    text: str

    def at(self, index: Index, reader: Reader) -> str:
        """See :class:`Value`."""
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
        """See :class:`Value`."""
        if self.constant is not None and all(map(str.isdigit, index)):
            return literal(self.constant[tuple(map(int, index))].item(), self.kind)
        return f"p{self.number}[{offset(index, self.strides)}]"


@dataclass(eq=False)
class View(Value):
    """Another's numbers at other places.

    Attributes:
        base: The other.
        place: The index into it.
        given: Values whose numbers ``place`` asks for.
    """

    base: Value
    place: Callable[[Index, Reader], Index]
    given: Sequence[Value] = ()

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return (self.base, *self.given)

    def at(self, index: Index, reader: Reader) -> str:
        """See :class:`Value`."""
        return reader.of(self.base, self.place(index, reader))


@dataclass(eq=False)
class Pointwise(Value):
    """A C expression of others' numbers at the same index.

    Attributes:
        template: The expression, as :meth:`str.format` takes it.
        arguments: All of this shape.
        price: See ``cost``.
    """

    template: str
    arguments: Sequence[Value]
    price: int = 1

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return self.arguments

    @property
    def cost(self) -> int:
        """See :class:`Value`."""
        return self.price

    def at(self, index: Index, reader: Reader) -> str:
        """See :class:`Value`."""
        return self.template.format(*(reader.of(each, index) for each in self.arguments))


@dataclass(eq=False)
class Chosen(Value):
    """One of several values, by where the index is along a dimension; elsewhere 0.

    Attributes:
        dim: The dimension.
        parts: Where each begins along it, and what is there.
    """

    dim: int
    parts: Sequence[tuple[int, Value]]

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return [value for _, value in self.parts]

    @property
    def cost(self) -> int:
        """See :class:`Value`."""
        return len(self.parts)

    def at(self, index: Index, reader: Reader) -> str:
        """See :class:`Value`."""
        along, text = index[self.dim], "0"
        for begin, value in self.parts:
            extent = value.shape[self.dim]
            if along.isdigit():
                if begin <= int(along) < begin + extent:
                    return reader.of(value, self._moved(index, str(int(along) - begin)))
                continue
            inside = f"clamped({along} - {begin}, {extent})"  # or it would be read from outside
            there = reader.of(value, self._moved(index, inside if extent > 1 else "0"))
            is_there = f"{along} >= {begin} && {along} < {begin + extent}"
            text = f"(({is_there}) ? {there} : {text})"
        return text

    def _moved(self, index: Index, along: str) -> Index:
        return (*index[: self.dim], along, *index[self.dim + 1 :])


@dataclass(eq=False)
class Masked(Value):
    """Another's numbers where a condition on the index holds, and 0 elsewhere.

    Attributes:
        base: The other, of this shape.
        condition: The C condition.
    """

    base: Value
    condition: Callable[[Index], str]

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return (self.base,)

    @property
    def cost(self) -> int:
        """See :class:`Value`."""
        return 1

    def at(self, index: Index, reader: Reader) -> str:
        """See :class:`Value`."""
        return f"({self.condition(index)} ? {reader.of(self.base, index)} : 0)"


@dataclass(eq=False)
class Reduction(Value):
    """The sum or the largest of a value's numbers along dimensions, which are left out.

    A largest of many passes over what is not a number.

    Attributes:
        how: "sum" or "max".
        base: The value.
        dims: Its dimensions, ascending.
    """

    how: Literal["sum", "max"]
    base: Value
    dims: tuple[int, ...]
    is_unrolled: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_unrolled = self.num_terms <= MOST_UNROLLED

    @property
    def num_terms(self) -> int:
        """Numbers of which it is the sum."""
        return math.prod(self.base.shape[dim] for dim in self.dims)

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return (self.base,)

    @property
    def cost(self) -> int:
        """See :class:`Value`."""
        return self.num_terms

    def at(self, index: Index, reader: Reader) -> str:
        """All terms in one expression."""
        terms = [reader.of(self.base, place) for place in self.places(index)]
        text = terms[0]
        for term in terms[1:]:
            text = f"({text} + {term})" if self.how == "sum" else f"largest({text}, {term})"
        return text

    def places(self, index: Index) -> list[Index]:
        """The indices of the terms of one sum."""
        places: list[Index] = [()]
        kept = iter(index)
        for dim, extent in enumerate(self.base.shape):
            along = list(map(str, range(extent))) if dim in self.dims else [next(kept)]
            places = [(*place, each) for place in places for each in along]
        return places


@dataclass(eq=False)
class Product(Value):
    """A product of two matrices, ``[M, K]`` and ``[K, N]``."""

    left: Value
    right: Value

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return self.left, self.right


@dataclass(eq=False)
class Call(Value):
    """A function of a library, called on whole tensors.

    Attributes:
        arguments: What it reads, each contiguous.
        write: The C statement, from the pointers of arguments and results.
        shapes: Of what it gives.
        results: What it gives.
    """

    arguments: Sequence[Value]
    write: Callable[[Sequence[str], Sequence[str]], str]
    shapes: Sequence[Shape]
    results: Sequence["Result"] = field(init=False)

    def __post_init__(self) -> None:
        self.results = [Result(shape, self.kind, self) for shape in self.shapes]

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return self.arguments


@dataclass(eq=False)
class Result(Value):
    """One of what a call gives."""

    call: Call

    @property
    def operands(self) -> Sequence[Value]:
        """See :class:`Value`."""
        return (self.call,)


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


def offset(index: Index, strides: Shape) -> str:
    """Where a number is in memory.

    >>> offset(("i0", "3", "i1"), (8, 2, 0))
    'i0 * 8 + 6'
    """
    terms, known = [], 0
    for place, stride in zip(index, strides, strict=True):
        if place.isdigit():
            known += int(place) * stride
        elif stride:
            terms.append(place if stride == 1 else f"{place} * {stride}")
    if known or not terms:
        terms.append(str(known))
    return " + ".join(terms)


def contiguous(shape: Shape) -> Shape:
    """Strides of a tensor that is."""
    return tuple(math.prod(shape[dim + 1 :]) for dim in range(len(shape)))


def promoted(*kinds: Kind) -> Kind:
    """The kind of what is computed from these, or put together of them.

    >>> promoted("bool", "bool"), promoted("bool", "int64_t"), promoted("int64_t", "float")
    ('bool', 'int64_t', 'real')
    """
    if not FLOATING.isdisjoint(kinds):
        return "real"
    return "int64_t" if "int64_t" in kinds else "bool"


def kind_of(dtype: torch.dtype, real: torch.dtype) -> Kind | None:
    """The C type of a dtype; None if it is not written."""
    kinds: dict[torch.dtype, Kind] = {torch.int64: "int64_t", torch.bool: "bool"}
    kinds[torch.float32] = "float"
    kinds[real] = "real"
    return kinds.get(dtype)
