"""Checks of annotations for functions that are made anew at every call, such as inner ones."""

from collections.abc import Callable
from typing import Any

from beartype import beartype

_CHECKED: dict[Any, Callable[..., Any]] = {}


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arguments as beartype does, whose code is made once for equal functions.

    It takes milliseconds to make. jaxtyping has only stand-ins without a body checked, so that
    functions of one name with the same parameters and annotations may share it.
    """
    if "<locals>" not in function.__qualname__ or function.__defaults__ or function.__kwdefaults__:
        return beartype(function)
    code = function.__code__
    key = (
        (function.__module__, function.__qualname__, code.co_code, code.co_varnames),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        tuple(function.__annotations__.items()),
    )
    try:
        known = key in _CHECKED
    except TypeError:  # an annotation that cannot be a key
        return beartype(function)
    if not known:
        _CHECKED[key] = beartype(function)
    return _CHECKED[key]


class Recorder(list[Any]):
    """What a test notes of runs, also of those that are to leave no trace in the programs."""

    _is_memory_of_programs = True
