"""Arguments of public functions and classes, checked where they are given.

Each check takes what is to be true first and then the arguments by name, so that one line checks
several of them. It raises :class:`.ArgumentError`, a ``TypeError`` and a ``ValueError``, in the
words "NAME: expected WHAT, got WHAT".

>>> whole(latent_dim=2, channels=1)
>>> number("(0, 1]", share=1.5)
Traceback (most recent call last):
pyro_decomp.errors.ArgumentError: share: expected a number in (0, 1], got 1.5
"""

import inspect
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pyro_decomp.errors import ArgumentError

LARGEST_SEED = 2**32 - 1  # that numpy takes
_SHOWN = 80  # characters of a value that a message shows


def refuse(name: str, expected: str, got: object) -> NoReturn:
    """Raise the one sentence that every check of an argument says.

    Args:
        name: Of the argument.
        expected: What it had to be.
        got: What it is: an array is told by its shape, and anything else by its representation.

    Raises:
        ArgumentError: Always.
    """
    shape = getattr(got, "shape", ())
    is_array = isinstance(shape, tuple) and len(shape) > 0
    shown = f"shape {tuple(shape)}" if is_array else " ".join(repr(plain(got)).split())
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    raise ArgumentError(f"{name}: expected {expected}, got {shown}")


def number(interval: str, /, **values: object) -> None:
    """Check numbers: Python's, numpy's, or tensors without dimensions; never bool.

    Args:
        interval: Where they must be, such as "[0, 1)"; infinity never is.
        **values: The arguments by name.
    """
    low, high = map(float, interval[1:-1].split(","))
    expected = _in_words(interval)
    for name, value in values.items():
        found = plain(value)
        if isinstance(found, bool) or not isinstance(found, Real):
            refuse(name, expected, value)
        try:
            at = float(found)
        except OverflowError:
            at = math.inf
        if math.isinf(at):
            refuse(name, expected.replace("a positive", "a finite, positive"), value)
        is_end = (interval[0] == "[" and at == low) or (interval[-1] == "]" and at == high)
        if not (low < at < high or is_end):
            refuse(name, expected, value)


def whole(least: int = 1, most: int | None = None, /, **values: object) -> None:
    """Check whole numbers, Python's or numpy's; never bool.

    Args:
        least: The smallest that is allowed.
        most: The largest, if there is one.
        **values: The arguments by name.
    """
    expected = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
    if most is not None:
        expected = f"a whole number from {least} to {most}"
    for name, value in values.items():
        found = plain(value)
        if isinstance(found, bool) or not isinstance(found, Integral):
            refuse(name, expected, value)
        if int(found) < least or (most is not None and int(found) > most):
            refuse(name, expected, value)
        if int(found) >= 2**63:
            refuse(name, f"{expected} below 2^63", value)


def wholes(fewest: int = 0, /, **values: object) -> None:
    """Check sequences of positive whole numbers, such as the widths of layers.

    Args:
        fewest: Numbers that there must be at least.
        **values: The arguments by name.
    """
    for name, value in values.items():
        whole(**_items(name, value, "positive whole numbers, such as (100,)", fewest))


def numbers(interval: str, /, **values: object) -> None:
    """Check sequences of at least one number each.

    Args:
        interval: As for :func:`number`.
        **values: The arguments by name.
    """
    for name, value in values.items():
        number(interval, **_items(name, value, "numbers, such as [1.0]", 1))


def one_of(choices: Collection[str], /, **values: object) -> None:
    """Check words that stand for a choice."""
    for name, value in values.items():
        if not isinstance(value, str) or value not in choices:
            refuse(name, f"one of {', '.join(map(repr, choices))}", value)


def instance(kind: Any, expected: str, /, **values: object) -> None:
    """Check the types of objects.

    Args:
        kind: A type or several, as for ``isinstance``.
        expected: What they are, for the message: "a module such as Discriminator(latent_dim)".
        **values: The arguments by name.
    """
    for name, value in values.items():
        if not isinstance(value, kind):
            refuse(name, expected, value)


def items(kind: Any, expected: str, /, **values: object) -> None:
    """Check that arguments are sequences whose items are of a type.

    Args:
        kind: A type or several, as for ``isinstance``.
        expected: What they are in the plural, for the message.
        **values: The arguments by name.
    """
    for name, value in values.items():
        instance(kind, f"one of {expected}", **_items(name, value, expected, 0))


def text(**values: object) -> None:
    """Check that arguments are strings."""
    instance(str, "a string", **values)


def flag(**values: object) -> None:
    """Check that arguments are True or False."""
    instance(bool, "True or False", **values)


def path(**values: object) -> None:
    """Check that arguments name a file or folder."""
    instance((str, os.PathLike), "a path", **values)
    for name, value in values.items():
        written = os.fspath(value)  # type: ignore[call-overload]
        if not written or "\0" in written:
            refuse(name, "a path", value)


def function(expected: str = "a function", /, **values: object) -> None:
    """Check that arguments can be called.

    Args:
        expected: What they are, for the message.
        **values: The arguments by name.
    """
    instance(Callable, expected, **values)


def device(**values: object) -> None:
    """Check devices, such as "cpu", by putting a number there and getting it back."""
    import torch  # noqa: PLC0415 (plots and schedules do without)

    for name, value in values.items():
        instance((str, torch.device), "a device such as 'cpu'", **{name: value})
        try:
            torch.zeros(1, device=value).item()  # type: ignore[call-overload]
        except (AssertionError, RuntimeError):  # torch built without it, or no such device
            refuse(name, "a device that torch can compute on here, such as 'cpu'", value)


def tensor(axes: str, /, **values: object) -> None:
    """Check tensors of finite floating-point numbers, none of whose axes is empty.

    Args:
        axes: Their names, such as "k d", of which "..." stands for any number of axes.
        **values: The arguments by name.
    """
    import torch  # noqa: PLC0415 (plots and schedules do without)

    expected = f"a tensor [{axes.replace(' ', ', ')}] of finite numbers"
    names = axes.split()
    fixed = len(names) - ("..." in names)
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            refuse(name, expected, value)
        if not value.is_floating_point():
            refuse(name, f"{expected} with a floating point", value.dtype)
        fits = value.dim() >= fixed if "..." in names else value.dim() == fixed
        if not fits or value.numel() == 0:
            refuse(name, expected, value)
        if not value.isfinite().all():
            refuse(name, expected, math.nan)


def positive(**values: object) -> None:
    """Check numbers, or tensors of any shape, that must be positive and finite."""
    for name, value in values.items():
        if getattr(value, "ndim", 0) == 0:
            number("(0, inf)", **{name: value})
            continue
        tensor("...", **{name: value})
        if not (least := value.min()) > 0:  # type: ignore[attr-defined]
            refuse(name, "positive numbers", least)


def given(**values: object) -> dict[str, object]:
    """The arguments that are not None, to be checked by any of the checks.

    >>> given(limit=None, size=64)
    {'size': 64}
    """
    return {name: value for name, value in values.items() if value is not None}


def annotated(call: Callable[..., Any], values: Mapping[str, object], /, **least: int) -> None:
    """Check arguments by the annotations of the function that was given them.

    Args:
        call: The function, or the ``__init__`` of a class.
        values: Its arguments by name, as ``locals()`` has them in its first line.
        **least: The smallest that whole numbers may be, by their names.

    >>> def resized(path: str, size: int = 64) -> None:
    ...     annotated(resized, locals())
    >>> resized("a.png", size="64")
    Traceback (most recent call last):
    pyro_decomp.errors.ArgumentError: size: expected a whole number, got '64'
    """
    for name, parameter in _parameters(call).items():
        if name in values and values[name] is not parameter.default:
            value, kind = values[name], parameter.annotation
            if not fits(value, kind):
                refuse(name, in_words(kind), value)
            if isinstance(value, str) and fits(Path(), kind):
                path(**{name: value})
            if name in least and value is not None:
                whole(least[name], **{name: value})


@contextmanager
def raised_as(error: type[Exception]) -> Iterator[None]:
    """Raise another error, with the same words, for what is refused inside."""
    try:
        yield
    except ArgumentError as refused:
        raise error(str(refused)) from None


@cache
def _parameters(call: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    found = inspect.signature(call).parameters
    return {n: each for n, each in found.items() if each.annotation is not each.empty}  # not self


def _in_words(interval: str) -> str:
    known = {"(-inf, inf)": "a finite number", "(0, inf)": "a positive number"}
    if interval.startswith("[") and interval.endswith(", inf)"):
        return f"a finite number of at least {interval[1:-6]}"
    return known.get(interval, f"a number in {interval}")


def _items(name: str, value: object, expected: str, fewest: int) -> dict[str, object]:
    """The items of a sequence, each by the name that a message gives it.

    Of an iterator there would be none left after they are looked at.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Iterator):
        refuse(name, f"a sequence of {expected}", value)
    items = {f"{name}[{place}]": item for place, item in enumerate(value)}
    if len(items) < fewest:
        refuse(name, f"{fewest} or more {expected}", value)
    return items


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
        is_right = _KINDS[kind][1](value)
        return is_right and (kind is not Callable or _can_be_called(value, *members))
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
        takes = members[0] if kind is Callable and members else ...
        of = "" if takes is ... else f" of {len(takes)} argument{'s' * (len(takes) != 1)}"
        return _KINDS[kind][0] + of
    name = getattr(kind, "__name__", str(kind))
    is_tensor = name in {"Tensor", "Parameter"}  # which are collections too
    if is_tensor or not isinstance(kind, type) or not issubclass(kind, Collection):
        return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
    if issubclass(kind, Mapping):
        return "a dictionary"
    is_known = members and members[0] is not Any
    each = in_words(members[0]).split(" or ") if is_known else []
    several = " or ".join(re.sub(r"^an? ((whole |finite )?\w+)", r"\1s", one) for one in each)
    return f"a sequence of {several}" if each else "a sequence"


def plain(value: object) -> Any:
    """The Python number in a numpy number or a tensor without dimensions; else the value itself."""
    item = getattr(value, "item", None)
    is_one = getattr(value, "ndim", None) == 0 and not getattr(value, "is_meta", False)
    return item() if is_one and callable(item) else value


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
    if isinstance(value, range):  # whose items are alike, and may be more than can be looked at
        value = value[: len(members) + 1]
    items = list(value) if isinstance(value, Collection) else []
    if len(members) == 1 or members[-1] is Ellipsis:
        return all(fits(item, members[0]) for item in items)
    return len(items) == len(members) and all(map(fits, items, members))


def _can_be_called(value: Any, takes: object = ..., _gives: object = None) -> bool:
    """Whether a value is a function of so many arguments; a module without ``forward`` is none."""
    forward = getattr(getattr(value, "forward", None), "__name__", "")
    if forward == "_forward_unimplemented":
        return False
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # it has none that can be seen
        return True
    try:
        signature.bind(*(takes if isinstance(takes, list) else ()))
    except TypeError:
        return not isinstance(takes, list)
    return True


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
        lambda value: _is_number(value, Real) and math.isfinite(plain(value)),
    ),
    complex: ("an array of numbers", _is_array),
    str: ("a string", lambda value: isinstance(value, str)),
    NoneType: ("None", lambda value: value is None),
    Callable: ("a function", callable),  # of any arguments
    os.PathLike: ("a path", lambda value: isinstance(value, os.PathLike)),
}
