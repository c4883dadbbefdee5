"""A step by replaying what was captured of it."""

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from pyro_decomp.acceleration import backends
from pyro_decomp.acceleration.capture import CaptureError, StepGraph, capture
from pyro_decomp.acceleration.eager import EagerStep, StepResult
from pyro_decomp.acceleration.errors import ChangedTooOften, GoEager
from pyro_decomp.acceleration.flat_parameters import flattened, split
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.acceleration.guards import Guard
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo.numbers import Number, full_name, objective_weights
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.programs.program_state import preserving_rng_and_buffers

Key = tuple[object, ...]
MAX_GRAPHS = 24  # of one run: what Python changes more often is not worth capturing


class GraphStep:
    """Replays a captured step; one is captured for every shape of batch when it first comes.

    What Python changes between steps is followed: another graph is captured where parameters are
    frozen, networks put into another mode, or the objective is another one. A number that a
    schedule changes, or one of the objective that was changed once, is an input of the graph. Where
    one of the objective is 0 what it weighs is not computed, and that is another graph.
    """

    def __init__(self, source: StepSource, precision: str = "float32") -> None:
        self._source = source
        self._programs = source.programs
        self._backend: backends.Backend | None = None
        self.vector: Tensor | None = None
        self._precision = precision
        self._eager = EagerStep(source, precision)
        self._ready: dict[Key, backends.Ready | CaptureError] = {}
        self._current: dict[Key, backends.Ready] = {}
        self._guard = Guard(source)
        self._moved = list(source.changing)
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
    def used_by_python(self) -> frozenset[str]:
        """Names of numbers that change, and are constants all the same, as Python uses them."""
        return frozenset(self._used_by_python)

    @property
    def trained(self) -> list[Tensor]:
        """What has the gradients: the parameters, or the vector that they are parts of."""
        return self._eager.trained if self.vector is None else [self.vector]

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step by the names of the parameters."""
        if self.vector is None or self.vector.grad is None:
            return self._eager.gradients()
        parts = split(self.vector.grad, self._eager.trained)
        return dict(zip(self._source.parameters, parts, strict=True))

    def use(self, backend: backends.Backend, batch: Batch, *, is_flat: bool = False) -> None:
        """Run the steps by a backend from now on.

        Args:
            backend: Makes what runs a graph; one that fails for a later shape leaves that replayed.
            batch: Of the first step, which is made now.
            is_flat: Make the parameters views of one vector.

        Raises:
            FusionError: They cannot be written as C; everything is as before.
            RuntimeError: torch's compiler failed; everything is as before.
        """
        graph = self.captured(batch)
        run = backend(graph, self._example(graph, batch))
        # A schedule may change which parameters have a gradient: a vector has one or has none.
        if is_flat and all(graph.has_gradient) and not self._programs.schedules:
            self.vector = flattened(self._eager.trained)
        self._renew()  # as the parameters may be elsewhere
        self._backend, self._ready = backend, {self._key(batch): backends.Ready(graph, run)}

    def follows(self, path: str) -> bool:
        """Whether what is kept at a dotted path is compared before every step."""
        return self._guard.watches(path)

    def separate(self) -> None:
        """Let every parameter have a gradient of its own from now on."""
        self.vector = None
        self._ready.clear()
        self._current.clear()

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
        outputs = ready.run(self._inputs(ready.graph, batch))
        values = dict(zip(ready.graph.names, outputs.values.tolist(), strict=True))
        if not math.isfinite(values["objective"]):
            torch.set_rng_state(noise)
            result = self._by_programs(batch, step)  # says which term and site
            if self._source.takes_any:
                return result
            raise NonFiniteError(f"step {step}: the objective is {values['objective']}")
        self._place(outputs.gradients, ready.graph)
        if outputs.buffers:
            ready.graph.slots.put(outputs.buffers, ready.graph.assigned)
        return StepResult(values, norm=None if outputs.norm is None else outputs.norm.item())

    def _place(self, gradients: Sequence[Tensor | None] | Tensor, graph: StepGraph) -> None:
        """Leave gradients where the optimiser finds them."""
        if self.vector is not None:
            self.vector.grad = gradients if isinstance(gradients, Tensor) else _flat(gradients)
            return
        trained = graph.slots.trained
        each = split(gradients, trained) if isinstance(gradients, Tensor) else gradients
        for parameter, gradient, has_one in zip(trained, each, graph.has_gradient, strict=True):
            parameter.grad = gradient if has_one else None

    def _by_programs(self, batch: Batch, step: int) -> StepResult:
        result = self._eager(batch, step)
        self._renew()  # as the programs may keep things anew in the objective
        if self.vector is not None:
            found = [p.grad for p in self._eager.trained if p.grad is not None]
            if len(found) < len(self._eager.trained):
                self.separate()
            else:
                self.vector.grad = _flat(found)
        return result

    def _for(self, batch: Batch) -> backends.Ready:
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
        if self.vector is not None and self._guard.addresses != where:
            self.separate()

    def _renew(self) -> None:
        names = [name for name in self._inputs_by_name() if full_name(name).startswith("elbo.")]
        self._free = [self._programs.number(name) for name in names]
        self._guard.renew(self._free)
        self._current.clear()

    def _made(self, batch: Batch) -> backends.Ready:
        key = self._key(batch)
        if key not in self._ready:
            if len(self._ready) >= MAX_GRAPHS:
                raise ChangedTooOften("what a step computes is changed too often between steps")
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

    def _captured(self, batch: Batch) -> backends.Ready:
        names = self._inputs_by_name()
        graph = capture(self._source, batch, names, self._precision)
        self._renew()  # as the programs may have kept things anew in the objective
        if self.vector is not None and not all(graph.has_gradient):
            self.separate()
        return backends.Ready(graph, self._run(graph, batch))

    def _keep_for_python(self) -> bool:
        """Let numbers that were changed by hand be constants again; whether there are any."""
        moved = set(self._moved) - self._used_by_python
        self._used_by_python |= moved
        self._renew()
        return bool(moved)

    def _run(self, graph: StepGraph, batch: Batch) -> backends.Run:
        example = self._example(graph, batch)
        if self._backend is not None:
            with suppress(FusionError, RuntimeError):  # for this shape alone it cannot be
                return self._backend(graph, example)
        return backends.replayed(graph, example)

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


def _flat(gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
