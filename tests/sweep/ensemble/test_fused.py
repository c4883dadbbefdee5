"""Members that train together by fused steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp import train
from pyro_decomp.acceleration import Execution
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.seeds import set_seed
from pyro_decomp.sweep.ensemble import Member, WorkItem, train_item
from pyro_decomp.sweep.ensemble.batched import BatchedRuns
from pyro_decomp.sweep.ensemble.member_run import MemberRun
from pyro_decomp.sweep.ensemble.single import train_single
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import load
from tests.sweep.ensemble.test_batched import FILE, assert_close, members, nobody

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(library.why_not()), reason="no C compiler"),
]

WAYS: dict[str, dict[str, Any]] = {
    "full batch": {},
    "batches of their own order, clipped": {"batch_size": 5, "clip": 0.5},
    "data of their own, a schedule that begins at 0": {"own": True, "scheduled": True},
}


@pytest.fixture
def source(tmp_path: Path) -> ExperimentFile:
    path = tmp_path / "trial.py"
    path.write_text(FILE)
    return ExperimentFile.read(path)


def trained(source: ExperimentFile, found: list[Member], out: Path) -> list[str]:
    """How the members' runs say that they were computed."""
    item = WorkItem(tuple(found), is_batched=True, why="to see", backend="fused")
    outcomes = train_item(source, item, out, device="cpu", report=nobody)
    assert [outcome.status for outcome in outcomes] == ["finished"] * len(found)
    runs = [load(out / "members" / member.name) for member in found]
    return [run.config["execution"]["steps"] for run in runs]


@pytest.mark.parametrize("name", WAYS)
def test_a_member_is_what_it_is_alone(name: str, source: ExperimentFile, tmp_path: Path) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.5, "beta": 0.5}, {"alpha": 0.25}, **WAYS[name])
    assert trained(source, found, tmp_path) == ["fused"] * 3
    for member in found:
        train_single(source, member, tmp_path / "alone" / member.name)
        alone, together = (
            load(tmp_path / kind / member.name) for kind in ("alone", "members")
        )  # the first by running its programs
        for column, values in alone.history.items():
            np.testing.assert_allclose(together.history[column], values, rtol=1e-9, err_msg=column)
        for parameter, value in alone.state.parameters.items():
            same = together.state.parameters[parameter]
            torch.testing.assert_close(same, value, rtol=1e-8, atol=1e-10)


def test_its_checkpoint_is_that_of_a_fused_run(source: ExperimentFile, tmp_path: Path) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.5})
    trained(source, found, tmp_path)
    for member in found:
        own = ExperimentFile.from_source(source.source, source.path, seed=member.seed)
        set_seed(member.seed)
        experiment = own.build(member.arguments)
        fused = Execution("fused")
        alone = train(experiment, tmp_path / member.name, seed=member.seed, execution=fused)
        one, other = (
            run.folder.read_checkpoint()
            for run in (alone, load(tmp_path / "members" / member.name))
        )
        assert one is not None
        assert other is not None
        one["random"], other["random"] = one["random"]["torch"], other["random"]["torch"]
        assert_close(other, one, rtol=1e-9, atol=1e-12)


@pytest.mark.full
@pytest.mark.fast
def test_what_cannot_be_fused_is_captured(source: ExperimentFile, tmp_path: Path) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.5}, normalised=True)
    assert trained(source, found, tmp_path) == ["captured"] * 2


def test_a_stopped_item_goes_on_to_the_same_bits(source: ExperimentFile) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.0}, batch_size=6)

    def fresh() -> BatchedRuns:
        return BatchedRuns([MemberRun.of(source, member) for member in found], backend="fused")

    whole, begun = fresh(), fresh()
    list(whole.take_steps())
    steps = begun.take_steps()
    for _ in range(7):
        next(steps)
    resumed = fresh()
    resumed.load_state_dict(begun.state_dict())
    list(resumed.take_steps())
    for index in range(len(found)):
        assert_close(whole.checkpoint(index), resumed.checkpoint(index), rtol=0, atol=0)
        np.testing.assert_equal(whole.histories[index], resumed.histories[index])  # with NaN


def test_a_member_does_not_depend_on_its_neighbours(source: ExperimentFile) -> None:
    found = members({"alpha": 1.0}, {"alpha": 2.0, "lr": 0.01}, {"alpha": 3.0})

    def checkpoint(of: list[Member], index: int) -> Any:
        together = BatchedRuns(
            [MemberRun.of(source, member) for member in of], ["alpha"], backend="fused"
        )
        list(together.take_steps())
        return together.checkpoint(index)

    torch.testing.assert_close(
        checkpoint(found, 1)["optimizer"], checkpoint(found[1:], 0)["optimizer"], rtol=0, atol=0
    )


def test_a_member_that_is_not_finite_is_set_aside(source: ExperimentFile) -> None:
    found = members({"alpha": 1.0}, {"alpha": 1e300}, {"alpha": 3.0})
    together = BatchedRuns([MemberRun.of(source, member) for member in found], backend="fused")
    list(together.take_steps())
    assert list(together.set_aside) == [1]
    assert "gradient" in together.set_aside[1][0] or "objective" in together.set_aside[1][0]
    for index in (0, 2):
        assert np.isfinite(together.histories[index]["objective"]).all()
        assert len(together.histories[index]["step"]) == 6
