"""The places that a dotted path leads to, such as ``prior.scale`` from a model (internal)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from torch import Tensor

from pyro_decomp.divergences.base import WeightedSum
from pyro_decomp.programs.program_state import reachable

OF_LIBRARIES = ("torch", "pyro", "pyro_decomp", "numpy", "builtins")


class Slot(NamedTuple):
    """A place by its name, with how it is read and, where it can be, written to."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None] | None


class Place(NamedTuple):
    """A place at the end of a path, and the way to it.

    Attributes:
        owner: Whose place it is.
        slot: The place.
        way: The places on the way, each with what was found there.
    """

    owner: Any
    slot: Slot
    way: tuple[tuple[Slot, Any], ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether the same is still found at every place on the way."""
        return all(slot.get() is found for slot, found in self.way)


def places(thing: Any, path: str, own: Slot | None = None) -> list[Place]:
    """The places that a path leads to from a thing: none, one, or several of one name.

    Besides what :func:`.reachable.slots` gives, a path goes through attributes of
    classes, properties, and variables of Python modules; what is inside a decorator or ``partial``
    is found through it. A tuple and a frozen dataclass are replaced by a changed copy where they
    are kept. In a sum of divergences ``0`` is the weight of the first, and ``0.`` leads into it.

    Args:
        thing: Where the path begins.
        path: Names with dots between them.
        own: The place in which the thing is kept.
    """
    head, dot, rest = path.partition(".")
    if isinstance(thing, WeightedSum) and head.isdecimal():
        path = f"parts.{head}.{'1.' + rest if dot else '0'}"
    found = []
    for slot in slots_of(thing, own):
        if slot.name == path:
            found.append(Place(thing, slot))
        elif path.startswith(f"{slot.name}."):
            child = slot.get()
            step = () if is_fixed(child) else ((slot, child),)
            for place in places(child, path.removeprefix(f"{slot.name}."), slot):
                found.append(place._replace(way=(*step, *place.way)))
    inner = _inside(thing)
    return found if found or inner is None else places(inner, path)


def slots_of(thing: Any, own: Slot | None = None) -> Iterator[Slot]:
    """The places of a thing, kept itself in the place ``own``, by which a path may go on."""
    if isinstance(thing, MethodType):
        yield from slots_of(thing.__self__)
        yield from slots_of(thing.__func__)
        yield Slot("__self__", lambda: thing.__self__, None)
        yield Slot("__func__", lambda: thing.__func__, None)
    elif is_fixed(thing):
        kept = own or Slot("", lambda: thing, None)
        yield from (_part(kept, name, at) for name, at in _parts(thing))
    elif isinstance(thing, partial):
        yield Slot("func", lambda: thing.func, None)
        yield from _slots(thing.keywords)
        arguments = Slot("args", lambda: thing.args, partial(_put_arguments, thing))
        yield from slots_of(thing.args, arguments)
    elif isinstance(thing, FunctionType):
        yield from (slot for slot in _slots(thing) if slot.set is not None)
        code, given = thing.__code__, thing.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
        defaults = _attribute(thing, "__defaults__")
        yield from (_part(defaults, name, at) for at, name in enumerate(names))
    elif isinstance(thing, type | ModuleType):
        yield from (_attribute(thing, name) for name in list(vars(thing)))
    else:
        own_names = set()
        for slot in _slots(thing):
            own_names.add(slot.name)
            yield slot
        yield from (each for each in _of_classes(thing) if each.name not in own_names)


def is_fixed(thing: Any) -> bool:
    """Whether no part of a thing can be replaced: it is a tuple or a frozen dataclass."""
    frozen = getattr(type(thing), "__dataclass_params__", None)
    return isinstance(thing, tuple) or (frozen is not None and bool(frozen.frozen))


def places_of_tensor(programs: Iterable[Any], tensor: Tensor) -> list[Place]:
    """Every place that programs reach in which this very tensor is kept."""
    found = []
    seen: set[int] = set()
    waiting: list[tuple[Any, Slot | None]] = [(program, None) for program in programs]
    while waiting:
        thing, own = waiting.pop()
        if id(thing) in seen or isinstance(thing, Tensor | type | ModuleType) or _is_known(thing):
            continue
        seen.add(id(thing))
        waiting.append((_inside(thing), None))
        for slot in slots_of(thing, own):
            value = slot.get()
            if value is tensor and slot.set is not None:
                found.append(Place(thing, slot))
            waiting.append((value, slot))
    return found


def _is_known(thing: Any) -> bool:
    """Whether a function is one of a library, which keeps no number of the user's."""
    module = getattr(thing, "__module__", "") or ""
    return isinstance(thing, FunctionType) and module.partition(".")[0] in OF_LIBRARIES


def _inside(thing: Any) -> Any:
    """The program that a decorator or a ``partial`` runs; None if there is none."""
    inner = thing.func if isinstance(thing, partial) else None
    return inner or getattr(thing, "__dict__", {}).get("__wrapped__")


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Names of the parts of a tuple or a frozen dataclass, each with what finds it."""
    if isinstance(thing, tuple):
        yield from ((str(index), index) for index in range(len(thing)))
        yield from ((name, at) for at, name in enumerate(getattr(thing, "_fields", ())))
    else:
        yield from ((field.name, field.name) for field in fields(thing))


def _part(own: Slot, name: str, at: int | str) -> Slot:
    """A part of what is kept in a place and cannot be changed itself."""

    def get() -> Any:
        whole = own.get()
        return whole[at] if isinstance(at, int) else getattr(whole, at)

    def put(value: Any) -> None:
        assert own.set is not None
        whole = own.get()
        if isinstance(at, str):
            own.set(replace(whole, **{at: value}))
            return
        items = [value if index == at else item for index, item in enumerate(whole)]
        own.set(type(whole)._make(items) if hasattr(whole, "_make") else tuple(items))

    return Slot(name, get, None if own.set is None else put)


def _put_arguments(thing: "partial[Any]", arguments: tuple[Any, ...]) -> None:
    thing.__setstate__((thing.func, arguments, thing.keywords, vars(thing)))  # type: ignore[attr-defined]


def _of_classes(thing: Any) -> Iterator[Slot]:
    """What an object has from its classes: values, which it may have its own of, and properties."""
    for kind in type(thing).__mro__:
        if kind.__module__.partition(".")[0] in OF_LIBRARIES:
            continue
        for name, value in list(vars(kind).items()):
            if isinstance(value, property) and value.fset is None:
                yield Slot(name, partial(getattr, thing, name), None)
            elif isinstance(value, property) or not (
                name.startswith("__") or callable(value) or hasattr(value, "__get__")
            ):
                yield _attribute(thing, name)


def _attribute(thing: Any, name: str) -> Slot:
    return Slot(name, partial(getattr, thing, name), partial(setattr, thing, name))


def _slots(thing: Any) -> Iterator[Slot]:
    """What a thing keeps itself; what its class keeps is for all of its kind."""
    for each in reachable.slots(thing):
        if not isinstance(each.owner, type):
            yield Slot(each.name, each.get, each.set)
