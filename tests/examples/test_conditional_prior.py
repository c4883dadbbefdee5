"""The example of a prior that is given the laboratory of a row."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import evaluate, train
from pyro_decomp.analysis.latents import latents
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run

FILE = Path(__file__).parents[2] / "examples" / "conditional_prior.py"
PARTS = ("divergence", "marginal_kl", "dimensionwise_kl", "total_correlation", "elbo")


def trained(folder: Path, **arguments: Any) -> Run:
    source = ExperimentFile.read(FILE, seed=0)
    return train(source, folder, arguments=arguments)


def test_what_is_given_is_found() -> None:
    built = ExperimentFile.read(FILE, seed=0).build({"size": 90})
    pair = next(built.elbo.trace_pairs(built.model, built.guide, *built.data[:30]))
    assert pair.prior_inputs.given == {"the argument 'laboratory'"}
    assert pair.prior_inputs.data["biology"] == frozenset()


@pytest.mark.full
def test_what_is_given_is_measured(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", epochs=2, size=90, batch_size=30)
    found = evaluate(run, only=PARTS)["train"]
    assert not found["left_out"]
    # Which of three places a code is at: at most log 3 nats.
    assert (
        0 < found["prior_information"] < math.log(3) + 4 * found["prior_information_standard_error"]
    )
    assert all(math.isfinite(found[name]) for name in PARTS)


@pytest.mark.slow
def test_the_default_tells_laboratories_from_what_they_measure(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    laboratory = run.data[:][1]
    codes = latents(run, run.data)
    biology, technical = (
        torch.stack([codes[name][laboratory == k].mean(0) for k in range(3)])
        for name in ("biology", "technical")
    )
    assert (biology - biology.mean(0)).abs().max() < 0.4  # of a spread of 1
    assert technical[:, 0].sort().values.diff().min() > 0.5
    assert evaluate(run, only=["marginal_kl"])["train"]["marginal_kl"] < 0.6
