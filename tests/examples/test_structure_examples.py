"""The five structures: their data have them, their arguments reach the run, training helps."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from pyro_decomp.priors import (
    AnisotropicNormal,
    GaussianMixture,
    IndependentSubspaces,
    IsotropicNormal,
    NestedClusters,
    SpikeAndSlab,
    StudentT,
)
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.training import train

EXAMPLES = Path(__file__).parents[2] / "examples"
PRIORS = {
    "clusters": {"mixture": GaussianMixture},
    "sparsity": {"sparse": SpikeAndSlab},
    "hierarchy": {"nested": NestedClusters, "flat": GaussianMixture},
    "subspaces": {"subspaces": IndependentSubspaces},
    "axes": {"student_t": StudentT, "anisotropic": AnisotropicNormal},
}
SIZE = 20_000


def read(name: str) -> ExperimentFile:
    return ExperimentFile.read(EXAMPLES / f"structure_{name}.py", seed=0)


def names_of(name: str) -> dict[str, Any]:
    return read(name).function.__globals__


@pytest.mark.parametrize("name", PRIORS)
def test_the_prior_that_is_asked_for_is_in_force(name: str) -> None:
    source = read(name)
    (choice,) = (p for p in source.parameters if p.name == "prior")
    kinds = PRIORS[name] | {"isotropic": IsotropicNormal}
    assert set(get_args(choice.annotation)) == set(kinds)
    assert choice.default == next(iter(kinds))
    trials = {}
    for prior, kind in kinds.items():
        set_seed(0)
        trials[prior] = source.build({"prior": prior})
        assert type(trials[prior].model.__self__.prior) is kind
    assert len({trial.elbo.__class__ for trial in trials.values()}) == 1
    first, *others = trials.values()
    for other in others:
        assert torch.equal(first.data.x, other.data.x)
        for network in ("encoder", "decoder"):
            one = getattr(first.model.__self__, network).state_dict()
            another = getattr(other.model.__self__, network).state_dict()
            assert all(torch.equal(one[key], another[key]) for key in one)


@pytest.mark.parametrize("name", PRIORS)
def test_the_arguments_reach_the_experiment(name: str) -> None:
    source = read(name)
    trial = source.build({"beta": 2.0, "epochs": 7, "lr": 0.1, "hidden": 5, "data_seed": 1})
    vae = trial.model.__self__
    trial.apply_schedules(trial.total_steps)
    assert (trial.elbo.beta, trial.epochs) == (2.0, 7)
    assert trial.optimizer(vae.parameters()).defaults["lr"] == 0.1
    assert vae.encoder.body[0].out_features == 5
    assert not torch.equal(trial.data.x, source.build({}).data.x)
    assert not torch.equal(trial.data.x, trial.test_data.x)


@pytest.mark.full(but=["axes"])
@pytest.mark.parametrize("name", PRIORS)
def test_a_short_training_raises_the_likelihood(name: str, tmp_path: Path) -> None:
    set_seed(0)
    trial = read(name).build(
        {"epochs": 40 if name in {"clusters", "hierarchy"} else 5, "hidden": 32}
    )
    likelihood = train(trial, tmp_path / "run").history["log_likelihood"]
    assert likelihood[-5:].mean() > likelihood[:3].mean() + 1


def test_clouds_are_apart() -> None:
    x, cloud = names_of("clusters")["clouds"](500, seed=1)
    nearest = torch.cdist(x, x).fill_diagonal_(math.inf).argmin(1)
    assert (cloud == cloud[nearest]).float().mean() > 0.95
    again, _ = names_of("clusters")["clouds"](500, seed=1)
    assert torch.equal(x, again)


def test_a_picture_has_a_fifth_of_the_bars_each_a_row_or_a_column() -> None:
    names = names_of("sparsity")
    pictures = names["dictionary"]().view(11, 6, 6)
    assert torch.equal(pictures[:6].amax(2), torch.eye(6))
    assert torch.equal(pictures[6:], pictures[:5].mT)
    assert torch.linalg.matrix_rank(pictures.flatten(1)) == 11
    x, sources = names["bars"](SIZE)
    assert (sources != 0).double().mean().item() == pytest.approx(0.2, abs=0.004)
    noise = x - sources @ names["dictionary"]()
    assert noise.std().item() == pytest.approx(0.2, rel=0.01)


def test_the_density_of_the_tree_is_that_of_its_points() -> None:
    names = names_of("hierarchy")
    truth = names["truth"](3)
    x, leaf = names["points"](SIZE, seed=3)
    # nine clusters that hardly overlap: minus the entropy of one, and of which one it is
    entropy = 1 + math.log(2 * math.pi * 0.06**2) + math.log(9)
    assert truth.log_prob(x).mean().item() == pytest.approx(-entropy, abs=0.03)
    centres = torch.stack([x[leaf // 3 == group].mean(0) for group in range(3)])
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(3), atol=0.02, rtol=0)


def test_gratings_depend_within_and_not_between() -> None:
    names = names_of("subspaces")
    truth = names["dictionary"]()
    torch.testing.assert_close(truth @ truth.T / 36, torch.eye(8), atol=1e-5, rtol=0)
    _, sources = names["gratings"](SIZE)
    energy = torch.corrcoef(sources.square().T)
    within = torch.block_diag(*[torch.ones(2, 2)] * 4).bool()
    # of g^2 and h^2 with g, h Normal and on together: (1/p - 1) / (3/p - 1), p = 0.3
    others = within & ~torch.eye(8).bool()
    torch.testing.assert_close(energy[others], torch.full((8,), 7 / 27), atol=0.06, rtol=0)
    assert energy[~within].abs().max() < 0.05


def test_dials_are_laplace_and_seen_alike() -> None:
    names = names_of("axes")
    x, dials = names["sensors"](SIZE, seed=2)
    torch.testing.assert_close(dials.T.cov(), torch.eye(4), atol=0.06, rtol=0)
    assert (dials**4).mean().item() == pytest.approx(6, rel=0.1)
    slopes = torch.linalg.lstsq(dials, x.sinh()).solution
    torch.testing.assert_close(slopes @ slopes.T / 4, torch.eye(4), atol=0.05, rtol=0)
