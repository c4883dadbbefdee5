"""State that programs keep in Python is seen, put back and kept, and looking leaves it alone."""

import io
import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyro_decomp.programs.program_state import ProgramState, preserving_rng_and_buffers
from tests.cost import calls_of
from tests.programs.program_state.kinds import KINDS, Kind

GLOBAL = {"model.COUNT", "model.count_globally.SETTINGS.count"}  # all programs of the row share it


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_what_a_run_moves_is_seen(kind: Kind) -> None:
    run = kind.make()
    state = ProgramState(model=run)
    run()
    assert state.moved_by(run) == {kind.path: kind.kind}


def test_looking_alters_nothing(kind: Kind) -> None:
    watched, alone = kind.make(), kind.make()
    found = [watched()]
    state = ProgramState(model=watched)
    state.start()
    for _ in range(3):
        before = state.fingerprint()
        snapshot = state.keep()
        state.values()
        assert state.fingerprint() == before
        assert state.put_back(snapshot) == []
        found.append(watched())
    again = kind.make() if kind.path in GLOBAL else alone
    assert found == [again() for _ in range(4)]


def test_what_was_moved_is_put_back(kind: Kind) -> None:
    run = kind.make()
    run()
    state = ProgramState(model=run)
    before, snapshot = state.fingerprint(), state.keep()
    first = [run(), run()]
    unable = state.put_back(snapshot)
    if not kind.may_be_put_back:
        assert unable == [kind.path]
        return
    assert unable == []
    assert state.fingerprint() == before
    assert [run(), run()] == first
    assert state.put_back(snapshot) == []  # as often as one likes
    assert [run(), run()] == first


def test_what_every_run_moves_is_known_and_put_back(kind: Kind) -> None:
    run, alone = kind.make(), kind.make()
    expected = alone()
    if kind.path in GLOBAL:
        run = kind.make()  # they share it
    state = ProgramState(model=run)
    state.look(run)
    assert state.moving == {kind.path: kind.kind}
    if kind.may_be_put_back:
        assert run() == expected
    assert state.unmoved(run) is not run


def test_a_checkpoint_keeps_it(kind: Kind, tmp_path: Path) -> None:
    run = kind.make()
    state = ProgramState(model=run)
    state.start()
    for _ in range(3):
        run()
    values, unkept = state.values()
    if not kind.may_be_kept:
        assert unkept
        assert all(path.startswith(kind.path) for path in unkept)
        return
    assert unkept == []
    torch.save(values, tmp_path / "values.pt")
    expected = run()
    restored = kind.make()
    loaded = torch.load(tmp_path / "values.pt", weights_only=True)
    state = ProgramState(model=restored)
    state.look(restored)
    assert state.load(loaded) == []
    assert restored() == expected


def test_what_the_programs_no_longer_keep_is_named() -> None:
    run = KINDS["closure variable"].make()
    assert ProgramState(model=run).load({"model.other.step": 1}) == ["model.other.step"]


class Filling:
    """Fills a cache in its first run, and counts in an object that this makes."""

    def __init__(self) -> None:
        self.cache: Any = None
        self.table: dict[int, Any] = {}

    def run(self) -> float:
        if self.cache is None:
            self.cache = [torch.linspace(0, 1, 5), {"made": True}]
        self.table.setdefault(3, torch.ones(2))
        return float(self.cache[0].sum())


def test_what_is_made_once_is_no_state_and_stays() -> None:
    program = Filling()
    state = ProgramState(model=program.run)
    state.look(program.run)
    assert state.moving == {}
    assert program.cache is not None
    assert state.values() == ({}, [])
    assert state.unmoved(program.run) == program.run


def test_global_generators_are_among_what_a_run_moves() -> None:
    def run() -> float:
        return float(np.random.rand())

    state = ProgramState(model=run)
    assert list(state.moved_by(run)) == ["numpy.random"]
    assert ProgramState(model=run).moved_by(lambda: None) == {}


def test_networks_are_left_out_with_their_parameters_and_buffers_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network.scale = torch.ones(2)
    state = ProgramState([network], model=network)
    state.start()
    network(torch.randn(4, 2))
    with torch.no_grad():
        network[0].weight.add_(1)
    network[1].running_mean = torch.ones(2)
    assert state.moved() == {}
    network.scale = torch.zeros(2)
    assert state.moved() == {"model.scale": "tensor"}
    assert ProgramState(model=network).fingerprint().marks.keys() > {"model.0.weight"}


def test_views_of_what_is_carried_are_left_out() -> None:
    network = nn.Linear(2, 2)
    kept = {"view": network.weight.detach()[0], "other": torch.zeros(2)}
    state = ProgramState([network], model=lambda: kept["view"])
    before = state.fingerprint()
    network.weight.data.add_(1.0)
    assert before == state.fingerprint()
    kept["other"].add_(1.0)
    assert list(before.difference(state.fingerprint())) == ["model.kept.other"]


def test_what_is_put_into_a_place_is_seen_at_once() -> None:
    settings, centre = {"scale": 1.0}, torch.zeros(2)
    state = ProgramState(model=lambda: (settings, centre))
    changed = state.watch()
    assert changed() == ""
    settings["scale"] = float("1.0")  # another object of the same value
    assert changed() == ""
    settings["scale"] = 2.0
    assert changed() == "model.settings"
    changed = state.watch()
    centre.add_(1.0)
    assert changed() == "model.centre"
    settings["x"] = centre  # which is no plain value
    changed = state.watch()
    del settings["scale"]
    assert changed() == "model.settings.scale"


def test_everything_is_put_back_afterwards() -> None:
    network = nn.BatchNorm1d(2)
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        network(torch.randn(4, 2))
        network.running_var = torch.zeros(2)
        np.random.rand()

    mean, variance = network.running_mean, network.running_var
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    with preserving_rng_and_buffers([run]):
        run()
    assert calls == []
    assert network.running_mean is mean
    assert network.running_var is variance
    assert torch.equal(variance, torch.ones(2))
    assert torch.equal(mean, torch.zeros(2))
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all()  # type: ignore[index]


def test_a_network_that_its_first_run_builds_stays_built() -> None:
    program = nn.Sequential(nn.LazyLinear(3))
    with preserving_rng_and_buffers([program]):
        program(torch.ones(2, 4))
    assert program(torch.ones(2, 4)).shape == (2, 3)


class Colour(Enum):
    RED = 1
    BLUE = 2


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError


def cycle() -> list[Any]:
    found: list[Any] = [1]
    found.append({"itself": found})
    return found


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(Hostile(), id="hostile object"),
        pytest.param([Hostile(), Hostile()], id="hostile objects in a list"),
        pytest.param(cycle(), id="cycle"),
        pytest.param(threading.Lock(), id="lock"),
        pytest.param(threading.current_thread(), id="thread"),
        pytest.param(io.StringIO("text"), id="file"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param([float("nan"), 1.0], id="not a number in a list"),
        pytest.param(Colour.RED, id="member of an enumeration"),
        pytest.param(Colour, id="class"),
        pytest.param(torch, id="Python module"),
        pytest.param(torch.empty(3, device="meta"), id="tensor without numbers"),
        pytest.param(torch.ones(3).to_sparse(), id="sparse tensor"),
        pytest.param(np.array([object()]), id="array of objects"),
        pytest.param(np.float32(2.0), id="number of numpy"),
        pytest.param(zip([1], iter([2]), strict=False), id="iterators in an iterator"),
    ],
)
def test_odd_things_neither_break_nor_alarm(thing: Any) -> None:
    def run() -> Any:
        return thing

    state = ProgramState(model=run)
    state.start()
    assert state.moved_by(run) == {}
    assert state.put_back(state.keep()) == []
    assert state.values() == ({}, [])


def test_a_value_that_becomes_another_type_is_seen() -> None:
    box = {"colour": Colour.RED, "on": False, "name": "a", "none": None, "list": [1]}

    def run() -> Any:
        return box

    state = ProgramState(model=run)
    state.start()
    box.update(colour=Colour.BLUE, on=True, name="b", none=0, list=(1,))
    assert set(state.moved()) == {f"model.box.{name}" for name in box}


def test_what_is_in_a_thing_that_was_replaced_is_not_named_too() -> None:
    class Program:
        def __init__(self) -> None:
            self.part: Any = None

        def run(self) -> None:
            self.part = [self, [1, 2]]

    program = Program()
    state = ProgramState(model=program.run)
    state.start()
    program.run()
    assert state.moved() == {"model.part": "value"}


def long_containers() -> Iterator[Any]:
    yield list(range(1_000_000))
    yield dict.fromkeys(range(1_000_000))
    yield set(range(1_000_000))
    yield [torch.ones(1) for _ in range(20_000)]
    yield np.zeros(10_000_000)


def test_a_fingerprint_costs_little() -> None:
    network = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(10)))
    huge = list(long_containers())

    def run() -> Any:
        return network, huge

    state = ProgramState([network], model=run)
    assert calls_of(state.fingerprint) < 50_000  # the containers hold millions
