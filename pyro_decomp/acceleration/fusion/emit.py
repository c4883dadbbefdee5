"""A schedule as C."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyro_decomp.acceleration.fusion.body import Body
from pyro_decomp.acceleration.fusion.loops import Loops
from pyro_decomp.acceleration.fusion.materialization import strided
from pyro_decomp.acceleration.fusion.products import Matrix, product_lines
from pyro_decomp.acceleration.fusion.schedule import Nest, Schedule
from pyro_decomp.acceleration.fusion.values import Call, Product, Stored, Value

INDENT = "    "


class Emitter:
    """Writes the functions of a program.

    Attributes:
        functions: In C.
        calls: The statements that call these and the functions of libraries, in their order.
        kept: Objects of ctypes whose addresses the calls know as ``a0``, ``a1``...
    """

    def __init__(self, schedule: Schedule) -> None:
        self._strides, self._names = schedule.strides, schedule.names
        self.functions: list[str] = []
        self.calls: list[str] = []
        self.kept: list[Any] = []
        for number, step in enumerate(schedule.steps):
            if isinstance(step, Nest):
                self._nest(step, f"nest{number}")
            elif isinstance(step, Product):
                self._product(step, f"product{number}")
            else:
                self._call(step)

    def _function(self, name: str, pointers: Mapping[str, str], body: Sequence[str]) -> None:
        parameters = ", ".join(f"{kind}{name}" for name, kind in pointers.items())
        head = f"APART void {name}({parameters}) {{"
        self.functions.append("\n".join([head, *(INDENT + line for line in body), "}"]))
        self.calls.append(f"{name}({', '.join(pointers)});")

    def _nest(self, nest: Nest, name: str) -> None:
        body = Body(self._strides, self._names)
        for value in nest.values:
            body.compute(value)
        depth = len(nest.extents)
        before: list[list[str]] = [[] for _ in range(depth + 1)]
        after: list[list[str]] = [[] for _ in range(depth + 1)]
        clauses = []
        for (value, index), total in body.sums.items():
            level = Loops(value).depth
            first, sign = ("0", "+") if value.how == "sum" else ("-INFINITY", "max")
            before[level].append(f"{value.kind} {total} = {first};")
            after[level].append(f"{body.place(value, index)} = {total};")
            clauses.append(f" reduction({sign} : {total})")
        lines = []
        for level, extent in enumerate(nest.extents):
            lines += before[level]
            if level == depth - 1:
                lines.append("#pragma omp simd" + "".join(clauses))
            lines.append(f"for (int64_t i{level} = 0; i{level} < {extent}; i{level}++) {{")
        lines += body.lines
        for level in reversed(range(depth)):
            lines += ["}", *after[level]]
        self._function(name, body.pointers, lines)

    def _product(self, product: Product, name: str) -> None:
        out, pointers = self._names[product], {}
        matrices = []
        for operand in product.operands:
            pointer, first, (row, column) = self._memory(operand)
            pointers[pointer] = "const real *"
            matrices.append(Matrix(f"{pointer} + {first}", operand.shape, row, column))
        pointers[out] = "real *"
        matrices.append(Matrix(out, product.shape, *self._strides[product]))
        self._function(name, pointers, product_lines(*matrices))

    def _call(self, call: Call) -> None:
        kept = [f"a{len(self.kept) + number}" for number in range(len(call.kept))]
        self.kept += call.kept
        read = [self._memory(operand)[0] for operand in call.operands]
        self.calls.append(call.write(kept, read, [self._names[each] for each in call.results]))

    def _memory(self, value: Value) -> tuple[str, int, Sequence[int]]:
        """The pointer to the memory of a strided view, where its first number is, and strides."""
        found = strided(value, self._strides)
        assert found is not None
        base, first, strides = found
        return f"p{base.number}" if isinstance(base, Stored) else self._names[base], first, strides
