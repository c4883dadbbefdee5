"""What holds for a run alone holds for one that is trained with others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp import train
from pyro_decomp.acceleration import Execution
from pyro_decomp.acceleration.backends import StepOutputs
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.sweep.ensemble import Member, WorkItem, plan, train_item
from pyro_decomp.sweep.ensemble.batched import BatchedRuns
from pyro_decomp.sweep.ensemble.member_run import MemberRun
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run, load
from tests.sweep.ensemble.stateful import FILE
from tests.sweep.ensemble.test_batched import assert_close, nobody

pytestmark = pytest.mark.full

fused = pytest.param(
    "fused", marks=pytest.mark.skipif(bool(library.why_not()), reason="no C compiler")
)
HOW = ["captured", fused, pytest.param("compiled", marks=pytest.mark.slow)]
TOGETHER = ["assigned", "clusters of a seed", "decay by shape", "Adagrad", "normalised"]
ALONE = {
    "counter": "every run of the programs changes model.calls, which Python keeps",
    "global": "every run of the programs changes ",
    "hook": "hooks run at the optimiser's steps, and may change what the programs compute",
}


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Audits at all powers of two, however slow the machine; the default type as it was."""
    monkeypatch.setattr("pyro_decomp.acceleration.verification.LEAST", 1e9)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def source(tmp_path: Path) -> ExperimentFile:
    path = tmp_path / "stateful.py"
    path.write_text(FILE)
    return ExperimentFile.read(path)


def members(kind: str, number: int = 3, **arguments: Any) -> list[Member]:
    return [
        Member(f"m{seed}", {"kind": kind, "beta": 1.0 + seed, **arguments}, seed=seed)
        for seed in range(number)
    ]


def by_programs(source: ExperimentFile, member: Member, folder: Path) -> Run:
    eager = Execution("eager")
    return train(source, folder, seed=member.seed, execution=eager, arguments=member.arguments)


def assert_as_by_programs(
    source: ExperimentFile, found: list[Member], how: str, out: Path, *, is_batched: bool = True
) -> list[str]:
    """Every member's run is that of its programs alone; why each says that it trained alone."""
    item = WorkItem(tuple(found), is_batched=True, why="to see", backend=how)
    outcomes = train_item(source, item, out, device="cpu", report=nobody)
    assert [(o.status, o.message) for o in outcomes] == [("finished", "")] * len(found)
    assert [o.is_batched for o in outcomes] == [is_batched] * len(found)
    for member in found:
        eager = by_programs(source, member, out / "eager" / member.name)
        other = load(out / "members" / member.name)
        assert list(other.history) == list(eager.history)
        for name, column in eager.history.items():
            np.testing.assert_allclose(other.history[name], column, rtol=1e-9, err_msg=name)
        one, its = eager.state.tensors(), other.state.tensors()
        torch.testing.assert_close(its, one, rtol=1e-8, atol=1e-10)
    return [reason(out, member) for member in found]


def reason(out: Path, member: Member) -> str:
    config = json.loads((out / "members" / member.name / "config.json").read_text())
    told: str = config["execution"]["why"]
    return told


@pytest.mark.full(but=["Adagrad-captured"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", TOGETHER)
def test_members_are_what_their_programs_compute(
    kind: str, how: str, source: ExperimentFile, tmp_path: Path
) -> None:
    assert_as_by_programs(source, members(kind), how, tmp_path)


def test_a_stopped_batch_goes_on_with_draws_of_its_own_buffers(source: ExperimentFile) -> None:
    def fresh() -> BatchedRuns:
        return BatchedRuns([MemberRun.of(source, m) for m in members("clusters of a seed", 2)])

    whole, begun, resumed = fresh(), fresh(), fresh()
    list(whole.take_steps())
    steps = begun.take_steps()
    for _ in range(7):
        next(steps)
    resumed.load_state_dict(begun.state_dict())
    list(resumed.take_steps())
    np.testing.assert_equal(resumed.histories, whole.histories)
    for index in range(2):
        assert_close(whole.checkpoint(index), resumed.checkpoint(index), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ALONE)
def test_programs_that_python_moves_train_alone(
    kind: str, source: ExperimentFile, tmp_path: Path
) -> None:
    found = members(kind, 2, epochs=25)
    told = assert_as_by_programs(source, found, "captured", tmp_path, is_batched=False)
    assert all(ALONE[kind] in each for each in told)
    items = plan(source, found, way="batched")
    assert [(item.is_batched, ALONE[kind] in item.why) for item in items] == [(False, True)] * 2


def test_gradients_that_hooks_change_train_alone(source: ExperimentFile, tmp_path: Path) -> None:
    found = members("masked gradients", 2)
    told = assert_as_by_programs(source, found, "captured", tmp_path, is_batched=False)
    assert all("the gradient by decoder.weight comes out otherwise" in each for each in told)


def test_buffers_of_another_type_train_alone(source: ExperimentFile, tmp_path: Path) -> None:
    found = members("another type", 2)
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert [(o.status, o.is_batched) for o in outcomes] == [("finished", False)] * 2
    assert "of shape () (torch.int64) one of shape ()" in reason(tmp_path, found[0])


LAST_BATCH = {
    "assigned in the last batch": "the smaller last batch of an epoch changes other buffers",
    "evaluated in the last batch": "they change decoder.training as they run",
}


@pytest.mark.parametrize("kind", LAST_BATCH)
def test_what_only_the_last_batch_changes_is_trained_alone(
    kind: str, source: ExperimentFile, tmp_path: Path
) -> None:
    found = members(kind, 2)
    told = assert_as_by_programs(source, found, "captured", tmp_path, is_batched=False)
    assert all(LAST_BATCH[kind] in each for each in told)
    items = plan(source, found, way="batched")
    assert [(item.is_batched, LAST_BATCH[kind] in item.why) for item in items] == [
        (False, True)
    ] * 2


def test_constants_of_their_own_keep_members_apart(source: ExperimentFile, tmp_path: Path) -> None:
    found = members("constant of a seed", 3)
    items = plan(source, found, way="batched")
    assert not any(item.is_batched for item in items)
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    train_item(source, item, tmp_path, device="cpu", report=nobody)
    for member in found:
        eager = by_programs(source, member, tmp_path / "eager" / member.name)
        other = load(tmp_path / "members" / member.name)
        np.testing.assert_allclose(other.history["elbo"], eager.history["elbo"], rtol=1e-9)


@pytest.mark.fast
def test_a_plan_tells_of_constants_that_differ_by_seed(source: ExperimentFile) -> None:
    found = [Member(f"m{seed}", {"kind": "constant of a seed"}, seed) for seed in range(3)]
    items = plan(source, found, way="batched")
    why = "what the programs compute differs by seed: a constant drawn at random can be a buffer"
    assert [(item.is_batched, item.why) for item in items] == [(False, why)] * 3


def spoilt(monkeypatch: pytest.MonkeyPatch, member: int, step: int, what: str) -> None:
    """Let a batch compute something wrong for one member at one step."""
    computed = BatchedRuns._results

    def results(self: BatchedRuns, batch: Any) -> StepOutputs:
        found = computed(self, batch)
        if self.step + 1 == step and len(self.runs) > member:
            wrong = getattr(found, what)
            wrong = wrong[1] if isinstance(wrong, list) else wrong
            wrong[member].mul_(1 + 1e-6)
        return found

    monkeypatch.setattr(BatchedRuns, "_results", results)


@pytest.mark.full
@pytest.mark.parametrize("what", ["values", "gradients", "buffers"])
def test_a_member_that_departs_at_the_end_trains_again_alone(
    what: str, source: ExperimentFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(monkeypatch, 1, 18, what)
    found = members("normalised")
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert {o.name: o.is_batched for o in outcomes} == {"m0": True, "m1": False, "m2": True}
    told = {"values": "objective of a step", "gradients": "gradient by", "buffers": "the buffer"}
    assert told[what] in reason(tmp_path, found[1])
    for member in found:
        eager = by_programs(source, member, tmp_path / "eager" / member.name)
        other = load(tmp_path / "members" / member.name)
        np.testing.assert_allclose(other.history["elbo"], eager.history["elbo"], rtol=1e-9)


@pytest.mark.fast
def test_members_are_looked_at_in_turn(
    source: ExperimentFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(monkeypatch, 2, 4, "values")  # of the steps 2, 4, 8 and 16
    found = members("normalised")
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    outcomes = train_item(source, item, tmp_path, device="cpu", report=nobody)
    assert [outcome.is_batched for outcome in outcomes] == [True, True, False]
    assert outcomes[-1].name == "m2"
    assert "by the programs as" in reason(tmp_path, found[2])


def test_audits_leave_the_bits_as_they_are(
    source: ExperimentFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = WorkItem(tuple(members("assigned")), is_batched=True, why="to see")
    for out in ("often", "never"):
        train_item(source, item, tmp_path / out, device="cpu", report=nobody)
        monkeypatch.setattr(
            "pyro_decomp.acceleration.batched.verification.BatchVerification.due", lambda *_: []
        )
    for path in (tmp_path / "often" / "members").glob("*/*"):
        if path.name in ("history.csv", "checkpoint.pt"):
            other = tmp_path / "never" / "members" / path.parent.name / path.name
            assert path.read_bytes() == other.read_bytes()


def test_members_that_share_what_a_module_keeps_train_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared_by_members.py").write_text("width = 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "stateful.py"
    text = FILE.replace("return self.width", "return shared_by_members.width")
    text = text.replace(
        "    program = Program", "    shared_by_members.width = beta\n    program = Program"
    )
    path.write_text(f"import shared_by_members\n{text}")
    source = ExperimentFile.read(path)
    found = members("assigned", 2)
    item = WorkItem(tuple(found), is_batched=True, why="to see")
    train_item(source, item, tmp_path, device="cpu", report=nobody)
    for member in found:
        eager = by_programs(source, member, tmp_path / "eager" / member.name)
        other = load(tmp_path / "members" / member.name)
        np.testing.assert_allclose(other.history["elbo"], eager.history["elbo"], rtol=1e-9)
    assert "another member has changed" in reason(tmp_path, found[0])
