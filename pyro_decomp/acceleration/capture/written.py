"""Which tensors of its networks a program writes to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture.places import Place, parts_of, places_of
from pyro_decomp.acceleration.errors import CaptureError
from pyro_decomp.acceleration.source import StepSource


def written_by(source: StepSource, batch: Sequence[Tensor]) -> set[int]:
    """Identities of the parameters and buffers that one run of the programs changes or assigns.

    All is as before afterwards.

    Raises:
        CaptureError: They write to a parameter that is trained, assign a parameter anew, or
            register a buffer, or switch a network between training and evaluation.
    """
    originals = {_key(place): place.tensor for place in places_of(source)}
    trained = {id(parameter) for parameter in source.parameters.values()}
    with source.python.preserving_rng_and_buffers(), torch.no_grad():
        places = list(places_of(source))
        before = [(place, place.tensor, place.tensor.clone()) for place in places]
        versions = [place.tensor._version for place in places]
        modes = [(f"{path}.training", part, part.training) for path, part in parts_of(source)]
        try:
            source.evaluate(*batch)
            entries = {_key(place) for place in places_of(source)}
            found = [
                place
                for (place, tensor, content), version in zip(before, versions, strict=True)
                if _is_written(place, tensor, content, version)
            ]
            switched = [name for name, part, mode in modes if part.training != mode]
            anew = [p for p, tensor, _ in before if p.kept.get(p.name) is not tensor]
        finally:
            for place, tensor, content in before:
                if not _is_same(tensor, content):
                    tensor.copy_(content)
                place.put(tensor)
    if switched:
        raise CaptureError(f"they change {switched[0]} as they run")
    if entries != originals.keys():
        raise CaptureError("they register or remove parameters or buffers as they run")
    for place in found:
        if id(originals[_key(place)]) in trained or (place in anew and not place.is_buffer):
            raise CaptureError(f"they write to the parameter {place.path}, which is trained apart")
    return {id(originals[_key(place)]) for place in found}


def _is_written(place: Place, tensor: Tensor, content: Tensor, version: int) -> bool:
    """Whether it was assigned anew or written to, also behind autograd's back."""
    is_there = place.kept.get(place.name) is tensor and tensor._version == version
    return not is_there or not _is_same(tensor, content)


def _is_same(tensor: Tensor, content: Tensor) -> bool:
    """Whether every number is the same; one that is none counts as unchanged."""
    return bool(((tensor == content) | content.isnan()).all())


def _key(place: Place) -> tuple[int, str]:
    return id(place.kept), place.name
