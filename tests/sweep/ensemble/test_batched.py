import json
import math
import random
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from pyro_decomp.acceleration import Execution
from pyro_decomp.acceleration.batched.draws import Draws
from pyro_decomp.acceleration.capture import CaptureError
from pyro_decomp.sweep.ensemble import Member, Outcome, WorkItem, plan, train_item
from pyro_decomp.sweep.ensemble.batched import BatchedRuns
from pyro_decomp.sweep.ensemble.item_checkpoint import ItemCheckpoint, interrupted
from pyro_decomp.sweep.ensemble.member_run import MemberRun
from pyro_decomp.sweep.ensemble.single import train_single
from pyro_decomp.training import environments
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.run import load
from pyro_decomp.training.run_files.run_folder import RunFolder

pytestmark = pytest.mark.full

FILE = """
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.schedules import Linear

LOCS = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()


def prior():
    clusters = dist.Categorical(torch.ones(2).double())
    return pyro.sample("z", dist.MixtureSameFamily(clusters, dist.Normal(LOCS, 0.3).to_event(1)))


def experiment(
    *, alpha: float = 1.0, beta: float = 1.0, scale: float = 1.0, lr: float = 0.01,
    batch_size: int = 12, normalised: bool = False, scheduled: bool = False, own: bool = False,
    optimizer: str = "Adam", clip: float = 0.0, hidden: int = 3,
) -> Experiment:
    generator = None if own else torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, generator=generator, dtype=torch.double)
    encoder = MLPEncoder(4, 2, hidden=(hidden,))
    if normalised:
        encoder = nn.Sequential(nn.BatchNorm1d(4), encoder)
    vae = VAE(lambda: scale * prior(), encoder, MLPDecoder(2, 4, hidden=(3,)), size=12).double()
    return Experiment(
        vae.model,
        vae.guide,
        x,
        AggregateELBO(beta=beta, alpha=alpha),
        epochs=6,
        batch_size=batch_size,
        optimizer=partial(getattr(torch.optim, optimizer), lr=lr),
        clip_grad_norm=clip or None,
        schedules={"beta": Linear(0.0, 1.0, until=4)} if scheduled else {},
    )
"""


@pytest.fixture
def source(tmp_path: Path) -> ExperimentFile:
    path = tmp_path / "trial.py"
    path.write_text(FILE)
    return ExperimentFile.read(path)


STORED = """
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_decomp import VAE, BetaELBO, Experiment
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.networks import MLPEncoder

SIZE = 2500


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, z):
        return dist.Bernoulli(logits=self.linear(z)).to_event(1)


def experiment(*, is_bad: bool = False) -> Experiment:
    array = np.ones((SIZE, 3), dtype=np.uint8)
    array[2301, 0] = 7 if is_bad else 1
    prior = lambda: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    vae = VAE(prior, MLPEncoder(3, 2, hidden=()), Decoder(), size=SIZE)
    data = StoredArray(array)
    return Experiment(vae.model, vae.guide, data, BetaELBO(), epochs=2, batch_size=250)
"""


def members(*arguments: dict[str, Any], **shared: Any) -> list[Member]:
    return [
        Member(f"member {index}", {**shared, **each}, seed=10 + index)
        for index, each in enumerate(arguments)
    ]


def nobody(step: int, total: int) -> None:
    pass


def assert_as_alone(source: ExperimentFile, found: list[Member], out: Path) -> None:
    """Every member's run is that of the member trained by itself, to rounding."""
    for member in found:
        folder = out / "alone" / member.name
        assert train_single(source, member, folder).status == "finished"
        alone, together = load(folder), load(out / "members" / member.name)
        assert list(alone.history) == list(together.history)
        for name, column in alone.history.items():
            np.testing.assert_allclose(together.history[name], column, rtol=1e-9, err_msg=name)
        one, other = (RunFolder(run.path).read_checkpoint() for run in (alone, together))
        assert one is not None
        assert other is not None
        one["random"], other["random"] = one["random"]["torch"], other["random"]["torch"]
        assert_close(other, one, rtol=1e-8, atol=1e-10)
        how = {"execution", "environments"}
        config = {name: value for name, value in alone.config.items() if name not in how}
        assert config.items() <= together.config.items()


def assert_close(found: Any, wanted: Any, **tolerances: float) -> None:
    """Equal trees of tensors and plain values, tensors within tolerances."""
    for one, other in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        if isinstance(one, torch.Tensor):
            torch.testing.assert_close(one, other, **tolerances)
        else:
            assert one == other


WAYS: dict[str, dict[str, Any]] = {
    "full batch": {},
    "batches of their own order, BatchNorm": {"normalised": True, "batch_size": 5},
    "data of their own, RMSprop": {"own": True, "optimizer": "RMSprop"},
    "a schedule that begins at 0, clipped gradients": {
        "scheduled": True,
        "clip": 0.5,
        "optimizer": "SGD",
    },
}


@pytest.mark.full(but=["full batch"])
@pytest.mark.parametrize("name", WAYS)
def test_a_member_is_what_it_is_alone(name: str, source: ExperimentFile, tmp_path: Path) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.5, "beta": 0.5}, {"alpha": 0.25}, **WAYS[name])
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    steps = 6 * math.ceil(12 / WAYS[name].get("batch_size", 12))
    assert [(o.name, o.status, o.step) for o in outcomes] == [
        (member.name, "finished", steps) for member in found
    ]
    assert_as_alone(source, found, tmp_path)


def test_a_member_does_not_depend_on_its_neighbours(source: ExperimentFile) -> None:
    def values(found: list[Member], index: int) -> Any:
        together = BatchedRuns([MemberRun.of(source, member) for member in found])
        list(together.take_steps())
        return together.histories[index]

    found = members(*({"alpha": 1.0 + i} for i in range(5)))
    few, many = values(found[1:3], 0), values(found, 1)
    for name, column in few.items():
        np.testing.assert_allclose(many[name], column, rtol=1e-11)


def test_a_member_that_is_not_finite_is_set_aside(source: ExperimentFile, tmp_path: Path) -> None:
    # Weights of 1e200 make the objective finite and its gradient's norm not.
    found = members({"alpha": 1.0}, {"alpha": 1e200}, {"alpha": 2.0})
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    first, second, third = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert (first.status, second.status, third.status) == ("finished", "not finite", "finished")
    assert second.step == 0
    assert "step 1" in second.message
    assert load(tmp_path / "members" / second.name).step == 0
    assert_as_alone(source, [found[0], found[2]], tmp_path)


def test_a_member_that_diverges_is_told_of_as_it_is_alone(
    source: ExperimentFile, tmp_path: Path
) -> None:
    found = members({"lr": 0.01}, {"lr": 1e100}, optimizer="SGD", batch_size=5)
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    _, second = train_item(source, item, tmp_path, device="cpu", report=nobody)
    alone = train_single(source, found[1], tmp_path / "alone", device="cpu", report=nobody)
    assert (second.status, second.step) == ("not finite", 1)
    assert second.message == alone.message
    assert "step 2: " in second.message
    assert "try a smaller learning rate" in second.message


@pytest.mark.parametrize("broken_after", [3, 6])  # of 6 steps
def test_a_member_whose_parameters_are_not_finite_is_left_to_be_told_of_alone(
    source: ExperimentFile, broken_after: int
) -> None:
    runs = [MemberRun.of(source, member) for member in members({"alpha": 1.0}, {"alpha": 2.0})]
    together = BatchedRuns(runs)
    for step in together.take_steps():
        if step == broken_after:
            together._steps._stacked.trained[0].data[1] = math.inf
    together.save()
    assert (list(together.departed), together.set_aside) == ([1], {})


@pytest.mark.parametrize("bad", [(False, True), (True, True)])
def test_data_that_cannot_be_trained_on_are_left_to_be_told_of_alone(
    bad: tuple[bool, ...], tmp_path: Path
) -> None:
    source = ExperimentFile.from_source(STORED, tmp_path / "stored.py")
    found = [Member(f"m{n}", {"is_bad": each}, n) for n, each in enumerate(bad)]
    together = BatchedRuns([MemberRun.of(source, member) for member in found])
    steps = list(together.take_steps())
    assert set(together.departed) == {n for n, is_bad in enumerate(bad) if is_bad}
    assert all("row 2301, column 0 with 7" in why for why in together.departed.values())
    if not all(bad):
        assert len(steps) == together.total_steps
        item = WorkItem(tuple(found), is_batched=True, why="to see")
        outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
        assert {o.name: o.status for o in outcomes} == {"m0": "finished", "m1": "failed"}
        alone = train_single(source, found[0], tmp_path / "alone", device="cpu", report=nobody)
        assert alone.step == outcomes[0].step


def test_a_stopped_item_goes_on_to_the_same_bits(source: ExperimentFile) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.0}, batch_size=6, normalised=True)

    def fresh() -> BatchedRuns:
        return BatchedRuns([MemberRun.of(source, member) for member in found])

    whole, begun = fresh(), fresh()
    list(whole.take_steps())
    steps = begun.take_steps()
    for _ in range(7):
        next(steps)
    resumed = fresh()
    resumed.load_state_dict(begun.state_dict())
    list(resumed.take_steps())
    for index in range(len(found)):
        one, other = whole.checkpoint(index), resumed.checkpoint(index)
        assert_close(one, other, rtol=0, atol=0)
        np.testing.assert_equal(whole.histories[index], resumed.histories[index])  # with NaN


def test_an_item_in_progress_is_planned_again_as_it_was(
    source: ExperimentFile, tmp_path: Path
) -> None:
    found = members(*({"alpha": 1.0 + i} for i in range(4)))
    item = WorkItem((found[2], found[0]), is_batched=True, why="before")
    together = BatchedRuns([MemberRun.of(source, member) for member in item.members])
    next(steps := together.take_steps())
    file = ItemCheckpoint(tmp_path, item)
    file.begin()
    file.write(together.state_dict())
    assert [begun.members for begun in interrupted(tmp_path)] == [["member 2", "member 0"]]
    first, *others = plan(source, found, out=tmp_path)
    assert (first.members, first.is_batched, first.why) == (item.members, True, "before")
    assert {m.name for other in others for m in other.members} == {"member 1", "member 3"}
    list(steps)
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert [outcome.step for outcome in outcomes] == [6, 6]
    kept = RunFolder(tmp_path / "members" / "member 2").read_checkpoint()
    assert_close(kept, together.checkpoint(0), rtol=0, atol=0)
    assert not interrupted(tmp_path)


@pytest.mark.parametrize("is_other", [True, False], ids=["another torch", "the same"])
def test_an_item_that_goes_on_elsewhere_says_so(
    is_other: bool, source: ExperimentFile, tmp_path: Path
) -> None:
    item = WorkItem(tuple(members({"alpha": 1.0}, {"alpha": 2.0})), is_batched=True, why="to see")
    together = BatchedRuns([MemberRun.of(source, member) for member in item.members])
    list(islice(together.take_steps(), 3))
    execution = Execution("captured", threads=1)
    before = environments.environment(execution, torch.device("cpu"), 1)
    if is_other:
        before["versions"] = before["versions"] | {"torch": "1.0"}
    together.environments = [before]
    file = ItemCheckpoint(tmp_path, item)
    file.begin()
    file.write(together.state_dict())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train_item(source, item, tmp_path, device="cpu", report=nobody)
    said = [str(each.message) for each in told if each.category is ExecutionWarning]
    assert len(said) == is_other
    for sentence in said:
        assert sentence.startswith(
            "member 0 and those that train with it: from step 4 on with torch "
        )
    for member in item.members:
        found = RunFolder(tmp_path / "members" / member.name).read_config()["environments"]
        assert [each["from_step"] for each in found] == ([1, 4] if is_other else [1])
        assert found[0] == before


def test_files_of_items_of_another_version_are_begun_again(
    source: ExperimentFile, tmp_path: Path
) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.0})
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    file = ItemCheckpoint(tmp_path, item)
    file.begin()
    file.write({"step": 3})
    (begun,) = (tmp_path / "items").glob("*.json")
    begun.write_text(json.dumps({"members": ["member 0"], "why": "", "compiled": False}))
    assert not interrupted(tmp_path)
    assert not begun.exists()
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert [outcome.step for outcome in outcomes] == [6, 6]
    assert not list((tmp_path / "items").iterdir())


def test_a_damaged_file_of_an_item_is_begun_again(source: ExperimentFile, tmp_path: Path) -> None:
    item = WorkItem(tuple(members({}, {})), is_batched=True, why="to see")
    file = ItemCheckpoint(tmp_path, item)
    file.write({"step": 3})
    path = next((tmp_path / "items").glob("*.pt"))
    path.write_bytes(path.read_bytes()[:20])
    assert file.read() is None
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert [outcome.status for outcome in outcomes] == ["finished", "finished"]


@pytest.mark.parametrize("changes", [{"runs": ["a", "b"]}, {"backend": "fused"}])
def test_a_file_of_another_item_is_not_gone_on_with(
    source: ExperimentFile, tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.0})
    batch = BatchedRuns([MemberRun.of(source, member) for member in found])
    file = ItemCheckpoint(tmp_path, WorkItem(tuple(found), is_batched=True, why=""))
    file.write(batch.state_dict())
    state = file.read()
    assert state is not None
    assert batch.is_mine(state)
    del state["runs"]  # as an older version wrote it
    assert batch.is_mine(state)
    assert not batch.is_mine(state | changes)
    path = next((tmp_path / "items").glob("*.pt"))
    whole, at = path.read_bytes(), random.Random(0)
    for _ in range(20):
        changed = bytearray(whole)
        changed[at.randrange(len(whole))] ^= 1
        path.write_bytes(changed)
        assert file.read() is None


def groups(items: list[WorkItem]) -> list[tuple[bool, list[str]]]:
    return sorted((item.is_batched, [m.name[-1] for m in item.members]) for item in items)


def test_members_of_one_computation_graph_are_grouped(source: ExperimentFile) -> None:
    found = members(
        {"alpha": 1.0},
        {"alpha": 2.0, "beta": 0.1},
        {"alpha": 0.0},  # nothing is computed of the divergence
        {"alpha": 3.0, "scale": 2.0},  # a constant of the program
        {"alpha": 0.0, "beta": 3.0},
        {"hidden": 5},
        {"scale": 2.0},
        {"lr": 0.1},
    )
    assert groups(plan(source, found, way="batched")) == [
        (False, ["5"]),
        (False, ["7"]),
        (True, ["0", "1"]),
        (True, ["2", "4"]),
        (True, ["3", "6"]),
    ]


@pytest.mark.fast
def test_seeds_make_no_difference_to_the_plan(source: ExperimentFile) -> None:
    found = [Member(f"seed {seed}", {"own": True}, seed) for seed in range(3)]
    (item,) = plan(source, found, way="batched")
    assert item.is_batched
    assert item.members == tuple(found)


@pytest.mark.fast
def test_what_is_done_soon_trains_alone(source: ExperimentFile) -> None:
    (why,) = {item.why for item in plan(source, members({"alpha": 1.0}, {"alpha": 2.0}))}
    assert why == "it takes less time than to prepare what would train them together"


def test_no_batch_is_of_one(source: ExperimentFile) -> None:
    found = members(*({"alpha": 1.0 + number} for number in range(3)))
    items = plan(source, found, way="batched", num_workers=8)
    assert [len(item.members) for item in items] == [3]
    found = members(*({"alpha": 1.0 + number} for number in range(4)))
    items = plan(source, found, way="batched", num_workers=8)
    assert [len(item.members) for item in items] == [2, 2]


@pytest.mark.fast
def test_what_trains_alone_says_why(source: ExperimentFile) -> None:
    found = members({"optimizer": "Rprop"}, {"optimizer": "Rprop"}, {"alpha": 1.0})
    why = {item.why for item in plan(source, found)}
    assert why == {
        "the optimiser Rprop is not known to treat numbers one by one",
        "no other member has the same computation graph",
    }
    assert {item.why for item in plan(source, found, way="processes")} == {"as was asked for"}
    assert not any(item.is_batched for item in plan(source, found, way="processes"))


def test_a_member_in_the_wrong_company_trains_alone(source: ExperimentFile, tmp_path: Path) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.0}, {"scale": 3.0})
    item = WorkItem(tuple(found), is_batched=True, why="a mistake")
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert {o.name: o.status for o in outcomes} == {m.name: "finished" for m in found}
    assert_as_alone(source, found, tmp_path)


def test_a_member_whose_file_fails_takes_none_with_it(
    source: ExperimentFile, tmp_path: Path
) -> None:
    found = members({"alpha": 1.0}, {"optimizer": "Absent"}, {"alpha": 2.0})
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    outcomes = {o.name: o for o in train_item(source, item, tmp_path, device="cpu", report=nobody)}
    assert outcomes["member 1"].status == "failed"
    assert "Absent" in outcomes["member 1"].message
    assert outcomes["member 0"].status == outcomes["member 2"].status == "finished"


@pytest.mark.fast
def test_what_cannot_be_captured_trains_alone(
    source: ExperimentFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise CaptureError("it is Tuesday")

    monkeypatch.setattr("pyro_decomp.acceleration.batched.steps.capture", refuse)
    item = WorkItem(tuple(members({}, {})), is_batched=True, why="to see")
    outcomes: list[Outcome] = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert [outcome.status for outcome in outcomes] == ["finished", "finished"]


def test_draws_are_those_of_each_generator_by_itself() -> None:
    def draw(scale: torch.Tensor) -> list[torch.Tensor]:
        return [scale * torch.empty(2).normal_()]

    states = [torch.Generator().manual_seed(seed).get_state() for seed in (3, 4)]
    draws = Draws(states, [torch.tensor([3.0, 4.0])])
    for step in range(70):  # more than are held at once
        (drawn,) = draws.next(draw, steps=70 - step)
        for member, seed in enumerate((3, 4)):
            generator = torch.Generator().manual_seed(seed)
            for _ in range(step):
                torch.empty(2).normal_(generator=generator)
            wanted = seed * torch.empty(2).normal_(generator=generator)
            assert torch.equal(drawn[member], wanted)
            assert torch.equal(draws.generator(member), generator.get_state())


def test_draws_of_other_shapes_take_over_where_the_last_ended() -> None:
    def draw(size: int) -> Callable[[], list[torch.Tensor]]:
        return lambda: [torch.rand(size)]

    large, small = draw(7), draw(3)
    draws = Draws([torch.Generator().manual_seed(3).get_state()])
    found = [draws.next(each, steps=5)[0][0] for each in (large, large, small, large, small)]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        wanted = [torch.rand(size) for size in (7, 7, 3, 7, 3)]
    assert all(map(torch.equal, found, wanted))
