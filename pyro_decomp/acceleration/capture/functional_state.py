"""The tensors that programs read, as arguments: running the programs with others in their place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture.places import Contents, Place, parts_of, places_of
from pyro_decomp.acceleration.errors import CaptureError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo.numbers import Number


class FunctionalState:
    """Where the programs of one step find their tensors.

    Parameters and buffers of networks are read from their places whenever they are asked for, so
    that what is moved there, or put there, between two steps is what the next step reads.

    Args:
        source: Whose programs and networks.
        batch: A batch, on which the programs are run once to see what they write to.
        weights: Names of the numbers that are read as tensors too.

    Attributes:
        trained: The parameters that the objective trains.
        weights: The names.

    Raises:
        CaptureError: The programs write to what is trained, or register buffers as they run.
    """

    def __init__(
        self, source: StepSource, batch: Sequence[Tensor], weights: Sequence[str] = ()
    ) -> None:
        self.weights = tuple(weights)
        self._source = source
        self.trained = list({id(p): p for p in source.parameters.values()}.values())
        written = _written_by(source, batch)
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
    def where_frozen(self) -> slice:
        """Which of the inputs are frozen."""
        return slice(len(self.trained), len(self.trained) + len(self._frozen_at))

    @property
    def buffers(self) -> list[Tensor]:
        """What the programs write to or assign anew, such as BatchNorm's statistics."""
        return [first.tensor for first, *_ in self._buffers_at]

    def names(self) -> list[str]:
        """The names of the inputs in their order."""
        named = (places[0].path if places else "a parameter" for places in self._at())
        return [*named, *self.weights]

    def inputs(self) -> list[Tensor]:
        """The tensors that the programs would read now, in the order of ``split``."""
        like = self.trained[0]
        numbers = [torch.as_tensor(n.get(), dtype=like.dtype).to(like) for n in self._numbers()]
        return [t.detach() for t in (*self.trained, *self.frozen, *self.buffers, *numbers)]

    def split(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Inputs as lists: trained, frozen, buffers, numbers, and what follows these."""
        sizes = [len(self.trained), len(self._frozen_at), len(self._buffers_at)]
        ends = [0, *accumulate([*sizes, len(self.weights)]), len(inputs)]
        return tuple(list(inputs[start:stop]) for start, stop in pairwise(ends))

    @contextmanager
    def filled(self, inputs: Sequence[Tensor]) -> Iterator[None]:
        """Let the programs find these inputs; put back their own afterwards."""
        at, numbers = self._at(), self._numbers()
        filling = [
            (place, tensor)
            for places, tensor in zip(at, inputs[: len(at)], strict=True)
            for place in places
        ]
        own = [(place, place.tensor) for place, _ in filling]
        before = [number.get() for number in numbers]
        try:
            for place, tensor in filling:
                place.put(tensor)
            for number, tensor in zip(numbers, inputs[len(at) :], strict=True):
                number.set(tensor)
            yield
        finally:
            for place, tensor in own:
                place.put(tensor)
            for number, value in zip(numbers, before, strict=True):
                number.set(value)

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

    def _at(self) -> list[list[Place]]:
        return [*self._trained_at, *self._frozen_at, *self._buffers_at]

    def _numbers(self) -> list[Number]:
        return [self._source.programs.number(name) for name in self.weights]


def _written_by(source: StepSource, batch: Sequence[Tensor]) -> set[int]:
    """Identities of the parameters and buffers that one run of the programs changes or assigns.

    All is as before afterwards.

    Raises:
        CaptureError: They write to a parameter that is trained, assign a parameter anew, or
            register a buffer, or switch a network between training and evaluation.
    """
    trained = {id(parameter) for parameter in source.parameters.values()}
    originals = {place.key: id(place.tensor) for place in places_of(source)}
    with source.python.preserving_rng_and_buffers(), torch.no_grad():
        contents = Contents(places_of(source))
        versions = [tensor._version for _, tensor, _ in contents.kept]
        modes = [(f"{path}.training", part, part.training) for path, part in parts_of(source)]
        try:
            source.evaluate(*batch)
            entries = {place.key for place in places_of(source)}
            switched = [name for name, part, mode in modes if part.training != mode]
            anew = {p.key for p, tensor, _ in contents.kept if p.kept.get(p.name) is not tensor}
            written = [
                place
                for (place, tensor, content), version in zip(contents.kept, versions, strict=True)
                if place.key in anew or tensor._version != version or not _is_same(tensor, content)
            ]
        finally:
            contents.put_back()
    if switched:
        raise CaptureError(f"they change {switched[0]} as they run")
    if entries != originals.keys():
        raise CaptureError("they register or remove parameters or buffers as they run")
    for place in written:
        if originals[place.key] in trained or (place.key in anew and not place.is_buffer):
            raise CaptureError(f"they write to the parameter {place.path}, which is trained apart")
    return {originals[place.key] for place in written}


def _is_same(tensor: Tensor, content: Tensor) -> bool:
    """Whether every number is the same, also where it was written behind autograd's back.

    One that is NaN counts as unchanged.
    """
    return bool(((tensor == content) | content.isnan()).all())
