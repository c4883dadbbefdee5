"""A step by replaying what was captured of it."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_decomp.capture import CaptureError, StepGraph, capture
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.experiment import Experiment
from pyro_decomp.fusion import FusionError
from pyro_decomp.program_state import undisturbed
from pyro_decomp.state import State
from pyro_decomp.steps.eager import EagerStep
from pyro_decomp.steps.one_vector import OneVector
from pyro_decomp.steps.result import StepResult
from pyro_decomp.steps.runners import Runner, by_compiler, by_fusion, replayed

Key = tuple[object, ...]


@dataclass(frozen=True)
class _Ready:
    """A captured step and what runs it."""

    graph: StepGraph
    run: Runner


class GraphStep:
    """Replays a captured step; one is captured for every shape of batch when it first comes.

    A number that a schedule changes is an input of the graph. Where one of the objective is 0 what
    it weighs is not computed, and that is another graph.

    Args:
        experiment: What is trained.
        state: Its parameters, which receive the gradients, in training mode.
        precision: "float32" or "bfloat16".
    """

    def __init__(
        self,
        experiment: Experiment,
        state: State,
        precision: str = "float32",
    ) -> None:
        self._experiment = experiment
        self._state = state
        self._translate: Translate | None = None
        self._joined: OneVector | None = None
        self._precision = precision
        self._eager = EagerStep(experiment, state, precision)
        self._ready: dict[Key, _Ready] = {}

    def captured(self, batch: Batch) -> StepGraph:
        """The graph for batches like this one.

        Raises:
            CaptureError: There can be none.
        """
        return self._for(batch).graph

    @property
    def is_convolutional(self) -> bool:
        """Whether networks of the programs convolve."""
        return is_convolutional(self._state)

    @property
    def trained(self) -> list[Tensor]:
        """What an optimiser is to train: the parameters, or the vector that they are parts of."""
        return self._eager.trained if self._joined is None else [self._joined.vector]

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step by the names of the parameters."""
        if self._joined is None or self._joined.vector.grad is None:
            return self._eager.gradients()
        pieces = self._joined.pieces(self._joined.vector.grad)
        return dict(zip(self._state.parameters, pieces, strict=True))

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

    def _translated(self, translate: "Translate", batch: Batch, *, is_joined: bool) -> None:
        key, graph = self._key(batch), self.captured(batch)
        # A schedule may change which parameters have a gradient: a vector has one or has none.
        is_joined = is_joined and all(graph.has_gradient) and not self._experiment.schedules
        joined = OneVector(self._eager.trained) if is_joined else None
        inputs = self._example(graph, batch)
        self._ready = {key: _Ready(graph, translate(graph, inputs, joined))}
        self._translate, self._joined = translate, joined

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Compute values and gradients; see :meth:`EagerStep.__call__`.

        Raises:
            NonFiniteError: The objective is infinite or not a number; it says what made it so.
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
            with torch.no_grad():
                torch._foreach_copy_(ready.graph.slots.buffers, list(buffers))
        return StepResult(values, norm=norm)

    def _by_programs(self, batch: Batch, step: int) -> StepResult:
        result = self._eager(batch, step)
        if self._joined is not None:
            each = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._eager.trained]
            self._joined.vector.grad = torch.cat([gradient.flatten() for gradient in each])
        return result

    def _for(self, batch: Batch) -> _Ready:
        key = self._key(batch)
        if key not in self._ready:
            scheduled = self._scheduled()
            graph = capture(self._experiment, self._state, batch, scheduled, self._precision)
            self._ready[key] = _Ready(graph, self._runner(graph, batch))
        return self._ready[key]

    def _runner(self, graph: StepGraph, batch: Batch) -> Runner:
        if self._translate is not None:
            with suppress(FusionError):  # for this shape alone it cannot be fused
                return self._translate(graph, self._example(graph, batch), self._joined)
        return replayed(graph, self._joined)

    def _key(self, batch: Batch) -> Key:
        return (*(tensor.shape for tensor in batch), *self._scheduled())

    def _scheduled(self) -> list[str]:
        """Numbers that are inputs: a schedule changes them, and they are no weight of 0."""
        experiment = self._experiment
        return [n for n in experiment.schedules if not experiment.number(n).is_zero_weight]

    def _example(self, graph: StepGraph, batch: Sequence[Tensor]) -> list[Tensor]:
        """Inputs for a trial; no generator is moved."""
        with undisturbed([]):
            return self._inputs(graph, batch)

    def _inputs(self, graph: StepGraph, batch: Sequence[Tensor]) -> list[Tensor]:
        return [*graph.slots.inputs(), *batch, *graph.draw()]


def is_convolutional(state: State) -> bool:
    """Whether a network has convolutions."""
    parts = (part for module in state.modules for part in module.modules())
    return any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in parts)


Translate = Callable[[StepGraph, Sequence[Tensor], OneVector | None], Runner]
