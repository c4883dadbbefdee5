"""What a step computes, held against what the programs give with the same noise."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture.places import Contents, Place, places_of
from pyro_decomp.acceleration.eager import EagerStep
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.data.batches import Batch
from pyro_decomp.seeds import random_state, set_random_state

# Relative to a value or 1 nat, to the norm of a gradient by a parameter, and to that of a buffer.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
OF_BFLOAT16 = 5e-2
ROUNDINGS = 32  # a difference this many times that of one rounding of the parameters is rounding
SHARE, LEAST = 0.02, 0.02  # of the run's time, and seconds, that audits may take: the larger
Numbers = dict[tuple[str, str], Tensor]  # by kind, "value", "buffer" or "gradient", and by name


class Budget:
    """The time that audits take, and at which steps there is some left for another."""

    def __init__(self) -> None:
        self._began, self._spent = time.monotonic(), 0.0

    def begin(self) -> None:
        """Count the run's time from now on."""
        self._began = time.monotonic()

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What is done within it is part of an audit."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - began

    def allows(self, step: int) -> bool:
        """Whether a step is one of 2, 4, 8, ... and audits have taken less than they may."""
        is_power = step > 1 and step & (step - 1) == 0
        return is_power and self._spent < max(LEAST, SHARE * (time.monotonic() - self._began))


@dataclass(frozen=True)
class Wanted:
    """What the programs give at a step, and what they were given: generators and buffers before."""

    numbers: Numbers
    has_gradients: bool
    batch: Batch
    step: int
    generators: dict[str, Any]
    buffers: list[Tensor]


class Audit:
    """Compares steps with what the programs give, which leaves everything as it is.

    A difference counts if it is larger than the tolerance and than what rounding does: a gradient
    that is a sum of numbers that cancel, as that of a bias before batch normalisation, is nothing
    but rounding. Then the programs are run again with every parameter moved by one rounding.
    """

    def __init__(self, source: StepSource, precision: str) -> None:
        self._eager = EagerStep(source, precision)
        self._source = source
        dtype = next(iter(source.parameters.values())).dtype
        is_rounded = precision == "bfloat16"
        self._tolerance = OF_BFLOAT16 if is_rounded else TOLERANCES.get(dtype, OF_BFLOAT16)
        self._rounding = torch.finfo(torch.bfloat16 if is_rounded else dtype).eps

    def by_programs(self, batch: Batch, step: int, *, has_gradients: bool) -> Wanted:
        """What the programs give on a batch with the noise that comes next.

        Raises:
            NonFiniteError: The objective is infinite or not a number.
        """
        before = random_state(), [place.tensor.detach().clone() for place in self._untrained()]
        with self.unmoved():
            if has_gradients:
                values, gradients = self._eager(batch, step).values, self._eager.gradients()
            else:
                values, gradients = self._eager.estimate(batch, step)[1], {}
            numbers = self._numbers(values, gradients)
        return Wanted(numbers, has_gradients, batch, step, *before)

    def disagreement(
        self, wanted: Wanted, values: Mapping[str, float], gradients: Mapping[str, Tensor]
    ) -> str:
        """What differs in a step that was just taken, in a clause; empty if nothing does."""
        found = self._numbers(values, gradients if wanted.has_gradients else {})
        apart = _apart(wanted.numbers, found)
        differing = [
            key
            for key, far in apart.items()
            if not far <= self._tolerance * _size(key, wanted.numbers)
        ]
        if differing and all(map(math.isfinite, values.values())):
            with self.unmoved(), self._rounded():
                set_random_state(wanted.generators)
                for place, content in zip(self._untrained(), wanted.buffers, strict=True):
                    place.put(content)
                other = self.by_programs(
                    wanted.batch, wanted.step, has_gradients=wanted.has_gradients
                )
            noise = _apart(wanted.numbers, other.numbers)
            differing = [key for key in differing if not apart[key] <= ROUNDINGS * noise[key]]
        return _told(*differing[0], wanted.numbers, found) if differing else ""

    @contextmanager
    def unmoved(self) -> Iterator[None]:
        """Put back afterwards what running the programs moves."""
        generators, kept = random_state(), self._source.python.keep()
        contents = Contents(self._untrained())
        slopes = [(p, p.grad) for p in self._source.parameters.values()]
        try:
            yield
        finally:
            contents.put_back()
            for parameter, slope in slopes:
                parameter.grad = slope
            self._source.python.put_back(kept)
            set_random_state(generators)

    def _numbers(self, values: Mapping[str, float], gradients: Mapping[str, Tensor]) -> Numbers:
        """Copies of the numbers that a step has just left."""
        found = {("value", n): torch.tensor(v, dtype=torch.double) for n, v in values.items()}
        places = enumerate(self._untrained())
        found |= {("buffer", f"{i} {p.path}"): p.tensor.detach().clone() for i, p in places}
        return found | {("gradient", name): g.clone() for name, g in gradients.items()}

    def _untrained(self) -> Iterator[Place]:
        trained = {id(parameter) for parameter in self._source.parameters.values()}
        return (place for place in places_of(self._source) if id(place.tensor) not in trained)

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


def _apart(wanted: Numbers, found: Numbers) -> dict[tuple[str, str], float]:
    """How far all numbers are from what is wanted; infinitely, where one is missing."""
    apart = {}
    for key in wanted | found:
        one, other = wanted.get(key), found.get(key)
        if one is None or other is None or one.shape != other.shape:
            apart[key] = math.inf
            continue
        one, other = one.double(), other.double()
        is_same = (one == other) | (one.isnan() & other.isnan())
        apart[key] = float((one - other).masked_fill(is_same, 0.0).norm())
    return apart


def _size(key: tuple[str, str], wanted: Numbers) -> float:
    """What a difference is relative to."""
    if key not in wanted:
        return 0.0
    norm = float(wanted[key].double().nan_to_num().norm())
    return max(1.0, norm) if key[0] == "value" else norm


def _told(kind: str, name: str, wanted: Numbers, found: Numbers) -> str:
    if kind == "value":
        one, other = (numbers.get((kind, name), math.nan) for numbers in (found, wanted))
        return f"{name} of a step comes out as {one:.6g}, by the programs as {other:.6g}"
    what = f"the buffer {name.split(' ', 1)[1]}" if kind == "buffer" else f"the gradient by {name}"
    return f"{what} comes out otherwise than by the programs"
