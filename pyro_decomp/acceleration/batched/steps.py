"""The steps of K members, and the tensors that they change. Internal."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.backends import Ready, StepOutputs, by_fusion, vectorized
from pyro_decomp.acceleration.batched.draws import Draws
from pyro_decomp.acceleration.batched.stacked import Stacked
from pyro_decomp.acceleration.capture import StepGraph, capture
from pyro_decomp.acceleration.capture.functional_state import FunctionalState
from pyro_decomp.acceleration.errors import CaptureError, FusionError
from pyro_decomp.acceleration.flat_parameters import can_be_flat, split
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.data.batches import Batch

_made: dict[Hashable, dict[tuple[Any, ...], Ready]] = {}  # of the last kind of step


class BatchedSteps:
    """The steps of K members that compute the same graph.

    Each member has its own parameters, buffers, numbers, batches and draws, those that it would
    have as a single run. They are stacked, with a leading K; :meth:`hand_back` puts a member's into
    its own networks.

    Args:
        sources: Of each member, what its steps are computed from.
        numbers: Names of the numbers that are inputs of the step.
        optimizer: Of the first member's parameters.
        generators: Of each member, the state of its random generator before the first step.
        backend: "captured" does each operation for all members at once, "compiled" leaves that to
            torch's compiler, "fused" computes one member after another by loops in C.
        shares_data: Whether all members train on the same batch.
        kind: Tells what the members compute from what others do; a step that was made before for as
            many members of the same kind is used again. None for what is to be made anew.

    Attributes:
        names: Of the values of a step: ``objective``, ``elbo`` and every term.

    Raises:
        CaptureError: The step cannot be captured, or not for several members at once.
        FusionError: It is to be fused, and cannot be.
    """

    def __init__(
        self,
        sources: Sequence[StepSource],
        numbers: Sequence[str],
        optimizer: torch.optim.Optimizer,
        generators: Sequence[Tensor],
        *,
        backend: str,
        shares_data: bool,
        kind: Hashable | None = None,
    ) -> None:
        self._sources, self._names = sources, list(numbers)
        self._backend, self._shares_data = backend, shares_data
        self._values: list[Tensor] | None = None
        first = sources[0]
        used = self._used_numbers()
        self._states = [FunctionalState(each, each.batches[0], used) for each in sources]
        self._frozen = _stacked([state.frozen for state in self._states])
        self._buffers = _stacked([state.buffers for state in self._states])
        trained = [state.trained for state in self._states]
        is_steady = backend == "fused" and not first.programs.schedules  # as for a single run
        self._is_flat = is_steady and can_be_flat(trained[0], optimizer)
        self._stacked = Stacked(trained, optimizer, is_flat=self._is_flat)
        self._ready: dict[tuple[Any, ...], Ready] = {}
        if kind is not None:
            kind = (kind, tuple(self._names), len(sources), backend)
            if kind not in _made:
                _made.clear()
            self._ready = _made.setdefault(kind, {})
        self._generators = list(generators)
        self.rewind()
        graph = self._for([source.batches[0] for source in sources]).graph  # or it is refused
        self.names, self._assigned = graph.names, graph.assigned
        self._for([source.batches[-1] for source in sources])

    def rewind(self) -> None:
        """Let the next step draw what the first one does."""
        self._draws = Draws(self._generators, self._frozen)

    def __call__(self, batches: Sequence[Batch], num_alike: int = 1) -> StepOutputs:
        """Compute the next step of all members; what they keep is as it was.

        There is one batch for each member, or one that they share; ``num_alike`` steps, this one
        included, have batches of this shape.
        """
        ready = self._for(batches)
        self.names, self._assigned = ready.graph.names, ready.graph.assigned
        draws = self._draws.next(ready.graph.sampler, num_alike)
        outputs = ready.run(self._inputs(self._joined(batches), draws))
        if not isinstance(outputs.gradients, Tensor):
            return outputs
        whole, trained = outputs.gradients, ready.graph.slots.trained  # fused: [K, P]
        if self._is_flat:
            return outputs._replace(gradients=[whole])
        parts = whole.split([parameter.numel() for parameter in trained], 1)
        pairs = zip(parts, trained, ready.graph.has_gradient, strict=True)
        each = [g.reshape(len(g), *p.shape) if is_there else None for g, p, is_there in pairs]
        return outputs._replace(gradients=each)

    def update(self, results: StepOutputs, limit: float | None) -> None:
        """Let the optimiser change the parameters, and take over the buffers of a step."""
        assert results.norm is not None
        self._stacked.update(list(results.gradients), results.norm, limit)
        self._buffers = list(results.buffers)

    @torch.no_grad()
    def hand_back(self, index: int, results: StepOutputs | None = None) -> None:
        """Put a member's parameters and buffers, or the buffers of a step, into its networks."""
        state = self._states[index]
        for own, stacked in zip(state.trained, self._stacked.parameters, strict=True):
            own.copy_(stacked[index])
        buffers = self._buffers if results is None else results.buffers
        pairs = zip(state.buffers, buffers, strict=True)
        state.put([new[index].to(own.dtype, copy=True) for own, new in pairs], self._assigned)

    def gradients_of(self, index: int, results: StepOutputs) -> dict[str, Tensor]:
        """A member's gradients by the names of its parameters."""
        own = self._sources[index].parameters
        each = [None if gradient is None else gradient[index] for gradient in results.gradients]
        if self._is_flat:
            each = split(each[0], list(own.values()))
        named = zip(own, each, strict=True)
        return {name: gradient for name, gradient in named if gradient is not None}

    def are_finite(self) -> list[bool]:
        """Of each member, whether its parameters are."""
        each = [p.detach().isfinite() for p in self._stacked.parameters]
        whole: list[bool] = torch.cat([p.reshape(len(p), -1) for p in each], 1).all(1).tolist()
        return whole

    def optimizer_of(self, index: int) -> dict[str, Any]:
        """The ``state_dict`` of a member's optimiser, as a single run has it."""
        return self._stacked.optimizer_of(index)

    def generator(self, index: int, *, is_before: bool = False) -> Tensor:
        """The state of a member's random generator, after the last step or before it."""
        return self._draws.generator(index, is_before=is_before)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs, as ``torch.save`` takes it."""
        return {
            "stacked": self._stacked.state_dict(),
            "buffers": self._buffers,
            "generators": self._draws.generators(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave for the same members."""
        self._stacked.load_state_dict(state["stacked"])
        self._buffers = state["buffers"]
        self._draws = Draws(state["generators"], self._frozen)

    def _joined(self, batches: Sequence[Batch]) -> Batch:
        if self._shares_data:
            return batches[0]
        return tuple(torch.stack(tensors) for tensors in zip(*batches, strict=True))

    def _used_numbers(self) -> list[str]:
        """Names of the numbers that are inputs: what a weight of 0 weighs is not computed."""
        number = self._sources[0].programs.number
        return [name for name in self._names if not number(name).is_zero_weight]

    def _inputs(self, batch: Batch, draws: Sequence[Tensor]) -> list[Tensor]:
        if self._values is None or self._sources[0].programs.schedules:
            like = self._stacked.parameters[0].detach()
            each = [source.programs.number for source in self._sources]
            self._values = [
                like.new_tensor([float(number(name).get()) for number in each])
                for name in self._used_numbers()
            ]
        trained = [parameter.detach() for parameter in self._stacked.parameters]
        return [*trained, *self._frozen, *self._buffers, *self._values, *batch, *draws]

    def _for(self, batches: Sequence[Batch]) -> Ready:
        """The step for batches of these shapes."""
        names, one = self._used_numbers(), batches[0]
        leading = () if self._shares_data else (len(batches),)
        key = (self._shares_data, leading, *(tensor.shape for tensor in one), *names)
        if key not in self._ready:
            graph = capture(self._sources[0], one, names)
            if self._is_flat and not all(graph.has_gradient):
                raise FusionError("the objective does not depend on all parameters")
            if [*map(id, graph.slots.buffers)] != [*map(id, self._states[0].buffers)]:
                raise CaptureError("the smaller last batch of an epoch changes other buffers")
            self._ready[key] = self._step_of(graph, batches)
        return self._ready[key]

    @torch.no_grad()
    def _step_of(self, graph: StepGraph, batches: Sequence[Batch]) -> Ready:
        draws = Draws(self._generators, self._frozen).next(graph.sampler)
        first = [*graph.slots.inputs(), *batches[0], *(draw[0] for draw in draws)]
        _check_buffers(graph, first)
        if self._backend == "fused":
            return Ready(graph, by_fusion(graph, first, len(self._sources)))
        is_compiled = self._backend == "compiled"
        inputs = self._inputs(self._joined(batches), draws)
        run = vectorized(graph, inputs, shares_data=self._shares_data, is_compiled=is_compiled)
        return Ready(graph, run)


def _stacked(each: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.stack([t.detach() for t in tensors]) for tensors in zip(*each, strict=True)]


def _check_buffers(graph: StepGraph, inputs: Sequence[Tensor]) -> None:
    """Refuse programs that assign buffers of other shapes than those they found."""
    buffers, at = graph.slots.buffers, len(graph.slots.trained) + 1
    left = graph.module(*inputs)[at:] if any(graph.assigned) else buffers
    for one, other in zip(buffers, left, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise CaptureError(
                f"the programs assign a buffer of shape {tuple(one.shape)} ({one.dtype}) one "
                f"of shape {tuple(other.shape)} ({other.dtype})"
            )
