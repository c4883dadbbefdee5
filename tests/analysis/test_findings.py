"""Sentences on a run, each on runs of which it is known to be true or false."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, BetaELBO, Experiment, train
from pyro_decomp.analysis import findings
from pyro_decomp.analysis.findings import collapse, convergence, final_terms, overfit
from pyro_decomp.data.batches import Data
from pyro_decomp.schedules import Linear
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare

N = 40
DATA = torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
ZERO = torch.zeros(3, dtype=torch.double)
CLUSTERS = dist.MixtureSameFamily(
    dist.Categorical(torch.ones(2, dtype=torch.double)),
    dist.Normal(torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.double), 0.5).to_event(1),
)


def build(folder: Path, kept: Any = (1.0, 1.0, 1.0), prior: Any = None, **settings: Any) -> Run:
    """z|x ~ N(kept * x, 1), where a dimension that is not kept is the prior's."""
    layer = nn.Linear(1, 1, dtype=torch.double)
    kept = torch.tensor(kept, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", prior or dist.Normal(ZERO, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(kept * x + 0 * layer(x[:, :1]), 1.0).to_event(1))

    trial = Experiment(model, guide, data=DATA, **{"elbo": BetaELBO()} | settings)
    return finish(RunFolder(folder), trial, prepare(trial), {}, trial.total_steps)


def with_history(run: Run, objective: Any) -> Run:
    run.history = {"step": np.arange(1.0, len(objective) + 1), "objective": np.asarray(objective)}
    return run


def noise(seed: int, size: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


def test_an_objective_that_rises_is_said_to(tmp_path: Path) -> None:
    steps = np.arange(1000.0)
    said = convergence(with_history(build(tmp_path), 0.01 * steps + noise(0)))
    rise = float(said.split("rose by ")[1].split(" ")[0])
    assert abs(rise - 1.0) < 4.3 * math.sqrt(2 / 100)  # a hundred steps of 0.01, in the mean
    assert said.endswith("nats over the last tenth of the run: train longer")
    assert "fell by" in convergence(with_history(build(tmp_path), -0.01 * steps + noise(1)))


def test_noise_is_no_rise(tmp_path: Path) -> None:
    """4 standard errors are exceeded once in 16,000 runs; here are 200."""
    run = build(tmp_path)
    assert not any(convergence(with_history(run, noise(seed))) for seed in range(200))


@pytest.mark.parametrize("size", [0, 1, 99])
def test_of_a_short_run_nothing_is_said(tmp_path: Path, size: int) -> None:
    assert not convergence(with_history(build(tmp_path), np.arange(float(size))))


def test_an_objective_that_a_schedule_moves_tells_nothing(tmp_path: Path) -> None:
    rising = np.arange(100.0)
    moved = {"elbo.beta": Linear(0.0, 1.0, until=1.0)}
    assert not convergence(with_history(build(tmp_path, schedules=moved), rising))
    done = {"elbo.beta": Linear(0.0, 1.0, until=0.5)}
    assert convergence(with_history(build(tmp_path, schedules=done), rising))


@pytest.mark.parametrize("prior", [None, CLUSTERS], ids=["Normal", "mixture"])
def test_dimensions_that_tell_nothing_are_named(tmp_path: Path, prior: Any) -> None:
    said = collapse(build(tmp_path, (1.0, 0.0, 1.0), prior))
    assert said.startswith("1 of 3 dimensions of z is collapsed")
    assert ": 1 (" in said
    assert not collapse(build(tmp_path, prior=prior))


def test_a_dimension_is_collapsed_by_its_kl(tmp_path: Path) -> None:
    """KL(N(k x, 1) || N(0, 1)) = k^2 x^2 / 2 in the mean, on either side of 0.01 nats."""
    mean_square = float(DATA[:, 0].square().mean())
    below, above = (math.sqrt(2 * kl / mean_square) for kl in (0.009, 0.011))
    assert ": 0 (0.009)" in collapse(build(tmp_path, (below, 1.0, 1.0)))
    assert not collapse(build(tmp_path, (above, 1.0, 1.0)))


def test_a_code_that_tells_what_its_prior_is_given_is_not_collapsed(tmp_path: Path) -> None:
    """The guide is the prior p(z|u), so every KL is 0, and z_0 alone tells u."""
    layer = nn.Linear(1, 1, dtype=torch.double)
    told = torch.tensor([9.0, 0.0, 0.0], dtype=torch.double)
    group = (torch.arange(N) % 2).double()

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(told * u[:, None], 1.0).to_event(1))

    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(told * u[:, None], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + 0 * layer(x[:, :1]), 1.0).to_event(1), obs=x)

    trial = Experiment(model, guide, data=(DATA, group), elbo=BetaELBO())
    said = collapse(finish(RunFolder(tmp_path), trial, prepare(trial), {}, 1))
    assert said.startswith("2 of 3 dimensions of z are collapsed, with an information on x")


def set_of(elbo: float, error: float) -> dict[str, float]:
    return {"elbo": elbo, "elbo_standard_error": error}


def test_held_out_data_below_by_more_than_the_error_are_overfit() -> None:
    said = overfit({"train": set_of(-1.0, 0.1), "test": set_of(-2.0, 0.2)})
    half = 1.96 * math.hypot(0.1, 0.2)
    assert f"1 ± {half:.2g} nats below" in said
    assert "(-2 and -1)" in said
    for test in (set_of(-1.3, 0.2), set_of(0.5, 0.1), {}):
        assert not overfit({"train": set_of(-1.0, 0.1), "test": test})


@pytest.mark.parametrize(
    ("rows", "width", "steps", "expected"),
    [
        (400, 2, 500, 400),  # all of them
        (60_000, 784, 100, 1000),  # 2 % of 100 batches would be 200
        (60_000, 784, 10**6, 2**25 // 784),
        (60_000, 10**6, 100, 100),  # one batch
    ],
)
def test_how_many_data_the_last_pass_takes(
    rows: int, width: int, steps: int, expected: int
) -> None:
    data = Data.of(torch.empty(1).expand(rows, width))
    trial = SimpleNamespace(data=data, batch_size=100)
    run: Any = SimpleNamespace(experiment=trial, step=steps)
    assert min(rows, findings._affordable_rows(run)) == expected


def test_a_look_that_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Run, data: object, *, most: int) -> str:
        raise RuntimeError("no\nway")

    monkeypatch.setattr(findings, "collapse", fail)
    said = findings.findings(build(tmp_path), {})
    assert said == {"collapse": "collapse could not be looked for: RuntimeError: no way"}


def test_final_terms_are_over_all_data_and_leave_the_run_as_it_was(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
            self.calls = 0
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen += len(x)
            return self.layer(self.norm(x))

    network = Counting()

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(network(x), 1.0).to_event(1))

    experiment = Experiment(
        model, guide, data=DATA.float(), test_data=DATA.float()[:7], elbo=BetaELBO(), batch_size=8
    )
    experiment.epochs = 2
    run = train(experiment, tmp_path / "run")
    (network,) = run.state.modules
    before = {name: value.clone() for name, value in network.state_dict().items()}
    calls, random = network.calls, torch.get_rng_state()
    found = final_terms(run)
    assert network.calls == calls
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (found["train"]["data"], found["test"]["data"]) == (N, 7)
    with torch.no_grad():
        loc = network(DATA.float())
    assert found["train"]["kl"] == pytest.approx(loc.square().sum(1).mean().item() / 2, rel=1e-5)


def test_of_many_data_some_spread_over_the_set_are_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "FEWEST_ROWS", 10)
    monkeypatch.setattr(findings, "PASS_SHARE", 10**6)
    run = build(tmp_path, batch_size=5, elbo=AggregateELBO())
    found = final_terms(run)["train"]
    assert (found["data"], found["rows"], found["sampled"]) == (10, N, True)
    kl = DATA[::4].square().sum(1).mean().item() / 2
    assert found["kl"] == pytest.approx(kl, rel=1e-9)


def test_fewer_data_are_looked_at_where_that_is_asked(tmp_path: Path) -> None:
    run = build(tmp_path)
    run.step = 1
    found = final_terms(run, most=7)["train"]
    assert (found["data"], found["rows"], found["sampled"]) == (7, N, True)
    assert final_terms(run, most=N) == final_terms(run)
