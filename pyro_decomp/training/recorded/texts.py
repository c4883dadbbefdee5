"""Texts of files and cells, their trees and their code."""

import __future__

import ast
import linecache
from collections.abc import Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in a cell
FUTURE = __future__.annotations.compiler_flag


def texts_of(namespace: Mapping[str, Any]) -> list[str]:
    """The text of the file whose globals these are; without a file, of all cells."""
    files = [namespace["__file__"]] if namespace.get("__file__") else list(linecache.cache)
    if len(files) > 1:
        files = [name for name in files if "ipykernel_" in name or not name.endswith(".py")]
    return [text for name in files if (text := text_of(name, dict(namespace))) is not None]


def is_assigned(name: str, namespace: Mapping[str, Any]) -> bool:
    """Whether a name is assigned to at the top of its file or of a cell, beside being defined."""
    waiting: list[ast.AST] = [ast.parse(text) for text in texts_of(namespace)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def text_of(filename: str, namespace: dict[str, Any]) -> str | None:
    """The text of a file or cell, if it is Python."""
    text = "".join(linecache.getlines(filename, namespace))
    try:
        nodes_of(text)
    except (SyntaxError, ValueError):
        return None
    return text or None


@lru_cache(maxsize=8)
def nodes_of(text: str) -> list[ast.AST]:
    """All nodes of a text's tree."""
    return list(ast.walk(ast.parse(text)))


@lru_cache(maxsize=8)
def codes_of(text: str, flags: int) -> list[CodeType]:
    """The code of every function in a text, and as notebooks compile it, statement by statement.

    What is called on a module has other code where its import is in the same text.
    """
    found, whole = [], ast.parse(text)
    parts = [whole, *(ast.Module([statement], []) for statement in whole.body)]
    flags |= AWAIT
    waiting = [compile(part, "text", "exec", flags, dont_inherit=True) for part in parts]
    while waiting:
        code = waiting.pop()
        found.append(code)
        waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
    return found


_PARTS = (
    *("co_name", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars"),
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
)


def is_same(one: CodeType, other: CodeType, *, is_inner: bool = False) -> bool:
    """Whether two codes do the same, and stand at the same line of their texts."""
    if not is_inner and one.co_firstlineno != other.co_firstlineno:
        return False
    if any(getattr(one, part) != getattr(other, part) for part in _PARTS):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    pairs = zip(one.co_consts, other.co_consts, strict=True)
    return all(
        is_same(a, b, is_inner=True)
        if isinstance(a, CodeType) and isinstance(b, CodeType)
        else _constant(a) == _constant(b)
        for a, b in pairs
    )


def _constant(value: Any) -> Any:
    """A constant as text that tells 1, 1.0 and True apart; sets have no order."""
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
