"""Tensors as functions of an index: what a fused graph computes, before it is put into loops.

A value gives the C expression of its number at an index. Views only change the index, so that they
cost nothing; expressions are written into the loop of whoever needs them. What has to be kept in
memory :mod:`.memory` decides.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any, Literal

import torch
from pyro.distributions.util import broadcast_shape

from pyro_decomp.acceleration.fusion.indexing import Index, Shape, viewed_index

Kind = Literal["real", "float", "int64_t", "bool"]
Reader = Callable[["Value", Index], str]  # the C expression of a value's number, within a loop

FLOATING: frozenset[Kind] = frozenset({"real", "float"})
MOST_UNROLLED = 8  # numbers that are added in one expression

# What C functions cost, in additions; those with a trailing _ are defined in prelude.h.
SLOW, DIVISION = 12, 4
_COSTS = dict.fromkeys(("exp_", "expm1_", "log_", "log1p_", "sin_", "cos_", "tanh_", "erf_"), SLOW)
_COSTS |= {"pow_": 2 * SLOW, "lgamma_": 10 * SLOW, "rsqrt_": 2 * DIVISION}
_COSTS |= {"sqrt_": DIVISION, "/": DIVISION}


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

    @property
    def terms(self) -> "Value":
        """The value whose numbers the loops that compute this one go through."""
        return self.base if self.added else self

    @property
    def added(self) -> Sequence[int]:
        """The dimensions along which these loops add."""
        return ()


@dataclass(eq=False)
class Number(Value):
    """One constant, written in C, whatever the index."""

    text: str

    def at(self, index: Index, reader: Reader) -> str:
        """The constant in C."""
        return self.text


@dataclass(eq=False)
class Stored(Value):
    """A contiguous tensor in memory, which the program is given: the pointer of this number."""

    number: int


@dataclass(eq=False)
class View(Value):
    """A view, in torch's sense, of the first operand as if that were contiguous."""

    strides: Shape
    first: int

    def place(self, index: Index) -> Index:
        """The index into the operand at an index of the view."""
        return viewed_index(index, self.shape, self.strides, self.first, self.base.shape)

    def at(self, index: Index, reader: Reader) -> str:
        """The operand's number at another index."""
        return reader(self.base, self.place(index))


@dataclass(eq=False)
class Expression(Value):
    """Numbers that are computed, by what ``text`` gives, where they are needed."""

    text: Callable[[Index, Reader], str]

    def at(self, index: Index, reader: Reader) -> str:
        """The C expression that the value was made with."""
        return self.text(index, reader)


@dataclass(eq=False)
class Reduction(Value):
    """The sum or the largest of the operand's numbers along ascending dimensions, left out then.

    A largest of many ignores NaN.
    """

    how: Literal["sum", "max"]
    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        self.cost = math.prod(self.base.shape[dim] for dim in self.dims)

    @property
    def is_unrolled(self) -> bool:
        """Whether all terms are written as one C expression."""
        return self.cost <= MOST_UNROLLED

    @property
    def added(self) -> Sequence[int]:
        """All, unless the numbers are added in one expression."""
        return () if self.is_unrolled else self.dims

    def at(self, index: Index, reader: Reader) -> str:
        """The sum of all terms as one C expression."""
        along = iter(index)
        places = [
            [*map(str, range(extent))] if dim in self.dims else [next(along)]
            for dim, extent in enumerate(self.base.shape)
        ]
        text, *terms = (reader(self.base, each) for each in product(*places))
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


def computed(text: str, *given: Any, kind: Kind = "real") -> Value:
    """C expressions of the numbers of values that are broadcast.

    ``{0}`` stands for the first value. Expressions that are separated by ";" are computed one after
    another, and the result of the first is a value after the last that is given. A function that
    is slow has an expression of its own: inside of ``?:`` it would not be called for vectors.
    """
    values = [value_of(each) for each in given]
    *before, last = text.split(";")
    for part in before:
        values.append(_expression(part, values, "real" if kind == "bool" else kind))
    return _expression(last, values, kind)


def value_of(given: Any) -> Value:
    """A value, or a Python number as one."""
    if isinstance(given, Value):
        return given
    kind: Kind = "real" if isinstance(given, float) else "int64_t"
    if isinstance(given, bool):
        kind = "bool"
    return Number((), kind, literal(given, kind))


def converted(value: Value, kind: Kind) -> Value:
    """The numbers of a value in another C type."""
    if value.kind == kind:
        return value
    return computed("{0} != 0" if kind == "bool" else f"({kind}){{0}}", value, kind=kind)


def expanded(base: Value, shape: Sequence[int]) -> Value:
    """A value as torch broadcasts a tensor to a shape."""
    if base.shape == tuple(shape):
        return base
    view: Value = viewed(torch.ops.aten.expand.default, base, list(shape))
    return view


def viewed(target: Any, base: Value, *args: Any, **named: Any) -> Any:
    """What torch's view ``target`` gives of a value: a view, or a list of them."""
    like = torch.empty(base.shape, dtype=torch.uint8, device="meta")

    def view(found: torch.Tensor) -> Value:
        if found.dtype != like.dtype:
            raise TypeError("the bits of numbers as numbers of another type")
        shape, strides, first = tuple(found.shape), found.stride(), int(found.storage_offset())
        if isinstance(base, Number):
            return Number(shape, base.kind, base.text)
        if shape == base.shape and strides == like.stride():
            return base
        return View(shape, base.kind, strides, first, operands=(base,))

    result = target(like, *args, **named)
    return view(result) if isinstance(result, torch.Tensor) else list(map(view, result))


def in_order(outputs: Sequence[Value]) -> Iterator[Value]:
    """All values that some are computed from, and these, each once and after its operands."""
    found: set[Value] = set()
    waiting: list[tuple[Value, bool]] = [(value, False) for value in reversed(outputs)]
    while waiting:
        value, is_ready = waiting.pop()
        if value in found:
            continue
        if is_ready:
            found.add(value)
            yield value
            continue
        waiting.append((value, True))
        waiting += [(operand, False) for operand in reversed(value.operands)]


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


def _expression(text: str, values: Sequence[Value], kind: Kind) -> Value:
    text, cost, places = _parsed(text)
    used = [values[place] for place in places]
    shape = broadcast_shape(*(value.shape for value in used))
    operands = [expanded(value, shape) for value in used]

    def at(index: Index, reader: Reader) -> str:
        return text.format(*(reader(each, index) for each in operands))

    return Expression(shape, kind, at, operands=operands, cost=cost)


@cache
def _parsed(text: str) -> tuple[str, int, list[int]]:
    """An expression of no more than the values that it uses, its cost, and which these are."""
    text = text.strip()
    used = sorted({int(number) for number in re.findall(r"{(\d+)}", text)})
    found = [_COSTS.get(each, 1) for each in re.findall(r"\w+_(?=\()|/", text)]
    cost = 0 if text == "{0}" else max(found, default=1)
    return re.sub(r"{(\d+)}", lambda m: f"{{{used.index(int(m[1]))}}}", text), cost, used
