"""The body of a loop in C, while it is being written."""

from collections.abc import Mapping

from pyro_decomp.acceleration.fusion.indexing import Index, Shape, offset
from pyro_decomp.acceleration.fusion.loops import Loops
from pyro_decomp.acceleration.fusion.values import Number, Reader, Reduction, Stored, Value, View


class Body(Reader):
    """Statements that compute values at the place of the loops around them.

    Attributes:
        lines: The statements.
        pointers: What they read and write, with their C types.
        read: Which numbers of kept values they read.
        sums: Of each sum that they add to: its C variable, the value, and where in it that goes.
    """

    def __init__(self, strides: Mapping[Value, Shape], names: Mapping[Value, str]) -> None:
        self.lines: list[str] = []
        self.pointers: dict[str, str] = {}
        self.read: set[tuple[Value, Index]] = set()
        self.sums: dict[tuple[Reduction, Index], str] = {}
        self._strides, self._names = strides, names
        self._known: dict[tuple[Value, Index], str] = {}

    def of(self, value: Value, index: Index) -> str:
        """See :class:`Reader`: a variable, unless the number needs none."""
        key = value, index
        if key in self._known:
            return self._known[key]
        if value in self._strides:
            self.read.add(key)
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

    def compute(self, value: Value) -> None:
        """Write what computes a kept value at every place of one turn of its loops."""
        loops = Loops(value)
        for index in loops.places:
            if isinstance(value, Reduction) and loops.added:
                self._add(value, index)
            else:
                name = self._variable(value, value.at(index, self))
                self._known[value, index] = name
                self.lines.append(f"{self.place(value, index)} = {name};")

    def place(self, value: Value, index: Index) -> str:
        """The C expression of the memory that a kept value's number is written to."""
        pointer = self._names[value]
        self.pointers[pointer] = f"{value.kind} *restrict "
        return f"{pointer}[{offset(index, self._strides[value])}]"

    def _add(self, value: Reduction, index: Index) -> None:
        own = tuple(each for dim, each in enumerate(index) if dim not in value.dims)
        total = self.sums.setdefault((value, own), f"sum{len(self.sums)}")
        term = self.of(value.base, index)
        if value.how == "sum":
            self.lines.append(f"{total} += {term};")
        else:
            self.lines.append(f"{total} = {term} > {total} ? {term} : {total};")

    def _variable(self, value: Value, text: str) -> str:
        name = f"x{len(self._known)}_{len(self.lines)}"
        self.lines.append(f"const {value.kind} {name} = {text};")
        return name
