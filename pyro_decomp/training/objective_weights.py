"""The numeric attributes of an objective and of its divergences, by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_decomp.divergences.base import Divergence, WeightedSum
from pyro_decomp.elbo import TermsELBO

COMMON = frozenset(vars(Trace_ELBO()))  # what every ELBO has, such as num_particles


class Weight(NamedTuple):
    """A number that may be set from outside, such as by a schedule."""

    get: Callable[[], Any]
    set: Callable[[Any], None]


def objective_weights(thing: TermsELBO | Divergence) -> dict[str, Weight]:
    """Those of an objective, and as ``divergence.<name>`` those of the divergences that it has.

    In a sum of divergences, ``divergence.0`` is the weight of the first.
    """
    found: dict[str, Weight] = {}
    for name, value in vars(thing).items():
        if is_counted(name):
            continue
        if isinstance(value, Divergence):
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
