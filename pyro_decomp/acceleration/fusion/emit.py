"""Kept values as functions in C, one after another."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_decomp.acceleration.fusion.indexing import Index, Shape, contiguous, offset
from pyro_decomp.acceleration.fusion.memory import strided
from pyro_decomp.acceleration.fusion.products import Matrix, product_lines
from pyro_decomp.acceleration.fusion.values import (
    Call,
    Number,
    Product,
    Reduction,
    Result,
    Stored,
    Value,
    View,
)

# Of a sum and of a largest: where it begins, OpenMP's name of it, and how a term is added.
_ADDING = {
    "sum": ("0", "+", "{0} += {1};"),
    "max": ("-INFINITY", "max", "{0} = {1} > {0} ? {1} : {0};"),
}


class Emitter:
    """Writes the functions of a program.

    Args:
        strides: Of the values that are kept in memory, each after what it needs.
        names: Of the pointers to these.

    Attributes:
        functions: In C.
        calls: The statements that call these and the functions of libraries, in their order.
        kept: Objects of ctypes whose addresses the calls know as ``a0``, ``a1``...
    """

    def __init__(self, strides: Mapping[Value, Shape], names: Mapping[Value, str]) -> None:
        self._strides, self._names = strides, names
        self.functions: list[str] = []
        self.calls: list[str] = []
        self.kept: list[Any] = []
        done: set[Value] = set()
        for value in strides:
            if isinstance(value, Call):
                self._call(value)
            elif isinstance(value, Product):
                self._product(value)
            elif not isinstance(value, Result) and value not in done:
                sums = [v for v in strides if v.added and v.base is value]
                alike = [value, *(v for v in sums if _looped(v) == _looped(value))]
                self._loops(alike)
                done.update(alike)

    def _loops(self, values: Sequence[Value]) -> None:
        """Loops over a value's numbers, or over the terms of a sum; then sums of it on the way."""
        shape, dims = values[0].terms.shape, _looped(values[0])
        names = {dim: f"i{level}" for level, dim in enumerate(dims)}
        index = tuple(names.get(dim, "0") for dim in range(len(shape)))
        body, clauses = _Body(self._strides, self._names), ""
        before, after = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
        for value in values:
            name = self._names[value]
            own = tuple(each for dim, each in enumerate(index) if dim not in value.added)
            place = f"{name}[{offset(own, self._strides[value])}]"
            body.pointers[name] = f"{value.kind} *restrict "
            if isinstance(value, Reduction) and value.added:
                first, sign, add = _ADDING[value.how]
                level, total = sum(dim not in value.added for dim in dims), f"of_{name}"
                before[level].append(f"{value.kind} {total} = {first};")
                after[level].append(f"{place} = {total};")
                clauses += f" reduction({sign} : {total})"
                body.lines.append(add.format(total, body.of(value.base, index)))
            else:
                body.lines.append(f"{place} = {value.at(index, body.of)};")
        lines: list[str] = []
        for level, dim in enumerate(dims):
            lines += before[level]
            if level == len(dims) - 1:
                lines.append("#pragma omp simd" + clauses)
            lines.append(f"for (int64_t i{level} = 0; i{level} < {shape[dim]}; i{level}++) {{")
        lines += body.lines
        for level in reversed(range(len(dims))):
            lines += ["}", *after[level]]
        self._function(body.pointers, lines)

    def _product(self, product: Product) -> None:
        out, pointers = self._names[product], {}
        matrices = []
        for operand in product.operands:
            pointer, first, (row, column) = self._memory(operand)
            pointers[pointer] = "const real *"
            matrices.append(Matrix(f"{pointer} + {first}", operand.shape, row, column))
        pointers[out] = "real *"
        matrices.append(Matrix(out, product.shape, *self._strides[product]))
        self._function(pointers, product_lines(*matrices))

    def _call(self, call: Call) -> None:
        kept = [f"a{len(self.kept) + number}" for number in range(len(call.kept))]
        self.kept += call.kept
        read = [self._memory(operand)[0] for operand in call.operands]
        self.calls.append(call.write(kept, read, [self._names[each] for each in call.results]))

    def _function(self, pointers: Mapping[str, str], body: Sequence[str]) -> None:
        name = f"function{len(self.functions)}"
        parameters = ", ".join(f"{kind}{pointer}" for pointer, kind in pointers.items())
        self.functions.append("\n    ".join([f"APART void {name}({parameters}) {{", *body]) + "\n}")
        self.calls.append(f"{name}({', '.join(pointers)});")

    def _memory(self, value: Value) -> tuple[str, int, Sequence[int]]:
        """The pointer to the memory of a strided view, where its first number is, and strides."""
        found = strided(value, self._strides)
        assert found is not None
        base, first, strides = found
        return f"p{base.number}" if isinstance(base, Stored) else self._names[base], first, strides


def _looped(value: Value) -> list[int]:
    """The dimensions of the loops that compute a value, the outermost first.

    Inner loops add up what the outer ones keep; the longest of each kind is innermost.
    """
    shape = value.terms.shape
    dims = [dim for dim, extent in enumerate(shape) if extent > 1]
    return sorted(dims, key=lambda dim: (dim in value.added, shape[dim], -dim))


class _Body:
    """Statements that compute numbers at the place of the loops around them."""

    def __init__(self, strides: Mapping[Value, Shape], names: Mapping[Value, str]) -> None:
        self.lines: list[str] = []
        self.pointers: dict[str, str] = {}
        self._strides, self._names = strides, names
        self._known: dict[tuple[Value, Index], str] = {}

    def of(self, value: Value, index: Index) -> str:
        """The C expression of a value's number: a variable, unless that needs none."""
        key = value, index
        if key not in self._known:
            if isinstance(value, Stored):
                text = self._read(value, f"p{value.number}", contiguous(value.shape), index)
            elif value in self._strides:
                text = self._read(value, self._names[value], self._strides[value], index)
            else:
                text = value.at(index, self.of)
            if not (isinstance(value, View | Number) or text.isidentifier()):
                name = f"x{len(self.lines)}"
                self.lines.append(f"const {value.kind} {name} = {text};")
                text = name
            self._known[key] = text
        return self._known[key]

    def _read(self, value: Value, pointer: str, strides: Shape, index: Index) -> str:
        self.pointers.setdefault(pointer, f"const {value.kind} *restrict ")
        return f"{pointer}[{offset(index, strides)}]"
