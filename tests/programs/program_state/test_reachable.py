"""What is reached from a thing in one step, by which name, and how it is set."""

import functools
from collections import OrderedDict, defaultdict, deque
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyro_decomp.programs.program_state.reachable import slots
from pyro_decomp.programs.program_state.slots import Slot

SCALE = 2.0


def named(thing: Any) -> dict[str, Slot]:
    return {slot.name: slot for slot in slots(thing)}


class Annealed:
    """Keeps numbers in every way that a class can."""

    shared = 1.0
    __slots__ = ("__dict__", "own")

    def __init__(self) -> None:
        self.own = 3.0
        self.free = 4.0

    @property
    def doubled(self) -> float:
        return SCALE * self.own

    def program(self) -> float:
        return self.free

    @staticmethod
    def alone(depth: int = 1) -> int:
        return depth


def closure(scale: float) -> Any:
    def program() -> float:
        return scale * SCALE

    program.note = "kept"  # type: ignore[attr-defined]
    return program


def with_defaults(x: int, scale: float = 5.0, *, rate: float = 6.0) -> float:
    return x * scale * rate


def test_a_function_has_closure_variables_globals_defaults_and_attributes() -> None:
    found = named(closure(0.5))
    assert {name: slot.value for name, slot in found.items()} == {
        "scale": 0.5,
        "SCALE": 2.0,
        "note": "kept",
    }
    defaults = named(with_defaults)
    assert {name: slot.get() for name, slot in defaults.items()} == {"scale": 5.0, "rate": 6.0}
    assert defaults["scale"].set is None


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        pytest.param(closure(0.5), "scale", id="closure variable"),
        pytest.param(Annealed(), "free", id="attribute"),
        pytest.param(Annealed(), "own", id="slot"),
        pytest.param(Annealed(), "shared", id="attribute of the class"),
        pytest.param(Annealed().program, "free", id="owner of a bound method"),
        pytest.param({"a": 1.0}, "a", id="dictionary"),
        pytest.param(OrderedDict(a=1.0), "a", id="ordered dictionary"),
        pytest.param(defaultdict(int, {3: 1}), "3", id="key that is a number"),
        pytest.param([1.0], "0", id="list"),
        pytest.param(deque([1.0]), "0", id="deque"),
        pytest.param(partial(with_defaults, rate=2.0), "rate", id="keyword of a partial"),
        pytest.param(with_defaults, "rate", id="keyword's default"),
        pytest.param(nn.Linear(2, 1), "in_features", id="attribute of a network"),
    ],
)
def test_a_place_is_written_where_it_is_read(thing: Any, name: str) -> None:
    slot = named(thing)[name]
    before = slot.get()
    assert slot.set is not None
    slot.set(7)
    try:
        assert slot.get() == named(thing)[name].value == 7
    finally:
        slot.set(before)


def test_arguments_of_a_partial_go_by_the_names_of_parameters() -> None:
    assert named(partial(with_defaults, 3))["x"].value == 3
    assert named(partial(Annealed().program))["free"].value == 4.0


def test_a_function_that_wraps_another_has_what_that_has() -> None:
    @functools.wraps(closure)
    def wrapper() -> Any:
        return None

    wrapper.__wrapped__ = closure(0.25)  # type: ignore[attr-defined]
    assert named(wrapper)["scale"].value == 0.25


def test_a_function_that_remembers_results_has_them() -> None:
    @functools.lru_cache(maxsize=2)
    def table() -> list[int]:
        return []

    table().append(1)
    assert [1] in [slot.value for slot in slots(table)]


def test_methods_of_a_class_of_the_users_are_reached_and_a_librarys_are_not() -> None:
    found = named(Annealed())
    assert {"program", "doubled", "alone"} <= found.keys()
    assert named(found["doubled"].value)["SCALE"].value == 2.0
    assert set(named(nn.ReLU())) == {"inplace"}


def test_a_network_has_its_parts_by_their_own_names() -> None:
    network = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    assert {"0", "1"} <= named(network).keys()
    assert {"weight", "bias", "running_mean", "momentum"} <= named(network[1]).keys()
    network[0].register_forward_hook(lambda *_: None)
    assert "forward_hooks.0" in named(network[0])


class Hostile:
    """Whatever is asked of it, it raises."""

    def __init__(self) -> None:
        object.__setattr__(self, "inside", 1)

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError


def test_an_object_is_not_asked_for_what_it_has() -> None:
    assert named(Hostile())["inside"].value == 1


@pytest.mark.parametrize("thing", [None, 1, "word", torch.ones(2), np.ones(2), torch, b"", 1j])
def test_plain_values_tensors_and_python_modules_have_no_places(thing: Any) -> None:
    assert list(slots(thing)) == []


def test_of_a_very_long_container_the_ends_are_reached() -> None:
    long = list(range(20_000))
    found = named(long)
    assert {"0", "19999"} <= found.keys()
    assert len(found) < 1000
