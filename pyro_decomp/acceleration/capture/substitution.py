"""The tensors that the programs of a step read, and running the programs with others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture.places import Place, places_of
from pyro_decomp.acceleration.capture.written import written_by
from pyro_decomp.acceleration.errors import CaptureError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo.numbers import Number


class Slots:
    """Where the programs of one step find their tensors.

    Parameters and buffers of networks are read from their places whenever they are asked for, so
    that what is moved there, or put there, between two steps is what the next step reads.

    Args:
        source: Whose programs, networks and parameters.
        batch: A batch, on which the programs are run once to see what they write to.
        weights: Names of the numbers that are read as tensors too.

    Attributes:
        trained: The parameters that the objective trains.
        weights: The names.

    Raises:
        CaptureError: The programs write to what is trained, or register buffers as they run.
    """

    def __init__(
        self,
        source: StepSource,
        batch: Sequence[Tensor],
        weights: Sequence[str] = (),
    ) -> None:
        self.weights = tuple(weights)
        self._source = source
        self.trained = list({id(p): p for p in source.parameters.values()}.values())
        written = written_by(source, batch)
        others: dict[bool, dict[int, list[Place]]] = {True: {}, False: {}}
        own: dict[int, list[Place]] = {id(p): [] for p in self.trained}
        for place in places_of(source):
            tensor = place.tensor
            kinds = own if id(tensor) in own else others[id(tensor) in written]
            kinds.setdefault(id(tensor), []).append(place)
        self._trained_at = list(own.values())
        self._frozen_at, self._buffers_at = (list(others[kind].values()) for kind in (False, True))

    @property
    def frozen(self) -> list[Tensor]:
        """Parameters that are not trained, and buffers that the programs only read."""
        return [first.tensor for first, *_ in self._frozen_at]

    @property
    def buffers(self) -> list[Tensor]:
        """What the programs write to or assign anew, such as BatchNorm's statistics."""
        return [first.tensor for first, *_ in self._buffers_at]

    def names(self) -> list[str]:
        """Names of the inputs in their order."""
        at = (*self._trained_at, *self._frozen_at, *self._buffers_at)
        return [*(places[0].path if places else "a parameter" for places in at), *self.weights]

    def inputs(self) -> list[Tensor]:
        """What the programs find there now: trained, frozen, buffers, and the numbers."""
        like = self.trained[0]
        numbers = [torch.as_tensor(n.get(), dtype=like.dtype).to(like) for n in self._numbers()]
        return [t.detach() for t in (*self.trained, *self.frozen, *self.buffers, *numbers)]

    def split(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Inputs in this order as trained, frozen, buffers, numbers, and what follows."""
        sizes = [len(self.trained), len(self._frozen_at), len(self._buffers_at)]
        ends = [0, *accumulate([*sizes, len(self.weights)]), len(inputs)]
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
        at = (*self._trained_at, *self._frozen_at, *self._buffers_at)
        given = zip(at, (*trained, *frozen, *buffers), strict=True)
        filling = [(place, tensor) for places, tensor in given for place in places]
        own = [(place, place.tensor) for place, _ in filling]
        slots = self._numbers()
        before = [slot.get() for slot in slots]
        try:
            for place, tensor in filling:
                place.put(tensor)
            for slot, weight in zip(slots, weights, strict=True):
                slot.set(weight)
            yield
        finally:
            for place, tensor in own:
                place.put(tensor)
            for slot, value in zip(slots, before, strict=True):
                slot.set(value)

    def left(self) -> list[Tensor]:
        """The buffers as the programs leave them.

        Raises:
            CaptureError: They leave what no later step could read: a tensor with gradients, none,
                or several where there was one.
        """
        left = []
        for places in self._buffers_at:
            first, *others = (place.kept.get(place.name) for place in places)
            path = places[0].path
            if not isinstance(first, Tensor) or any(other is not first for other in others):
                raise CaptureError(f"they take the buffer {path} away, or from its other owners")
            if first.requires_grad:
                raise CaptureError(
                    f"they assign the buffer {path} a tensor with gradients (detach it)"
                )
            left.append(first)
        return left

    @torch.no_grad()
    def put(self, buffers: Sequence[Tensor], assigned: Sequence[bool]) -> None:
        """Leave buffers as the programs would: assigned anew, or written to."""
        own, written = [], []
        for places, buffer, is_assigned in zip(self._buffers_at, buffers, assigned, strict=True):
            if is_assigned:
                for place in places:
                    place.put(buffer)
            else:
                own.append(places[0].tensor)
                written.append(buffer)
        if own:
            torch._foreach_copy_(own, written)

    def _numbers(self) -> list[Number]:
        return [self._source.programs.number(name) for name in self.weights]
