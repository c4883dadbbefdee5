"""Generators of random numbers that programs have of their own."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from pyro_decomp.programs.reachable import ByType


class _Kind(NamedTuple):
    """How the state of a generator is read and written."""

    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]


_KINDS: dict[type, _Kind] = {
    np.random.Generator: _Kind(
        lambda g: copy.deepcopy(g.bit_generator.state),
        lambda g, state: setattr(g.bit_generator, "state", state),
    ),
    np.random.RandomState: _Kind(
        lambda g: g.get_state(legacy=False), lambda g, state: g.set_state(state)
    ),
    random.Random: _Kind(random.Random.getstate, random.Random.setstate),
    torch.Generator: _Kind(lambda g: g.get_state(), lambda g, state: g.set_state(state)),
}


_kinds: ByType[_Kind | None] = ByType(
    lambda kind: next((found for base, found in _KINDS.items() if issubclass(kind, base)), None)
)


def is_random_kind(kind: type) -> bool:
    """Whether things of a type draw random numbers."""
    return _kinds[kind] is not None


def is_random(thing: Any) -> bool:
    """Whether a thing draws random numbers."""
    return is_random_kind(type(thing))


def state_of(generator: Any) -> Any:
    """The state of a generator, in its library's own form."""
    kind = _kinds[type(generator)]
    assert kind is not None
    return kind.read(generator)


def set_state_of(generator: Any, state: Any) -> None:
    """Put back what :func:`state_of` gave."""
    kind = _kinds[type(generator)]
    assert kind is not None
    kind.write(generator, state)


def numbers_of(state: Any) -> list[Any]:
    """The numbers and words in a generator's state, so that two can be compared."""
    return list(_numbers(state))


def _numbers(state: Any) -> Iterator[Any]:
    if isinstance(state, dict):
        for name, value in state.items():
            yield name
            yield from _numbers(value)
    elif isinstance(state, np.ndarray | torch.Tensor):
        yield np.asarray(state).tobytes()
    elif isinstance(state, tuple) and any(isinstance(each, np.ndarray) for each in state):
        for each in state:
            yield from _numbers(each)
    else:
        yield state
