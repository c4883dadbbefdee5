"""A step by replaying what was captured of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_decomp.capture import StepGraph, capture
from pyro_decomp.capture.compiled import Program, compiled, example_inputs
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.experiment import Experiment
from pyro_decomp.objective_weights import objective_weights
from pyro_decomp.state import State
from pyro_decomp.steps.eager import EagerStep
from pyro_decomp.steps.result import StepResult

Key = tuple[object, ...]


@dataclass(frozen=True)
class _Ready:
    """A captured step and what runs it."""

    graph: StepGraph
    run: Program


class GraphStep:
    """Replays a captured step; one is captured for every shape of batch when it first comes.

    A number of the objective that a schedule changes is an input of the graph. Where it is 0 what
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
        self._is_compiled = False
        self._precision = precision
        self._eager = EagerStep(experiment, state, precision)
        self._ready: dict[Key, _Ready] = {}

    def captured(self, batch: Batch) -> StepGraph:
        """The graph for batches like this one.

        Raises:
            CaptureError: There can be none.
        """
        return self._for(batch).graph

    def compile(self, batch: Batch) -> None:
        """From now on run machine code instead of torch's operations one by one.

        Args:
            batch: Of the first step, which is compiled now.
        """
        graph = self.captured(batch)
        self._is_compiled = True
        for key, ready in self._ready.items():
            if ready.graph is graph:
                self._ready[key] = _Ready(graph, self._runner(graph, batch))

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Compute values and gradients; see :meth:`EagerStep.__call__`.

        Raises:
            NonFiniteError: The objective is infinite or not a number; it says what made it so.
            CaptureError: This is the first batch of its shape, and its step cannot be captured.
        """
        ready = self._for(batch)
        slots = ready.graph.slots
        noise = torch.get_rng_state()
        numbers, *rest = ready.run(*slots.inputs(), *batch, *ready.graph.draw())
        values = dict(zip(ready.graph.names, numbers.tolist(), strict=True))
        if not math.isfinite(values["objective"]):
            torch.set_rng_state(noise)
            self._eager(batch, step)  # says which term and site
            raise NonFiniteError(f"step {step}: the objective is {values['objective']}")
        gradients, buffers = rest[: len(slots.trained)], rest[len(slots.trained) :]
        for parameter, gradient in zip(slots.trained, gradients, strict=True):
            parameter.grad = gradient
        if buffers:
            with torch.no_grad():
                torch._foreach_copy_(slots.buffers, list(buffers))
        return StepResult(values)

    def _for(self, batch: Batch) -> _Ready:
        scheduled = [n for n in self._experiment.schedules if not self._is_zero(n)]
        key = (*(tensor.shape for tensor in batch), *scheduled)
        if key not in self._ready:
            graph = capture(self._experiment, self._state, batch, scheduled, self._precision)
            self._ready[key] = _Ready(graph, self._runner(graph, batch))
        return self._ready[key]

    def _is_zero(self, name: str) -> bool:
        return not bool(objective_weights(self._experiment.elbo)[name].get())

    def _runner(self, graph: StepGraph, batch: Sequence[Tensor]) -> Program:
        if not self._is_compiled:
            return graph.module
        before = torch.get_rng_state()
        inputs = [*graph.slots.inputs(), *batch, *graph.draw()]
        torch.set_rng_state(before)
        return compiled(graph.module, example_inputs(inputs))
