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
from pyro_decomp.modules import undisturbed
from pyro_decomp.objective_weights import objective_weights
from pyro_decomp.state import State
from pyro_decomp.steps.eager import EagerStep
from pyro_decomp.steps.one_vector import OneVector
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
        """From now on run machine code instead of torch's operations one by one.

        Args:
            batch: Of the first step, which is compiled now.
            is_joined: Make the parameters parts of one vector.
        """
        graph = self.captured(batch)
        self._is_compiled = True
        if is_joined:
            self._joined = OneVector(self._eager.trained)
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
        noise = torch.get_rng_state()
        numbers, *rest = ready.run(*self._inputs(ready.graph, batch))
        values = dict(zip(ready.graph.names, numbers.tolist(), strict=True))
        if not math.isfinite(values["objective"]):
            torch.set_rng_state(noise)
            self._eager(batch, step)  # says which term and site
            raise NonFiniteError(f"step {step}: the objective is {values['objective']}")
        trained = self.trained
        for parameter, gradient in zip(trained, rest, strict=False):
            parameter.grad = gradient
        if buffers := rest[len(trained) :]:
            with torch.no_grad():
                torch._foreach_copy_(ready.graph.slots.buffers, list(buffers))
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
        with undisturbed([]):
            inputs = example_inputs(self._inputs(graph, batch))
        module = graph.module if self._joined is None else self._joined.joined(graph.module, inputs)
        return compiled(module, inputs)

    def _inputs(self, graph: StepGraph, batch: Sequence[Tensor]) -> list[Tensor]:
        inputs = graph.slots.inputs()
        if self._joined is not None:
            inputs[: len(graph.slots.trained)] = [self._joined.vector.detach()]
        return [*inputs, *batch, *graph.draw()]
