"""Whether a value is of an annotated type, and what that type is in words."""

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin


def fits(value: object, annotation: Any) -> bool:
    """Whether a value is of a type; of what is not known of the type, it is.

    Numbers may be Python's, numpy's or tensors without dimensions. A float is finite, an array is
    what numpy makes into one of numbers.

    >>> fits(1.5, int | None), fits(None, int | None), fits([1, 2], tuple[int, ...])
    (False, True, True)

    Args:
        value: The value.
        annotation: The type; of arrays, axes are not looked at.
    """
    kind, members = _taken_apart(annotation)
    if kind is Union:
        return any(fits(value, member) for member in members)
    if kind is Literal:
        return isinstance(value, str) and value in members
    if kind in _KINDS:
        return _KINDS[kind][1](value)
    if kind is Any or not isinstance(kind, type):
        return True
    if issubclass(kind, Collection) and not issubclass(kind, Mapping) and members:
        return _items_fit(value, members)
    return isinstance(value, kind)


def in_words(annotation: Any) -> str:
    """What a type is called.

    >>> in_words(int | None), in_words(tuple[str, ...])
    ('a whole number or None', 'a sequence of strings')
    """
    kind, members = _taken_apart(annotation)
    if kind is Union:
        return " or ".join(dict.fromkeys(in_words(member) for member in members))
    if kind is Literal:
        return f"one of {', '.join(map(repr, members))}"
    if kind in _KINDS:
        return _KINDS[kind][0]
    name = getattr(kind, "__name__", str(kind))
    if not isinstance(kind, type) or not issubclass(kind, Collection):
        return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
    if issubclass(kind, Mapping):
        return "a dictionary"
    each = in_words(members[0]).split(" or ") if members else []
    several = " or ".join(re.sub(r"^an? ((whole |finite )?\w+)", r"\1s", one) for one in each)
    return f"a sequence of {several}" if each else "a sequence"


def plain(value: object) -> object:
    """The Python number in a numpy number or a tensor without dimensions; else the value itself."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


def _taken_apart(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type and what it is of: ``Union`` for one of several, complex for arrays of numbers."""
    annotation = getattr(annotation, "array_type", annotation)  # of jaxtyping
    kind, members = get_origin(annotation) or annotation, get_args(annotation)
    if getattr(kind, "__module__", "").startswith("numpy") or kind is bytes:
        return complex, ()
    if kind in {Union, UnionType}:
        apart = [_taken_apart(member)[0] for member in members]
        if complex in apart:  # what numpy makes arrays of may be text, too
            members = tuple(m for m, k in zip(members, apart, strict=True) if k is not str)
        return Union, members
    return kind, members


def _items_fit(value: object, members: tuple[Any, ...]) -> bool:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        return False
    items = list(value) if isinstance(value, Collection) else []
    if len(members) == 1 or members[-1] is Ellipsis:
        return all(fits(item, members[0]) for item in items)
    return len(items) == len(members) and all(map(fits, items, members))


def _is_number(value: object, kind: type) -> bool:
    found = plain(value)
    return isinstance(found, kind) and not isinstance(found, bool)


def _is_array(value: object) -> bool:
    import numpy as np  # noqa: PLC0415 (the command line starts without)

    for method in ("detach", "cpu"):  # a tensor
        value = getattr(value, method)() if hasattr(value, method) else value
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # rows of several lengths
        return False
    return array.ndim > 0 and array.dtype.kind in "biuf"


_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: _is_number(value, Integral)),
    float: (
        "a finite number",
        lambda value: _is_number(value, Real) and math.isfinite(plain(value)),  # type: ignore[arg-type]
    ),
    complex: ("an array of numbers", _is_array),
    str: ("a string", lambda value: isinstance(value, str)),
    NoneType: ("None", lambda value: value is None),
    Callable: ("a function", callable),
    os.PathLike: ("a path", lambda value: isinstance(value, os.PathLike)),
}
