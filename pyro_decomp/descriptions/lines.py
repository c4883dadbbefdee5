"""One line for an object: the call that makes it, with its values as they are at present."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from functools import partial
from itertools import islice
from pathlib import PurePath
from reprlib import recursive_repr
from typing import Any

LONGEST = 200  # characters of a line
LONGEST_VALUE = 120  # characters of another library's object within it
MOST_ITEMS = 6  # of a container that are named
MOST_ELEMENTS = 10_000  # of an array whose range is looked for
UNKNOWN = "..."  # in the place of what cannot be told

_NOTHING = object()


@recursive_repr(UNKNOWN)
def constructor_call(thing: object) -> str:
    """The call that makes an object like this one, as its ``__repr__``: one line, never an error.

    Arguments are read off the signature of its class, and their values off the attributes of the
    same names, with ``_`` before them or without, so that a number that was changed since has its
    present value. What equals its default is left out, but for weights: numbers that are no counts.
    What no attribute has is looked for among the arguments of the class above.
    """
    try:
        arguments = list(_arguments(thing))
    except Exception:  # whatever a class does when it is looked at
        arguments = [UNKNOWN]
    return shortened(f"{type(thing).__name__}({', '.join(arguments)})")


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text as one line of bounded length, :func:`visible`; brackets that are cut off are closed.

    >>> shortened("Mine(alpha=1.0, beta=2.0)", 20)
    'Mine(alpha=1.0, ...)'
    """
    text = visible(" ".join(text.split()))
    if len(text) <= longest:
        return text
    end = f"{UNKNOWN})" if text.endswith(")") else UNKNOWN
    return f"{text[: longest - len(end)]}{end}"


def visible(text: str, keep: str = "") -> str:
    r"""A text with its control characters, and those that turn its direction, as escapes.

    A terminal that it is printed on does nothing but show it.

    Args:
        text: Of anyone.
        keep: Characters that stay, such as line breaks.

    >>> print(visible("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def value_text(value: Any) -> str:
    """A value as one would write it in a call; what takes more than a line is abbreviated.

    Of an array stand its shape and the range of its values, of a function its name.

    >>> import torch
    >>> value_text(0.1 + 0.2), value_text(torch.eye(2)), value_text(len)
    ('0.3', '<[2, 2] from 0 to 1>', 'len')
    """
    try:
        return next(text(value) for is_one, text in _TEXTS if is_one(value))
    except Exception:  # another's object is asked
        return f"{type(value).__name__}({UNKNOWN})"


def weighted_sum(weights: Mapping[str, Any]) -> str:
    """A weighted sum of named terms as one would write it; what has weight 0 is left out.

    >>> weighted_sum({"log_likelihood": 1.0, "kl": -3.0, "divergence": 0.0})
    'log_likelihood - 3 kl'
    """
    text = ""
    for name, weight in weights.items():
        size = abs(float(weight))
        if size:
            text += f" {'-' if weight < 0 else '+'} {'' if size == 1 else f'{size:.4g} '}{name}"
    return text.removeprefix(" + ").strip()


def _arguments(thing: object) -> Iterator[str]:
    """The arguments of a call, as text, those that are shown."""
    seen: set[str] = set()
    is_lost = False  # an argument of the call itself
    is_ours = getattr(type(thing), "__repr__", None) is constructor_call
    makers = [kind for kind in type(thing).__mro__[:-1] if "__init__" in vars(kind)]
    for kind in makers:
        is_known = True
        parameters = [*inspect.signature(vars(kind)["__init__"]).parameters.values()][1:]
        placed = _by_place(thing, parameters)
        for argument in parameters:
            name = argument.name
            if name in seen:
                continue
            value = _attribute(thing, name)
            if value is not _NOTHING:
                seen.add(name)
                if name in placed:
                    yield value_text(value)
                    continue
                yield from _shown(argument, value, is_weight=is_ours and _is_weight(argument))
                continue
            is_known = False
            if name in placed:
                yield UNKNOWN
                continue
            of_many = argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
            is_told = is_ours or argument.default is argument.empty
            is_lost |= kind is makers[0] and is_told and not of_many
        if is_known:
            break
    if is_lost:
        yield UNKNOWN


def _by_place(thing: object, parameters: Sequence[inspect.Parameter]) -> set[str]:
    """The arguments that a call gives without their names, as it must for others to follow."""
    rest = [each for each in parameters if each.kind is each.VAR_POSITIONAL]
    values = _attribute(thing, rest[0].name) if rest else _NOTHING
    are_more = isinstance(values, Sized) and len(values) > 0
    return {
        each.name
        for each in parameters
        if each.kind is each.POSITIONAL_ONLY
        or (are_more and each.kind is each.POSITIONAL_OR_KEYWORD)
    }


def _attribute(thing: object, name: str) -> Any:
    """What an object keeps under a name, or that with ``_`` before it; methods are not kept."""
    try:
        value = getattr(thing, name, getattr(thing, f"_{name}", _NOTHING))
    except Exception:  # of a property
        return _NOTHING
    return _NOTHING if getattr(value, "__self__", None) is thing else value


def _is_weight(argument: inspect.Parameter) -> bool:
    """Whether an argument of one of our classes is a number that may be tuned, and no count."""
    is_number = isinstance(argument.default, int | float) and not isinstance(argument.default, bool)
    return is_number and argument.annotation not in (int, "int")


def _shown(argument: inspect.Parameter, value: Any, *, is_weight: bool) -> Iterator[str]:
    if argument.kind is argument.VAR_POSITIONAL:
        yield from map(value_text, value)
    elif argument.kind is argument.VAR_KEYWORD:
        yield from (f"{name}={value_text(each)}" for name, each in dict(value).items())
    elif is_weight or not _is_default(value, argument.default):
        yield f"{argument.name}={value_text(value)}"


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    is_plain = isinstance(value, bool | int | float | str | tuple)
    return is_plain and type(value) is type(default) and bool(value == default)


def _of_other_class(value: Any) -> str:
    kind: Any = type(value)
    if kind.__repr__ is object.__repr__:
        return constructor_call(value)
    text = repr(value)
    is_short = "\n" not in text and len(text) <= LONGEST_VALUE
    return text if is_short else f"{kind.__name__}({UNKNOWN})"


def _method_text(method: Any) -> str:
    owner = method.__self__
    return f"{getattr(owner, '__name__', type(owner).__name__)}.{method.__name__}"


def _partial_text(value: "partial[Any]") -> str:
    named = (f"{name}={value_text(each)}" for name, each in value.keywords.items())
    return f"partial({', '.join((*map(value_text, (value.func, *value.args)), *named))})"


def _array_text(array: Any) -> str:
    """The shape of an array and the range of its values; of one without dimensions its value."""
    shape = tuple(array.shape)
    is_small = 0 < math.prod(shape) <= MOST_ELEMENTS
    try:
        ends = [array.min().item(), array.max().item()] if is_small else []
    except Exception:  # it has no numbers, or none that can be read now
        ends = []
    if not shape:
        return f"tensor({value_text(ends[0]) if ends else UNKNOWN})"
    values = ""
    if any(map(math.isnan, ends)):
        values = " with NaN"
    elif ends:
        low, high = (f"{end:.4g}" for end in ends)
        values = f" of {low}" if low == high else f" from {low} to {high}"
    return f"<[{', '.join(map(str, shape))}]{values}>"


def _container_text(items: Any) -> str:
    """A container with its first items."""
    some = [value_text(item) for item in islice(items, MOST_ITEMS)]
    if isinstance(items, Mapping):
        pairs = islice(items.items(), MOST_ITEMS)
        some = [f"{value_text(key)}: {value_text(value)}" for key, value in pairs]
    more = f", {UNKNOWN} {len(items)} in all" if len(items) > MOST_ITEMS else ""
    if isinstance(items, tuple) and len(items) == 1:
        more = ","
    left, right = "[]" if isinstance(items, list) else "()" if isinstance(items, tuple) else "{}"
    return f"{left}{', '.join(some)}{more}{right}"


def _is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


_TEXTS: tuple[tuple[Callable[[Any], bool], Callable[[Any], str]], ...] = (
    (_is_a(float), lambda value: repr(float(f"{value:.6g}"))),
    (_is_a(str, PurePath), lambda value: repr(shortened(str(value), LONGEST_VALUE))),
    (lambda value: isinstance(getattr(value, "shape", None), tuple), _array_text),
    (_is_a(Mapping, list, tuple, Set), _container_text),
    (_is_a(partial), _partial_text),
    (inspect.ismethod, _method_text),
    (
        lambda value: callable(value) and isinstance(getattr(value, "__name__", None), str),
        lambda value: str(value.__name__),
    ),
    (lambda value: True, _of_other_class),
)
