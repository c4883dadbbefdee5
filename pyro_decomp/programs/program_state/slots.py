"""Places in which objects keep things, and how these are read, written and emptied."""

import operator
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from types import CellType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
MANY = 10_000  # of a longer container the ends are looked at


class ByType(dict[type, T]):
    """A table of what is found out once about each type."""

    def __init__(self, find: Callable[[type], T]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, kind: type) -> T:
        if len(self) > MANY:  # classes of programs that are long gone
            self.clear()
        found = self[kind] = self._find(kind)
        return found


class Access(NamedTuple):
    """How a place is read, written and emptied; None where it always holds the same."""

    read: Callable[[Any, Any], Any] | None = None
    write: Callable[[Any, Any, Any], None] | None = None
    empty: Callable[[Any, Any], None] | None = None


class Slot(NamedTuple):
    """A place in which something is kept.

    Attributes:
        name: Of the attribute, variable or key, or the number of the item; empty for a part that
            stands for the whole, as the owner of a bound method does.
        value: What was kept there when it was found.
        owner: What the place is in.
        key: Where in its owner it is.
        access: How it is read and written.
    """

    name: str
    value: Any
    owner: Any
    key: Any
    access: Access

    def get(self) -> Any:
        """Read what is kept in this place now."""
        read = self.access.read
        return self.value if read is None else read(self.owner, self.key)

    @property
    def set(self) -> Callable[[Any], None] | None:
        """A function that keeps something else in this place; None where that cannot be done."""
        write = self.access.write
        return None if write is None else partial(write, self.owner, self.key)


def part(value: Any) -> Slot:
    """The place of a part that stands for the whole, as the owner of a bound method does."""
    return Slot("", value, value, None, FIXED)


def contents(cell: CellType) -> Any:
    """The value of a closure variable; :data:`ABSENT` where it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def context_value(variable: "ContextVar[Any]") -> Any:
    """The value of a context variable; :data:`ABSENT` where it has none yet."""
    try:
        return variable.get()
    except LookupError:
        return ABSENT


def _write_attribute(owner: Any, name: Any, value: Any) -> None:
    try:
        setattr(owner, name, value)
    except (AttributeError, TypeError):  # frozen, as a dataclass may be
        object.__setattr__(owner, name, value)


ABSENT = object()
ITEM = Access(operator.getitem, operator.setitem, operator.delitem)
ATTRIBUTE = Access(getattr, _write_attribute, delattr)
CELL = Access(
    lambda cell, _: cell.cell_contents,
    lambda cell, _, value: setattr(cell, "cell_contents", value),
    lambda cell, _: delattr(cell, "cell_contents"),
)
CONTEXT = Access(lambda variable, _: variable.get(), lambda variable, _, new: variable.set(new))
FIXED = Access()
