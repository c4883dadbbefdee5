"""A step by replaying what was captured of it."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_decomp.acceleration.capture import CaptureError, StepGraph, capture
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.steps.eager import EagerStep
from pyro_decomp.acceleration.steps.guards import Guard
from pyro_decomp.acceleration.steps.one_vector import OneVector
from pyro_decomp.acceleration.steps.result import GoEager, StepResult
from pyro_decomp.acceleration.steps.runners import Runner, by_compiler, by_fusion, replayed
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo.numbers import Number, full_name, objective_weights
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.programs.program_state import preserving_rng_and_buffers

Key = tuple[object, ...]
MAX_GRAPHS = 24  # of one run: what Python changes more often is not worth capturing


@dataclass(frozen=True)
class _Ready:
    """A captured step and what runs it."""

    graph: StepGraph
    run: Runner


class GraphStep:
    """Replays a captured step; one is captured for every shape of batch when it first comes.

    What Python changes between steps is followed: another graph is captured where parameters are
    frozen, networks put into another mode, or the objective is another one. A number that a
    schedule changes, or one of the objective that was changed once, is an input of the graph. Where
    one of the objective is 0 what it weighs is not computed, and that is another graph.

    Args:
        source: What is trained, in training mode; its parameters receive the gradients.
        precision: "float32" or "bfloat16".
    """

    def __init__(self, source: StepSource, precision: str = "float32") -> None:
        self._source = source
        self._programs = source.programs
        self._translate: Translate | None = None
        self._joined: OneVector | None = None
        self._precision = precision
        self._eager = EagerStep(source, precision)
        self._ready: dict[Key, _Ready | CaptureError] = {}
        self._current: dict[Key, _Ready] = {}
        self._guard = Guard(source)
        self._moved: list[str] = []
        self._used_by_python: set[str] = set()
        self._values = self._numbers()
        self._free: list[Number] = []
        self._renew()

    def captured(self, batch: Batch) -> StepGraph:
        """The graph for batches like this one.

        Raises:
            CaptureError: There can be none.
        """
        return self._for(batch).graph

    @property
    def is_convolutional(self) -> bool:
        """Whether networks of the programs convolve."""
        return is_convolutional(self._source)

    @property
    def vector(self) -> Tensor | None:
        """What all parameters are parts of, None where each is by itself."""
        return None if self._joined is None else self._joined.vector

    @property
    def trained(self) -> list[Tensor]:
        """What has the gradients: the parameters, or the vector that they are parts of."""
        return self._eager.trained if self._joined is None else [self._joined.vector]

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step by the names of the parameters."""
        if self._joined is None or self._joined.vector.grad is None:
            return self._eager.gradients()
        pieces = self._joined.pieces(self._joined.vector.grad)
        return dict(zip(self._source.parameters, pieces, strict=True))

    def compile(self, batch: Batch, *, is_joined: bool = False) -> None:
        """From now on run what torch's compiler makes of the steps.

        Args:
            batch: Of the first step, which is compiled now.
            is_joined: Make the parameters parts of one vector.
        """
        self._translated(by_compiler, batch, is_joined=is_joined)

    def fuse(self, batch: Batch, *, is_joined: bool = False) -> None:
        """From now on run the steps as loops in C; see :meth:`compile`.

        Raises:
            FusionError: They cannot be written as C; everything is as before.
        """
        self._translated(by_fusion, batch, is_joined=is_joined)

    def replay(self, batch: Batch, *, is_joined: bool = False) -> None:
        """Go on, one operation by one, with a run whose steps cannot be translated here."""
        self._translated(
            lambda graph, _, joined: replayed(graph, joined), batch, is_joined=is_joined
        )

    def follows(self, path: str) -> bool:
        """Whether what is kept at a dotted path is compared before every step."""
        return self._guard.watches(path)

    def separate(self) -> None:
        """Let every parameter have a gradient of its own from now on."""
        self._joined = None
        self._ready.clear()
        self._current.clear()

    def _translated(self, translate: "Translate", batch: Batch, *, is_joined: bool) -> None:
        graph = self.captured(batch)
        # A schedule may change which parameters have a gradient: a vector has one or has none.
        is_joined = is_joined and all(graph.has_gradient) and not self._programs.schedules
        joined = OneVector(self._eager.trained) if is_joined else None
        self._renew()  # as the parameters may be elsewhere
        ready = _Ready(graph, translate(graph, self._example(graph, batch), joined))
        self._translate, self._joined = translate, joined
        self._ready = {self._key(batch): ready}

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Compute values and gradients; see :meth:`EagerStep.__call__`.

        Raises:
            NonFiniteError: The objective is infinite or not a number; it says what made it so.
            GoEager: Something was replaced or changes too often.
        """
        try:
            ready = self._for(batch)
        except CaptureError:  # for this shape, or this stage of a schedule
            return self._by_programs(batch, step)
        noise = torch.get_rng_state()
        numbers, *rest = ready.run(self._inputs(ready.graph, batch))
        found = numbers.tolist()
        names = ready.graph.names
        values = dict(zip(names, found, strict=False))
        norm = found[-1] if len(found) > len(names) else None
        if not math.isfinite(values["objective"]):
            torch.set_rng_state(noise)
            self._eager(batch, step)  # says which term and site
            raise NonFiniteError(f"step {step}: the objective is {values['objective']}")
        trained = self.trained
        for parameter, gradient in zip(trained, rest, strict=False):
            parameter.grad = gradient
        if self._joined is None:
            for parameter, has_one in zip(trained, ready.graph.has_gradient, strict=True):
                if not has_one:
                    parameter.grad = None
        if buffers := rest[len(trained) :]:
            ready.graph.slots.put(buffers, ready.graph.assigned)
        return StepResult(values, norm=norm)

    def _by_programs(self, batch: Batch, step: int) -> StepResult:
        result = self._eager(batch, step)
        self._renew()  # as the programs may keep things anew in the objective
        if self._joined is not None:
            found = [p.grad for p in self._eager.trained if p.grad is not None]
            if len(found) < len(self._eager.trained):
                self.separate()
            else:
                self._joined.vector.grad = torch.cat([gradient.flatten() for gradient in found])
        return result

    def _for(self, batch: Batch) -> _Ready:
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in batch)
        if not (self._guard.holds() and all(weight.get() for weight in self._free)):
            self._follow()
        if shapes not in self._current:
            self._current[shapes] = self._made(batch)
        return self._current[shapes]

    def _follow(self) -> None:
        """Take note of what Python changed since the last step."""
        if replaced := self._guard.replaced():
            raise GoEager(replaced)
        before, self._values = self._values, self._numbers()
        self._moved += [
            name
            for name, value in self._values.items()
            if value != before.get(name, value) and name not in self._moved
        ]
        where = self._guard.addresses
        self._renew()
        if self._joined is not None and self._guard.addresses != where:
            self.separate()

    def _renew(self) -> None:
        names = [name for name in self._inputs_by_name() if full_name(name).startswith("elbo.")]
        self._free = [self._programs.number(name) for name in names]
        self._guard.renew(self._free)
        self._current.clear()

    def _made(self, batch: Batch) -> _Ready:
        key = self._key(batch)
        if key not in self._ready:
            if len(self._ready) >= MAX_GRAPHS:
                raise GoEager("what a step computes is changed too often between steps")
            try:
                self._ready[key] = self._captured(batch)
            except CaptureError as error:
                if self._keep_for_python():
                    return self._made(batch)
                self._ready[key] = error
        ready = self._ready[key]
        if isinstance(ready, CaptureError):
            raise ready
        return ready

    def _captured(self, batch: Batch) -> _Ready:
        names = self._inputs_by_name()
        graph = capture(self._source, batch, names, self._precision)
        self._renew()  # as the programs may have kept things anew in the objective
        if self._joined is not None and not all(graph.has_gradient):
            self.separate()
        return _Ready(graph, self._runner(graph, batch))

    def _keep_for_python(self) -> bool:
        """Let numbers that were changed by hand be constants again; whether there are any."""
        moved = set(self._moved) - self._used_by_python
        self._used_by_python |= moved
        self._renew()
        return bool(moved)

    def _runner(self, graph: StepGraph, batch: Batch) -> Runner:
        if self._translate is not None:
            with suppress(FusionError, RuntimeError):  # for this shape alone it cannot be
                return self._translate(graph, self._example(graph, batch), self._joined)
        return replayed(graph, self._joined)

    def _key(self, batch: Batch) -> Key:
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in batch)
        return (shapes, *self._inputs_by_name(), self._guard.key())

    def _numbers(self) -> dict[str, float]:
        numbers = objective_weights(self._programs.elbo).items()
        return {f"elbo.{name}": float(number.get()) for name, number in numbers}

    def _inputs_by_name(self) -> list[str]:
        """Numbers that are inputs: they change, and are no weight of 0."""
        scheduled = list(self._programs.schedules)
        known = {*map(full_name, scheduled), *self._used_by_python}
        names = [*scheduled, *(name for name in self._moved if name not in known)]
        return [name for name in names if not self._programs.number(name).is_zero_weight]

    def _example(self, graph: StepGraph, batch: Sequence[Tensor]) -> list[Tensor]:
        """Inputs for a trial; no generator is moved."""
        with preserving_rng_and_buffers():
            return self._inputs(graph, batch)

    def _inputs(self, graph: StepGraph, batch: Sequence[Tensor]) -> list[Tensor]:
        return [*graph.slots.inputs(), *batch, *graph.draw()]


def is_convolutional(source: StepSource) -> bool:
    """Whether a network has convolutions."""
    parts = (part for module in source.modules for part in module.modules())
    return any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in parts)


Translate = Callable[[StepGraph, Sequence[Tensor], OneVector | None], Runner]
