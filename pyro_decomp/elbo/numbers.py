"""Numbers of model, guide or objective by names such as ``model.prior.scale`` (internal)."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor, nn

from pyro_decomp.divergences.base import Divergence, WeightedSum
from pyro_decomp.elbo.number_places import Place, places, places_of_tensor, slots_of
from pyro_decomp.errors import ExperimentError

COMMON = frozenset(vars(Trace_ELBO()))  # what every ELBO has, such as num_particles


class Number:
    """One number, and every place in which the programs find it.

    Args:
        name: Its dotted name, which begins with ``model.``, ``guide.`` or ``elbo.``.
        found: Where it is; of a tensor, all places in which that tensor is kept.
    """

    def __init__(self, name: str, found: list[Place]) -> None:
        self.name = name
        self._places = found

    def get(self) -> Any:
        """The number's value in the programs."""
        return self._places[0].slot.get()

    def set(self, value: float | Tensor) -> None:
        """Put a number, or a tensor, there."""
        for place in self._places:
            assert place.slot.set is not None
            place.slot.set(value)

    def assign(self, value: float) -> None:
        """Put a number there; where there is a tensor, as a tensor like it."""
        before = self.get()
        if not isinstance(before, Tensor):
            self.set(value)
            return
        after = torch.full_like(before, value)
        is_parameter = isinstance(before, nn.Parameter)
        self.set(nn.Parameter(after, requires_grad=False) if is_parameter else after)

    def is_same(self, other: "Number") -> bool:
        """Whether what is set here is found there."""
        before = self.get()
        mark = before.clone() if isinstance(before, Tensor) else float(before) + 0.0
        self.set(mark)
        found = other.get()
        self.set(before)
        return found is mark

    @property
    def is_zero_weight(self) -> bool:
        """Whether the number is a weight of 0 of the objective, whose term is not computed then."""
        return self.name.startswith("elbo.") and not bool(self.get())

    @property
    def is_there(self) -> bool:
        """Whether objects on the way to the number are still those that it was found through."""
        return self._places[0].is_there


class Numbers:
    """The numbers of one experiment by their names.

    Each is looked up once, and again where an object on the way to it was replaced since.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[list[Any], Number]] = {}

    def __reduce__(self) -> tuple[type["Numbers"], tuple[()]]:
        return Numbers, ()  # a copy of an experiment has places of its own

    def of(self, programs: Mapping[str, Any], name: str) -> Number:
        """Find the number that has a dotted name.

        Args:
            programs: What names begin with: "model", "guide" and "elbo".
            name: A dotted name; ``beta`` is short for ``elbo.beta``.

        Raises:
            ExperimentError: There is no number of this name, or it cannot be set.
        """
        roots, number = self._found.get(name, ([], None))
        now = list(programs.values())
        same = len(roots) == len(now) and all(a is b for a, b in zip(roots, now, strict=True))
        if number is None or not same or not number.is_there:
            number = _found(programs, name)
            self._found[name] = now, number
        return number


def full_name(name: str) -> str:
    """The name with ``elbo.`` in front, unless it begins with that, ``model.`` or ``guide.``."""
    return name if name.startswith(("model.", "guide.", "elbo.")) else f"elbo.{name}"


def check_distinct(numbers: Mapping[str, Number]) -> None:
    """Refuse two names of one number.

    Raises:
        ExperimentError: There are two.
    """
    for name, number in numbers.items():
        others = [n for n, other in numbers.items() if n != name and number.is_same(other)]
        if others:
            raise ExperimentError(
                f"schedules: {name!r} and {others[0]!r} are two names of one number: leave one out"
            )


def _found(programs: Mapping[str, Any], name: str) -> Number:
    full = full_name(name)
    root, _, path = full.partition(".")
    found = places(programs[root], path)
    if root == "elbo" and is_counted(path.rpartition(".")[2]):
        found = []
    value = found[0].slot.get() if found else None
    is_word = "." not in path and not isinstance(value, Tensor) and bool(_why_no_number(value))
    if root == "elbo" and (not found or is_word or isinstance(value, Divergence)):
        raise ExperimentError(_no_weight(programs["elbo"], name, path))
    if not found:
        raise ExperimentError(_no_such(programs[root], root, path))
    if any(_differ(full, found[0], place) for place in found[1:]):
        ways = f"'{root}.__self__.{path}' or '{root}.__func__.{path}'"
        raise ExperimentError(
            f"schedules: {name!r} is the name of {len(found)} numbers, of an object and of a "
            f"variable of its method: write {ways}, or give one of them another name"
        )
    if reason := _why_no_number(value):
        raise ExperimentError(f"schedules: expected a number at {name!r}, got {reason}")
    if found[0].slot.set is None:
        raise ExperimentError(
            f"schedules: {name!r} is computed or fixed and cannot be set: name the number that it "
            "comes from"
        )
    if isinstance(value, Tensor):
        found += places_of_tensor(programs.values(), value)
    return Number(full, found)


def _differ(name: str, one: Place, other: Place) -> bool:
    """Whether two places of one name are not one place that two ways lead to."""
    if one.slot.set is None or _why_no_number(one.slot.get()):
        return True
    return not Number(name, [one]).is_same(Number(name, [other]))


def _why_no_number(value: Any) -> str:
    """What a value is instead of a number that may be set; empty if it is one."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            return (
                "a tensor that is trained, which a schedule cannot set too: make it a plain "
                "attribute, or take requires_grad from it"
            )
        if value.dim() == 0 and value.is_floating_point():
            return ""
        shape = f"shape {tuple(value.shape)}" if value.dim() else f"type {value.dtype}"
        return f"a tensor of {shape}: keep one floating-point number, and make tensors from it"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return type(value).__name__ if value is not None else "None"
    return ""


def _no_weight(elbo: Any, name: str, path: str) -> str:
    weights = objective_weights(elbo)
    valid = f"one of {', '.join(weights)}" if weights else "none, as it has no weights"
    return (
        f"schedules: expected {valid} (the weights of {type(elbo).__name__}), got {name!r}"
        f"{_like(path, weights)}; numbers of the programs are named from model. or guide."
    )


def _no_such(root: Any, name: str, path: str) -> str:
    """Say that a path names no number, and what numbers its part that leads somewhere has."""
    thing, begun, rest = root, name, path.split(".")
    while len(rest) > 1 and len(found := places(thing, rest[0])) == 1:
        thing, begun, rest = found[0].slot.get(), f"{begun}.{rest[0]}", rest[1:]
    there = [s for s in slots_of(thing) if not s.name.startswith("__")]
    numbers = [s.name for s in there if not _why_no_number(s.get())]
    told = f"its numbers are {', '.join(numbers)}" if numbers else "it has no numbers of its own"
    return (
        f"schedules: {begun} ({type(thing).__name__}) has no {'.'.join(rest)!r}"
        f"{_like(rest[0], [s.name for s in there])}; {told}"
    )


def _like(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Weight(NamedTuple):
    """A number of an objective that may be set from outside, such as by a schedule."""

    get: Callable[[], Any]
    set: Callable[[Any], None]


def objective_weights(thing: object) -> dict[str, Weight]:
    """The numeric attributes of an objective or a divergence, by name.

    Those of the divergences that it has are called ``divergence.<name>``; in a sum of divergences
    ``divergence.0`` is the weight of the first. Those of an objective of Pyro's own are called
    ``objective.<name>``.
    """
    found: dict[str, Weight] = {}
    for name, value in vars(thing).items():
        if is_counted(name):
            continue
        if isinstance(value, Divergence | ELBO):
            found |= {f"{name}.{inner}": w for inner, w in objective_weights(value).items()}
        elif _is_number(value):
            found[name] = Weight(partial(getattr, thing, name), partial(setattr, thing, name))
    if isinstance(thing, WeightedSum):
        for index, (_, part) in enumerate(thing.parts):
            found[str(index)] = _weight_of_part(thing, index)
            found |= {f"{index}.{inner}": w for inner, w in objective_weights(part).items()}
    return found


def is_counted(name: str) -> bool:
    """Whether an attribute of an objective or a divergence is no number that may be changed."""
    return name in COMMON or name.startswith(("_", "num_"))


def _weight_of_part(divergences: WeightedSum, index: int) -> Weight:
    def get() -> float | Tensor:
        return divergences.parts[index][0]

    def put(value: float | Tensor) -> None:
        divergences.parts[index] = (value, divergences.parts[index][1])

    return Weight(get, put)


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dim() == 0 and value.is_floating_point()
    return isinstance(value, int | float) and not isinstance(value, bool)
