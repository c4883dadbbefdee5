"""Which networks a Pyro program uses, and running one without a trace in their buffers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state.reachable import PLAIN, places


def find_modules(programs: Iterable[Callable[..., Any] | nn.Module]) -> list[nn.Module]:
    """The outermost modules that programs are, are methods of, or close over.

    Whatever the programs reach is searched: variables that functions name, attributes of objects,
    items of containers (:mod:`pyro_decomp.programs.program_state.reachable`).

    Returns:
        Each module once, in the order found; none is a part of another.
    """
    found = list(_search(programs))
    parts = {id(part) for module in found for part in module.modules() if part is not module}
    return [module for module in found if id(module) not in parts]


@contextmanager
def in_mode(modules: Sequence[nn.Module], *, training: bool) -> Iterator[None]:
    """Set networks to training or evaluation inside, and each part to what it was afterwards."""
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.train(training)
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def buffers_kept(modules: Iterable[nn.Module]) -> Iterator[Callable[[], None]]:
    """Put back buffers afterwards, or what they became if the function that is given is called.

    Raises:
        ModelError: It is called, and a buffer has become one of another shape, which no checkpoint
            of the run could be put back into.
    """
    parts = {part: None for module in modules for part in module.modules()}
    originals = [
        (part, name, buffer)
        for part in parts
        for name, buffer in dict(part.named_buffers(recurse=False)).items()
        if not is_lazy(buffer)
    ]
    accepted: list[bool] = []
    for part, name, buffer in originals:
        setattr(part, name, buffer.clone())  # autograd may still need the original as it is
    try:
        yield lambda: accepted.append(True)
    finally:
        became = [getattr(part, name) for part, name, _ in originals]
        for part, name, buffer in originals:
            setattr(part, name, buffer)
        if accepted:
            for (part, name, buffer), now in zip(originals, became, strict=True):
                if now.shape != buffer.shape:
                    raise ModelError(
                        f"the buffer '{name}' of {type(part).__name__} came to have shape "
                        f"{tuple(now.shape)} as the programs ran: expected {tuple(buffer.shape)}, "
                        "as it had; register it with the shape that it keeps, or make it a plain "
                        "attribute"
                    )
                if now.dtype != buffer.dtype:
                    setattr(part, name, now)
                elif not torch.equal(buffer, now):
                    buffer.data.copy_(now)


@contextmanager
def tensors_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back buffers afterwards, and the numbers in parameters, which programs may write to."""
    modules = list(modules)
    parameters = {p: None for module in modules for p in module.parameters() if not is_lazy(p)}
    before = [(parameter, parameter.detach().clone()) for parameter in parameters]
    with buffers_kept(modules):
        try:
            yield
        finally:
            for parameter, content in before:
                if not torch.equal(parameter, content):
                    parameter.data.copy_(content)


def _search(things: Iterable[Any]) -> Iterator[nn.Module]:
    """Every network that is reached, in the order of the code; a part of one may come before it."""
    seen: set[int] = set()
    alive, waiting = [], [iter(things)]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
        elif id(found) not in seen:
            seen.add(id(found))
            alive.append(found)  # or an address could be given to another
            if isinstance(found, nn.Module):
                yield found
            waiting.append(s.value for s in places(found) if type(s.value) not in PLAIN)
