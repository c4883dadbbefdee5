"""Steps that do not run the programs, held against the programs with the same noise."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture.places import Place, places_of
from pyro_decomp.acceleration.eager import EagerStep
from pyro_decomp.acceleration.graph import GraphStep
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.data.batches import Batch
from pyro_decomp.seeds import random_state, set_random_state

# Relative to a value or 1 nat, to the norm of a gradient by a parameter, and to that of a buffer.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
OF_BFLOAT16 = 5e-2
Key = tuple[str, str]  # a kind of number, and its name
ROUNDINGS = 32  # a difference this many times that of one rounding of the parameters is rounding


@dataclass
class Computed:
    """What one step computes.

    Attributes:
        values: As logged.
        buffers: As they are after it, by name.
        gradients: By each parameter that has one; empty if they were not asked for.
        generators: The random generators' states before it.
        before: Buffers before it.
    """

    values: Mapping[str, float]
    buffers: dict[str, Tensor]
    gradients: dict[str, Tensor] = field(default_factory=dict)
    generators: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Tensor] = field(default_factory=dict)


class Audit:
    """Compares steps with what the programs give, which leaves everything as it is.

    A difference counts if it is larger than the tolerance and than what rounding does: a gradient
    that is a sum of numbers that cancel, as that of a bias before batch normalisation, is nothing
    but rounding noise. How large that is shows when the programs are run once more with every
    parameter moved by a rounding, up or down.
    """

    def __init__(self, source: StepSource, precision: str) -> None:
        self._eager = EagerStep(source, precision)
        self._source = source
        dtype = next(iter(source.parameters.values())).dtype
        is_rounded = precision == "bfloat16"
        self._tolerance = OF_BFLOAT16 if is_rounded else TOLERANCES.get(dtype, OF_BFLOAT16)
        self._rounding = torch.finfo(torch.bfloat16 if is_rounded else dtype).eps

    def by_programs(self, batch: Batch, step: int, *, has_gradients: bool) -> Computed:
        """What the programs give on a batch with the noise that comes next.

        Raises:
            NonFiniteError: The objective is infinite or not a number.
        """
        generators, before = random_state(), self.buffers()
        gradients: dict[str, Tensor] = {}
        with self.unmoved():
            if has_gradients:
                values: Mapping[str, float] = self._eager(batch, step).values
                gradients = {name: g.clone() for name, g in self._eager.gradients().items()}
            else:
                _, values = self._eager.estimate(batch, step)
            return Computed(values, self.buffers(), gradients, generators, before)

    def of_step(self, step: GraphStep, values: Mapping[str, float]) -> Computed:
        """What a step has just given, its gradients still in place."""
        return Computed(values, self.buffers(), step.gradients())

    def disagreement(self, wanted: Computed, found: Computed, batch: Batch, step: int) -> str:
        """What differs, in a clause; empty if nothing does."""
        sizes, apart = _sizes(wanted), _apart(wanted, found)
        differing = [k for k, far in apart.items() if not far <= self._tolerance * sizes[k]]
        if differing and all(map(math.isfinite, found.values.values())):
            with self.unmoved(), self._rounded():
                set_random_state(wanted.generators)
                for place, content in zip(self._untrained(), wanted.before.values(), strict=True):
                    place.put(content)
                has_gradients = bool(wanted.gradients)
                other = self.by_programs(batch, step, has_gradients=has_gradients)
            noise = _apart(wanted, other)
            differing = [k for k in differing if not apart[k] <= ROUNDINGS * noise[k]]
        return _told(differing[0], wanted, found) if differing else ""

    def buffers(self) -> dict[str, Tensor]:
        """What networks have that is not trained, as it is now."""
        places = [*self._untrained()]
        return {f"{i} {p.path}": p.tensor.detach().clone() for i, p in enumerate(places)}

    def _untrained(self) -> Iterator[Place]:
        trained = {id(parameter) for parameter in self._source.parameters.values()}
        return (place for place in places_of(self._source) if id(place.tensor) not in trained)

    @contextmanager
    def unmoved(self) -> Iterator[None]:
        """Put back afterwards what running the programs moves."""
        generators, kept = random_state(), self._source.python.keep()
        places = [(place, place.tensor, place.tensor.clone()) for place in self._untrained()]
        slopes = [(p, p.grad) for p in self._source.parameters.values()]
        try:
            yield
        finally:
            for place, tensor, content in places:
                place.put(tensor)
                tensor.data.copy_(content)
            for parameter, slope in slopes:
                parameter.grad = slope
            self._source.python.put_back(kept)
            set_random_state(generators)

    @contextmanager
    def _rounded(self) -> Iterator[None]:
        """Move every parameter by a rounding, up or down, and put it back."""
        parameters = list(self._source.parameters.values())
        before = [parameter.detach().clone() for parameter in parameters]
        coins = torch.Generator(parameters[0].device).manual_seed(0)
        try:
            for parameter in parameters:
                coin = torch.rand(parameter.shape, generator=coins, device=parameter.device)
                sign = 2 * coin.to(parameter.dtype).round() - 1
                parameter.data.mul_(1 + self._rounding * sign)
            yield
        finally:
            for parameter, content in zip(parameters, before, strict=True):
                parameter.data.copy_(content)


def _apart(wanted: Computed, found: Computed) -> dict[Key, float]:
    """How far each value, buffer and gradient is from what is wanted."""
    apart: dict[Key, float] = {}
    for name, value in wanted.values.items():
        is_there = name in found.values
        apart["value", name] = _between(found.values[name], value) if is_there else math.inf
    kinds = [("buffer", wanted.buffers, found.buffers)]
    if wanted.gradients:
        kinds.append(("gradient", wanted.gradients, found.gradients))
    for kind, mine, others in kinds:
        for name in {**mine, **others}:
            one, other = mine.get(name), others.get(name)
            if one is None or other is None or one.shape != other.shape:
                apart[kind, name] = math.inf
            else:
                apart[kind, name] = _size(one.double() - other.double())
    return apart


def _between(one: float, other: float) -> float:
    """How far two numbers are apart; infinity and NaN are nowhere from themselves."""
    is_same = one == other or (math.isnan(one) and math.isnan(other))
    return 0.0 if is_same else abs(one - other)


def _sizes(wanted: Computed) -> dict[Key, float]:
    """What a difference of each is relative to."""
    sizes: dict[Key, float] = {("value", n): max(1.0, abs(v)) for n, v in wanted.values.items()}
    sizes |= {("buffer", n): _size(b) for n, b in wanted.buffers.items()}
    sizes |= {("gradient", n): _size(g) for n, g in wanted.gradients.items()}
    return defaultdict(float, sizes)


def _size(tensor: Tensor) -> float:
    return float(tensor.double().nan_to_num().norm())


def _told(key: Key, wanted: Computed, found: Computed) -> str:
    kind, name = key
    if kind == "value":
        one, other = found.values[name], wanted.values[name]
        return f"{name} of a step comes out as {one:.6g}, by the programs as {other:.6g}"
    what = f"the buffer {name.split(' ', 1)[1]}" if kind == "buffer" else f"the gradient by {name}"
    return f"{what} comes out otherwise than by the programs"
