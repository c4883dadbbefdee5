"""The text of a function or class, found where it was written and held against what it became."""

import ast
import inspect
import linecache
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any

from pyro_decomp.training.recorded.texts import (
    FUTURE,
    codes_of,
    is_same,
    nodes_of,
    text_of,
    texts_of,
)

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


class UnrecordedError(Exception):
    """Raised for what no text can make again; the message says what it is, and why not."""

    def __init__(self, what: str, remedy: str = "make it inside the function") -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True)
class Definition:
    """The text of a function, class or lambda.

    Args:
        node: Its tree.
        lines: Its lines as they stand, indented and with its decorators; of a lambda, itself.
        has_future: Whether its file has ``from __future__ import annotations``.
    """

    node: Node
    lines: tuple[str, ...]
    has_future: bool

    @property
    def name(self) -> str:
        """What it is defined as; empty for a lambda."""
        return "" if isinstance(self.node, ast.Lambda) else self.node.name

    @property
    def indent(self) -> str:
        """What each of its lines begins with; of a lambda, nothing."""
        if not self.name:
            return ""
        return self.lines[0][: len(self.lines[0]) - len(self.lines[0].lstrip())]

    @property
    def decorators(self) -> list[ast.expr]:
        """Its decorators."""
        return [] if isinstance(self.node, ast.Lambda) else self.node.decorator_list

    def undecorated(self) -> "Definition":
        """The same without its decorators."""
        if isinstance(self.node, ast.Lambda) or not self.decorators:
            return self
        lines = self.lines[self.node.lineno - _first_line(self.node) :]
        return Definition(self.node, lines, self.has_future)

    def assigned(self, target: str) -> str:
        """Its text at the top of a module: under its own name, or a lambda under another."""
        if not self.name:
            return f"{target} = {self._expression}"
        return "\n".join([*(["if True:"] if self.indent else []), *self.lines])

    def returned(self, space: str) -> list[str]:
        """Its text in the body of a function that returns it, where lines begin with a space."""
        if not self.name:
            return [f"{space}return {self._expression}"]
        lines = [line if self.indent or not line else space + line for line in self.lines]
        return [*lines, f"{space}return {self.name}"]

    @property
    def _expression(self) -> str:
        return f"({self.lines[0]})"

    @cached_property
    def names(self) -> tuple[list[str], list[str]]:
        """The names that it takes from outside: when it is defined, and when it is called."""
        text = "\n".join(self.lines)
        if not self.name or self.indent:
            text = f"if True:\n{text}" if self.name else self._expression
        at_once: dict[str, None] = {}
        later: dict[str, None] = {}
        _collect(symtable.symtable(text, "definition", "exec"), at_once, later, self.name)
        at_once |= dict.fromkeys(_in_annotations(self.node))
        at_once.pop(self.name, None)
        return list(at_once), [name for name in later if name not in at_once]

    @property
    def chains(self) -> set[str]:
        """Every ``a.b.c`` in it, and what each begins with."""
        return {ast.unparse(n) for n in ast.walk(self.node) if _is_chain(n)}

    @property
    def rebound(self) -> set[str]:
        """Variables of the functions around it that it assigns to."""
        nonlocal_ = [n.names for n in ast.walk(self.node) if isinstance(n, ast.Nonlocal)]
        return {name for names in nonlocal_ for name in names}


def definition_of(thing: FunctionType | type) -> Definition:
    """Find the text of a function or class.

    It is compiled again and compared, so that it is not the text that a file or cell got since.

    Raises:
        UnrecordedError: There is none, or it is another's by now.
    """
    for _ in range(2):
        found = _of_class(thing) if isinstance(thing, type) else _of_function(thing)
        if found is not None:
            return found
        linecache.checkcache()  # a file may have been written and loaded again
    raise UnrecordedError(
        "whose text is not, or no longer, in a file or cell", "put it into a file"
    )


def _of_function(function: FunctionType) -> Definition | None:
    code = function.__code__
    text = text_of(code.co_filename, function.__globals__)
    flags = code.co_flags & FUTURE
    if text is None or not any(is_same(code, each) for each in codes_of(text, flags)):
        return None
    return _found(text, code.co_name, code.co_firstlineno, bool(flags))


def _of_class(kind: type) -> Definition | None:
    namespace = vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}
    methods = own_functions(kind)
    if not methods:
        return _class_by_name(kind, namespace)
    first = methods[0].__code__
    text = text_of(first.co_filename, methods[0].__globals__)
    if text is None:
        return None
    flags = first.co_flags & FUTURE
    compiled = codes_of(text, flags)
    if not all(any(is_same(m.__code__, each) for each in compiled) for m in methods):
        return None
    for node in nodes_of(text):
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            assert node.end_lineno is not None
            if node.lineno <= first.co_firstlineno <= node.end_lineno:
                return _found(text, node.name, _first_line(node), bool(flags))
    return None


def _class_by_name(kind: type, namespace: dict[str, Any]) -> Definition | None:
    """The text of a class without methods: the only one of its name in its file or in all cells."""
    found: dict[str, Definition] = {}
    for text in texts_of(namespace):
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                definition = _found(text, node.name, _first_line(node), False)
                if definition is not None:
                    found[ast.dump(node)] = definition
    return next(iter(found.values())) if len(found) == 1 else None


def own_functions(kind: type) -> list[FunctionType]:
    """The functions in the body of a class, but for those that decorators make."""
    members = vars(kind).values()
    found = [getattr(m, "fget", None) or getattr(m, "__func__", None) or m for m in members]
    found = [inspect.unwrap(each) if callable(each) else each for each in found]
    of = f"{kind.__qualname__}."
    return [
        f
        for f in found
        if isinstance(f, FunctionType)
        and f.__qualname__.startswith(of)
        and not f.__code__.co_filename.startswith(_GENERATED)
    ]


_GENERATED = ("<string", "<attrs")


def _found(text: str, name: str, line: int, has_future: bool) -> Definition | None:
    """The definition of a name that begins at a line; of a lambda, the only one there."""
    if name == "<lambda>":
        found = [n for n in nodes_of(text) if isinstance(n, ast.Lambda) and n.lineno == line]
        segment = ast.get_source_segment(text, found[0]) if len(found) == 1 else None
        if segment is None:
            raise UnrecordedError("one of several lambdas in a line")
        return Definition(found[0], (segment,), has_future)
    for node in nodes_of(text):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name == name and _first_line(node) == line:
            lines = text.splitlines()[line - 1 : node.end_lineno]
            return Definition(node, tuple(lines), has_future)
    return None


def _first_line(node: Any) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


_AT_ONCE = {"lambda", "listcomp", "setcomp", "dictcomp", "genexpr"}


def _collect(
    table: symtable.SymbolTable, at_once: dict[str, None], later: dict[str, None], own: str
) -> None:
    """Sort the names of a scope that is entered when the text runs, and those of scopes within."""
    is_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        is_outer = is_top or symbol.is_global() or table.get_type() == "class"
        if is_outer and symbol.is_referenced():
            at_once[symbol.get_name()] = None
    for child in table.get_children():
        is_called = child.get_type() == "function" and (
            child.get_name() == own
            or (table.get_type() == "class" and child.get_name() not in _AT_ONCE)
        )
        if is_called or (is_top and not own):
            later |= dict.fromkeys(_all_names(child))
        else:
            _collect(child, at_once, later, "")


def _all_names(table: symtable.SymbolTable) -> Iterator[str]:
    yield from (s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced())
    for child in table.get_children():
        yield from _all_names(child)


def _in_annotations(node: Node) -> Iterator[str]:
    """The names in annotations that are written as strings."""
    for part in ast.walk(node):
        annotation = getattr(part, "annotation", None)
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                inner = ast.parse(annotation.value, mode="eval")
            except SyntaxError:
                continue
            yield from (n.id for n in ast.walk(inner) if isinstance(n, ast.Name))


def _is_chain(node: ast.AST) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)
