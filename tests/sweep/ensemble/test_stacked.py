"""Members whose tensors have one number, or none, train together as others do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.sweep.ensemble import Member, WorkItem, plan, train_item
from pyro_decomp.sweep.ensemble.single import train_single
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import load
from tests.sweep.ensemble.test_batched import nobody

pytestmark = pytest.mark.full

FILE = """
import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import nn

from pyro_decomp import BetaELBO, Experiment
from pyro_decomp.schedules import Linear


class Program(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)
        self.prior_scale = 2.0
        if kind == "number":
            self.log_scale = nn.Parameter(torch.tensor(0.1))
        elif kind == "nothing":
            self.none = nn.Parameter(torch.zeros(0))
        elif kind == "frozen":
            self.log_scale = nn.Parameter(torch.tensor(0.1), requires_grad=False)
        elif kind == "buffers":
            self.register_buffer("mean", torch.tensor(1.0))
            self.register_buffer("count", torch.tensor(0))

    def scale(self, h):
        if self.kind == "pyro":
            return pyro.param("scale", torch.tensor(1.5), constraint=constraints.positive)
        if self.kind == "nothing":
            return 1.0 + self.none.sum()
        if self.kind == "buffers":
            self.mean.mul_(0.9).add_(0.1 * h.detach().square().mean())
            self.count.add_(1)
            return 1.0 + self.mean / self.count
        return self.log_scale.exp()

    def model(self, x):
        with pyro.plate("data", 12, subsample=x):
            prior = dist.Normal(torch.zeros(2), self.prior_scale).to_event(1)
            z = pyro.sample("z", prior)
            h = self.decoder(z)
            pyro.sample("x", dist.Normal(h, self.scale(h)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", 12, subsample=x):
            h = self.encoder(x)
            pyro.sample("z", dist.Normal(h[:, :2], h[:, 2:].exp()).to_event(1))


def experiment(
    kind: str = "number", beta: float = 1.0, end: float = 0.0, epochs: int = 6
) -> Experiment:
    torch.set_default_dtype(torch.float64)
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    program = Program(kind).double()
    schedules = {"model.prior_scale": Linear(2.0, end)} if end else {}
    return Experiment(
        program.model, program.guide, x, BetaELBO(beta), epochs=epochs, schedules=schedules
    )
"""
HOW = [
    "captured",
    pytest.param(
        "fused", marks=pytest.mark.skipif(bool(library.why_not()), reason="no C compiler")
    ),
    pytest.param("compiled", marks=pytest.mark.slow),
]
KINDS = ["number", "nothing", "frozen", "buffers", "pyro"]


@pytest.fixture(autouse=True)
def double() -> Any:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def source(tmp_path: Path) -> ExperimentFile:
    path = tmp_path / "small.py"
    path.write_text(FILE)
    return ExperimentFile.read(path)


def assert_as_alone(source: ExperimentFile, found: list[Member], how: str, out: Path) -> None:
    item = WorkItem(tuple(found), is_batched=True, why="to see", backend=how)
    outcomes = train_item(source, item, out, device="cpu", report=nobody)
    assert [(o.status, o.is_batched, o.message) for o in outcomes] == [("finished", True, "")] * 3
    for member in found:
        train_single(source, member, out / "alone" / member.name)
        alone, together = (load(out / part / member.name) for part in ("alone", "members"))
        assert list(together.history) == list(alone.history)
        for name, column in alone.history.items():
            np.testing.assert_allclose(together.history[name], column, rtol=1e-9, err_msg=name)
        one, other = (run.state.tensors() for run in (alone, together))
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


@pytest.mark.full(but=["nothing-captured"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_one_number_or_none(
    kind: str, how: str, source: ExperimentFile, tmp_path: Path
) -> None:
    found = [Member(f"m{seed}", {"kind": kind, "beta": 1.0 + seed}, seed=seed) for seed in range(3)]
    assert_as_alone(source, found, how, tmp_path)


@pytest.mark.parametrize("how", HOW[:2])
def test_each_member_has_its_own_schedule(how: str, source: ExperimentFile, tmp_path: Path) -> None:
    found = [Member(f"m{end}", {"end": end}, seed=3) for end in (0.5, 1.0, 3.0)]
    assert_as_alone(source, found, how, tmp_path)
    for member, end in zip(found, (0.5, 1.0, 3.0), strict=True):
        run = load(tmp_path / "members" / member.name)
        assert run.history["model.prior_scale"] == pytest.approx(np.linspace(2, end, 7)[1:])
        assert run.experiment.number("model.prior_scale").get() == end
        assert run.config["schedules"] == {
            "model.prior_scale": pytest.approx([2 + (end - 2) / 6, end])
        }


def test_they_are_planned_together(source: ExperimentFile) -> None:
    for arguments in ({"kind": "number"}, {"end": 0.5}):
        found = [Member(f"m{seed}", {**arguments, "epochs": 10**5}, seed=seed) for seed in range(2)]
        (item,) = plan(source, found)
        assert item.is_batched


@pytest.mark.fast
def test_why_members_train_alone_is_told_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(FILE.replace("self.prior_scale)", "torch.tensor([self.prior_scale, 1.0]))"))
    found = [Member(f"m{seed}", {"end": 0.5, "epochs": 10**5}, seed=seed) for seed in range(2)]
    items = plan(ExperimentFile.read(path), found)
    assert [
        (item.is_batched, "model.prior_scale is used by Python" in item.why) for item in items
    ] == [(False, True)] * 2
