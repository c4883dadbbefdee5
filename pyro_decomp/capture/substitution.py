"""The tensors that an experiment's programs read, and running the programs with others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyro_decomp.experiment import Experiment
from pyro_decomp.scheduled_numbers import Number
from pyro_decomp.state import State


class Slots:
    """Where the programs of one experiment find their tensors.

    Args:
        experiment: Whose programs and objective.
        state: Its networks and parameters.
        batch: A batch, on which the programs are run once to see which buffers they update.
        weights: Names of the numbers of its objective that are read as tensors too.

    Attributes:
        trained: The parameters that the objective trains.
        frozen: Parameters that are not trained.
        buffers: What networks update themselves, such as BatchNorm's statistics; other buffers are
            constants.
        weights: The names.
    """

    def __init__(
        self,
        experiment: Experiment,
        state: State,
        batch: Sequence[Tensor],
        weights: Sequence[str] = (),
    ) -> None:
        self.weights = tuple(weights)
        self._experiment = experiment
        found: dict[int, Tensor] = {id(p): p for p in state.parameters.values()}
        self.trained = list(found.values())
        self._places: list[tuple[dict[str, Any], str, int]] = []
        frozen: dict[int, Tensor] = {}
        buffers: dict[int, Tensor] = {}
        updated = _updated_buffers(experiment, state, batch)
        for part in _parts(state):
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    self._places.append((part._parameters, name, id(parameter)))
                    if id(parameter) not in found:
                        frozen[id(parameter)] = parameter
            for name, buffer in part._buffers.items():
                if (part, name) in updated and buffer is not None:
                    self._places.append((part._buffers, name, id(buffer)))
                    buffers[id(buffer)] = buffer
        stored: dict[str, Tensor] = state.store._params
        self._places += [(stored, name, id(p)) for name, p in stored.items() if id(p) in found]
        self.frozen = list(frozen.values())
        self.buffers = list(buffers.values())

    def inputs(self) -> list[Tensor]:
        """What the programs find there now: trained, frozen, buffers, and the numbers."""
        like = self.trained[0]
        numbers = [torch.as_tensor(n.get(), dtype=like.dtype).to(like) for n in self._numbers()]
        return [t.detach() for t in (*self.trained, *self.frozen, *self.buffers, *numbers)]

    def split(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Inputs in this order as trained, frozen, buffers, numbers, and what follows."""
        sizes = [len(self.trained), len(self.frozen), len(self.buffers), len(self.weights)]
        ends = [0, *accumulate(sizes), len(inputs)]
        return tuple(list(inputs[start:stop]) for start, stop in pairwise(ends))

    @contextmanager
    def filled(
        self,
        trained: Sequence[Tensor],
        frozen: Sequence[Tensor],
        buffers: Sequence[Tensor],
        weights: Sequence[Tensor] = (),
    ) -> Iterator[None]:
        """Let the programs find these tensors; put back their own afterwards."""
        own = [*self.trained, *self.frozen, *self.buffers]
        others = dict(zip(map(id, own), (*trained, *frozen, *buffers), strict=True))
        slots = self._numbers()
        before = [slot.get() for slot in slots]
        try:
            for kept, name, identity in self._places:
                kept[name] = others[identity]
            for slot, weight in zip(slots, weights, strict=True):
                slot.set(weight)
            yield
        finally:
            mine = {id(tensor): tensor for tensor in own}
            for kept, name, identity in self._places:
                kept[name] = mine[identity]
            for slot, value in zip(slots, before, strict=True):
                slot.set(value)

    def _numbers(self) -> list[Number]:
        return [self._experiment.number(name) for name in self.weights]


def _parts(state: State) -> list[nn.Module]:
    return list(dict.fromkeys(part for module in state.modules for part in module.modules()))


def _updated_buffers(
    experiment: Experiment, state: State, batch: Sequence[Tensor]
) -> set[tuple[nn.Module, str]]:
    """Which buffers a run of the programs changes; all is as before afterwards."""
    with state.program.undisturbed(), torch.no_grad():
        found = {(part, n): b for part in _parts(state) for n, b in part._buffers.items()}
        kept = {place: b.clone() for place, b in found.items() if b is not None}
        experiment.elbo.evaluate(experiment.model, experiment.guide, *batch)
        now = {(part, n): b for part in _parts(state) for n, b in part._buffers.items()}
        return {p for p, b in now.items() if b is not None and not torch.equal(b, kept[p])}
