"""A schedule as C."""

from collections.abc import Sequence

from pyro_decomp.acceleration.fusion.loops import loops_of, places_of, strided, terms_of
from pyro_decomp.acceleration.fusion.products import Matrix, product_lines
from pyro_decomp.acceleration.fusion.schedule import Nest, Schedule
from pyro_decomp.acceleration.fusion.values import (
    Call,
    Index,
    Number,
    Product,
    Reader,
    Reduction,
    Shape,
    Stored,
    Value,
    View,
    offset,
)

INDENT = "    "


class Emitter:
    """Writes the functions of a program.

    Args:
        schedule: The program.
        names: Pointers of the roots.
    """

    def __init__(self, schedule: Schedule, names: dict[Value, str]) -> None:
        self._strides = schedule.strides
        self._names = names
        self.functions: list[str] = []
        self.calls: list[str] = []
        for number, step in enumerate(schedule.steps):
            if isinstance(step, Nest):
                self._nest(step, f"nest{number}")
            elif isinstance(step, Product):
                self._product(step, f"product{number}")
            else:
                self._call(step)

    def _function(self, name: str, pointers: dict[str, str], body: Sequence[str]) -> None:
        parameters = ", ".join(f"{kind}{name}" for name, kind in pointers.items())
        head = f"APART void {name}({parameters}) {{"
        self.functions.append("\n".join([head, *(INDENT + line for line in body), "}"]))
        self.calls.append(f"{name}({', '.join(pointers)});")

    def _nest(self, nest: Nest, name: str) -> None:
        writer = Writer(self._strides, self._names)
        sums = _Sums()
        for root in nest.roots:
            self._term(root, writer, sums)
        depth, lines = len(nest.extents), []
        for level, extent in enumerate(nest.extents):
            lines += sums.before.get(level, [])
            if level == depth - 1:
                lines.append("#pragma omp simd" + "".join(sums.clauses))
            lines.append(f"for (int64_t i{level} = 0; i{level} < {extent}; i{level}++) {{")
        lines += writer.lines
        for level in reversed(range(depth)):
            lines += ["}", *sums.after.get(level, [])]
        self._function(name, writer.pointers, lines)

    def _term(self, root: Value, writer: "Writer", sums: "_Sums") -> None:
        """What the innermost loop does for a root, and what is done around loops."""
        terms, added = terms_of(root)
        if not added:
            for index in places_of(root):
                writer.keep(root, index)
            return
        assert isinstance(root, Reduction)
        depth = len(loops_of(root)[0])
        for index in places_of(root):
            own = tuple(each for dim, each in enumerate(index) if dim not in added)
            total = sums.name(root, own)
            if total not in sums.started:
                sums.start(total, root, depth)
                sums.end(f"{writer.place(root, own)} = {total};", depth)
            term = writer.of(terms, index)
            if root.how == "sum":
                writer.lines.append(f"{total} += {term};")
            else:
                writer.lines.append(f"{total} = {term} > {total} ? {term} : {total};")

    def _product(self, product: Product, name: str) -> None:
        to = self._names[product]
        pointers: dict[str, str] = {}
        matrices = []
        for operand in product.operands:
            found = strided(operand, self._strides)
            assert found is not None
            base, first, (row, column) = found
            pointer = _pointer(base, self._names)
            pointers[pointer] = "const real *"
            matrices.append(Matrix(f"{pointer} + {first}", operand.shape, row, column))
        pointers[to] = "real *"
        left, right = matrices
        row, column = self._strides[product]
        out = Matrix(to, product.shape, row, column)
        self._function(name, pointers, product_lines(left, right, out))

    def _call(self, call: Call) -> None:
        read = []
        for argument in call.arguments:
            found = strided(argument, self._strides)
            assert found is not None
            read.append(_pointer(found[0], self._names))
        written = [self._names[result] for result in call.results]
        self.calls.append(call.write(read, written))


class _Sums:
    """What is added up in a nest of loops."""

    def __init__(self) -> None:
        self.before: dict[int, list[str]] = {}
        self.after: dict[int, list[str]] = {}
        self.clauses: list[str] = []
        self.started: set[str] = set()
        self._names: dict[tuple[Value, Index], str] = {}

    def name(self, root: Value, index: Index) -> str:
        return self._names.setdefault((root, index), f"sum{len(self._names)}")

    def start(self, total: str, root: Reduction, depth: int) -> None:
        self.started.add(total)
        first, sign = ("0", "+") if root.how == "sum" else ("-INFINITY", "max")
        self.before.setdefault(depth, []).append(f"{root.kind} {total} = {first};")
        self.clauses.append(f" reduction({sign} : {total})")

    def end(self, line: str, depth: int) -> None:
        self.after.setdefault(depth, []).append(line)


class Writer(Reader):
    """The body of a loop.

    Attributes:
        lines: Its statements.
        pointers: What it reads and writes, with their C types.
    """

    def __init__(self, strides: dict[Value, Shape], names: dict[Value, str]) -> None:
        self.lines: list[str] = []
        self.pointers: dict[str, str] = {}
        self._strides = strides
        self._names = names
        self._known: dict[tuple[Value, Index], str] = {}

    def of(self, value: Value, index: Index) -> str:
        """See :class:`Reader`."""
        key = value, index
        if key in self._known:
            return self._known[key]
        if value in self._strides:
            pointer = self._names[value]
            self.pointers.setdefault(pointer, f"const {value.kind} *restrict ")
            text = f"{pointer}[{offset(index, self._strides[value])}]"
        else:
            if isinstance(value, Stored):
                self.pointers.setdefault(f"p{value.number}", f"const {value.kind} *restrict ")
            text = value.at(index, self)
        if isinstance(value, View | Number) or text.isidentifier():
            self._known[key] = text
        else:
            self._known[key] = self._variable(value, text)
        return self._known[key]

    def keep(self, root: Value, index: Index) -> None:
        """Compute a root's number, and write it to its memory."""
        name = self._variable(root, root.at(index, self))
        self._known[root, index] = name
        self.lines.append(f"{self.place(root, index)} = {name};")

    def place(self, root: Value, index: Index) -> str:
        """Where a root's number is written to."""
        pointer = self._names[root]
        self.pointers[pointer] = f"{root.kind} *restrict "
        return f"{pointer}[{offset(index, self._strides[root])}]"

    def _variable(self, value: Value, text: str) -> str:
        name = f"x{len(self._known)}_{len(self.lines)}"
        self.lines.append(f"const {value.kind} {name} = {text};")
        return name


def _pointer(value: Value, names: dict[Value, str]) -> str:
    return f"p{value.number}" if isinstance(value, Stored) else names[value]
