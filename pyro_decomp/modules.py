"""Which networks a Pyro program uses, and running one without leaving a trace in them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pyro_decomp.seeds import random_state, set_random_state


def find_modules(programs: Iterable[Callable[..., Any] | nn.Module]) -> list[nn.Module]:
    """The outermost modules that programs are, are methods of, or close over.

    A function is searched through the variables that it names, an object and a module through
    their attributes; a module kept only inside a container is not found.

    Args:
        programs: Models, guides, and modules themselves.

    Returns:
        Each module once, in the order found; none is a part of another.
    """
    found = dict.fromkeys(module for program in programs for module in _search(program, set()))
    parts = {id(part) for module in found for part in module.modules() if part is not module}
    return [module for module in found if id(module) not in parts]


@contextmanager
def undisturbed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back buffers, such as BatchNorm's statistics, and every random generator afterwards."""
    generators = random_state()
    with buffers_kept(modules):
        try:
            yield
        finally:
            set_random_state(generators)


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
    """Put back buffers afterwards, or what they became if the function that is given is called."""
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
        for part, name, buffer in originals:
            if accepted and not torch.equal(buffer, getattr(part, name)):
                buffer.data.copy_(getattr(part, name))
            setattr(part, name, buffer)


def _search(thing: Any, seen: set[int]) -> Iterator[nn.Module]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    neighbours: list[Any]
    if isinstance(thing, nn.Module):
        yield thing
        neighbours = [value for part in thing.modules() for value in vars(part).values()]
    elif isinstance(thing, partial):
        neighbours = [thing.func, *thing.args, *thing.keywords.values()]
    elif inspect.ismethod(thing):
        owner = thing.__self__
        neighbours = [owner, thing.__func__, *getattr(owner, "__dict__", {}).values()]
    elif inspect.isfunction(thing):
        variables = inspect.getclosurevars(thing)
        neighbours = [*variables.nonlocals.values(), *variables.globals.values()]
        neighbours += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        neighbours += [getattr(thing, "__wrapped__", None)]
    elif callable(thing) and not isinstance(thing, type):
        neighbours = list(getattr(thing, "__dict__", {}).values())
    else:
        return
    for neighbour in neighbours:
        yield from _search(neighbour, seen)
