"""The page on objectives does what it says."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.acceleration import Execution
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.schedules import UnfinishedScheduleWarning
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.training import train

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    values: dict[str, Any] = {}
    torch.manual_seed(0)
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        exec(block, values)
    return values


@pytest.mark.full
def test_the_schedules(written: dict[str, Any], tmp_path: Path) -> None:
    warm_up: Experiment = written["warm_up"]
    history = train(warm_up, tmp_path / "run").history
    step = history["step"]
    assert history["beta"] == pytest.approx((step / 50).clip(max=1))
    assert history["alpha"] == pytest.approx(3 * ((step - 20) / 40).clip(0, 1))
    with pytest.warns(UnfinishedScheduleWarning, match="alpha ends at step 60"):
        train(replace(warm_up, epochs=30), tmp_path / "short")


@pytest.mark.full
def test_an_annealed_prior_and_temperature(written: dict[str, Any], tmp_path: Path) -> None:
    annealed: Experiment = written["annealed"]
    run = train(annealed, tmp_path / "run", execution=Execution("captured"))
    history = run.history
    step = history["step"]
    scale, temperature = (history[f"model.prior.{name}"] for name in ("scale", "temperature"))
    assert scale == pytest.approx(1 - 0.8 * (step / 50).clip(max=1))
    assert temperature == pytest.approx(1 - 0.9 * (step / 80).clip(max=1))
    priors = written["clustered"].prior, run.experiment.model.__self__.prior
    assert [(prior.scale, prior.temperature) for prior in priors] == [(1.0, 1.0), (0.2, 0.1)]


def trained(written: dict[str, Any], elbo: TermsELBO, out: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    experiment = replace(written["warm_up"], elbo=elbo, epochs=5, schedules={})
    return train(experiment, out).history


@pytest.mark.full
def test_an_objective_of_pyro(written: dict[str, Any], tmp_path: Path) -> None:
    run = train(replace(written["weighted"], epochs=3), tmp_path / "run")
    assert (run.history["objective"] > run.history["elbo"]).all()


def test_the_first_nats_are_free(written: dict[str, Any], tmp_path: Path) -> None:
    history = trained(written, written["FreeBitsELBO"](free=2.0), tmp_path / "run")
    assert history["free_kl"] == pytest.approx(history["kl"].clip(min=2.0))
    assert history["objective"] == pytest.approx(history["log_likelihood"] - history["free_kl"])


def test_the_divergence_is_part_of_the_objective(written: dict[str, Any], tmp_path: Path) -> None:
    history = trained(written, written["elbo"], tmp_path / "run")
    assert history["objective"] == pytest.approx(
        history["log_likelihood"] - 0.5 * history["kl"] - 2 * history["divergence"], rel=1e-4
    )
    distance = written["MeanDistance"]()
    (pair,) = written["elbo"].trace_pairs(
        written["vae"].model, written["vae"].guide, written["data"]
    )
    expected = pair.codes().mean(0).square().sum()  # the prior's mean is zero
    assert distance(pair).item() == pytest.approx(expected.item(), abs=0.2)
