"""Observed sites of which some values are missing: the density of the known ones, no more."""

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Experiment, train
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.analysis.latents import codes, latents, log_likelihood, reconstruct
from pyro_decomp.errors import ModelError
from tests.statistics import assert_mean

N, D = 30, 3


class Incomplete(nn.Module):
    """Linear and Gaussian, so that log p(known values) is known."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 2).double(), nn.Linear(1, D).double()

    def latent(self) -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))

    def model(self, x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-1):
            loc = self.decoder(self.latent())
            with pyro.plate("columns", D, dim=-2):
                pyro.sample("x", dist.Normal(loc.mT, 0.5), obs=x.mT, obs_mask=known.mT)

    def masked(self, x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-1):
            loc = self.decoder(self.latent())
            with pyro.plate("columns", D, dim=-2), poutine.mask(mask=known.mT):
                pyro.sample("x", dist.Normal(loc.mT, 0.5), obs=x.mT)

    def whole_rows(self, x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-1):
            px_z = dist.Poisson(self.decoder(self.latent()).exp()).to_event(1)
            pyro.sample("x", px_z, obs=x.abs().round(), obs_mask=known[:, 0])

    def guide(self, x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", N, subsample=x, dim=-1):
            loc, scale = self.encoder(x * known).split(1, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator, dtype=torch.double)
    return x, torch.rand(N, D, generator=generator) < 0.7


def seeded(elbo: Any, *programs: Any) -> float:
    pyro.set_rng_seed(0)
    loss: float = elbo.loss(*programs, *data())
    return loss


def test_it_is_the_masked_likelihood_here_and_in_pyro() -> None:
    programs, elbo = Incomplete(), BetaELBO(analytic_kl=False)
    expected = seeded(Trace_ELBO(), programs.masked, programs.guide)
    for model in (programs.model, programs.masked, programs.model):
        assert seeded(elbo, model, programs.guide) == pytest.approx(expected, rel=1e-12)


def test_a_missing_value_does_not_matter() -> None:
    programs, elbo = Incomplete(), BetaELBO()
    x, known = data()
    losses = []
    for filled in (x, torch.where(known, x, 100.0)):
        pyro.set_rng_seed(0)
        losses.append(elbo.loss(programs.model, programs.guide, filled, known))
    assert losses[0] == losses[1]


def test_rows_of_a_count_without_finitely_many_values() -> None:
    """Of which no sum over all values can be formed."""
    programs = Incomplete()
    x, known = data()
    pair = BetaELBO().drawn_pair(programs.whole_rows, programs.guide, x, known)
    loc = programs.decoder(pair.guide.nodes["z"]["value"])
    log_px = dist.Poisson(loc.exp()).log_prob(x.abs().round()).sum(-1)
    torch.testing.assert_close(pair.log_likelihood(), log_px * known[:, 0])


@pytest.mark.full
def test_the_marginal_likelihood_is_that_of_the_known_values(tmp_path: Path) -> None:
    programs = Incomplete()
    settings = {"elbo": BetaELBO(), "epochs": 3, "batch_size": 10}
    run = train(Experiment(programs.model, programs.guide, data=data(), **settings), tmp_path / "r")
    programs = run.experiment.model.__self__
    x, known = data()
    weight, bias = programs.decoder.weight.detach()[:, 0], programs.decoder.bias.detach()
    expected = []
    for row, is_known in zip(x, known, strict=True):
        w = weight[is_known]
        covariance = torch.outer(w, w) + 0.25 * torch.eye(len(w))
        p = dist.MultivariateNormal(bias[is_known], covariance) if len(w) else None
        expected.append(p.log_prob(row[is_known]) if p is not None else torch.zeros(()).double())
    repeats = torch.stack([log_likelihood(run, seed=s, num_samples=500) for s in range(30)])
    assert_mean((repeats - torch.stack(expected)).exp(), 1.0)  # p itself is unbiased
    assert list(latents(run)) == ["z"]
    assert codes(run).shape == (N, 1)
    assert reconstruct(run).shape == (N, D)
    measured = evaluate(run, num_importance_samples=5, only=["elbo", "mutual_information"])["train"]
    assert measured["mutual_information"] <= math.log(N)


def test_what_something_depends_on_cannot_be_left_out() -> None:
    def model(x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))
            first = pyro.sample("a", dist.Normal(z[:, 0], 1.0), obs=x[:, 0], obs_mask=known[:, 0])
            pyro.sample("b", dist.Normal(first, 1.0), obs=x[:, 1])

    with pytest.raises(ModelError, match=r"'b' depends on the missing values of 'a'.*guide"):
        BetaELBO().loss(model, Incomplete().guide, *data())

    def guide(x: Tensor, known: Tensor) -> None:  # the remedy
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x[:, :1] * known[:, :1], 1.0).to_event(1))
            with poutine.mask(mask=~known[:, 0]):
                pyro.sample("a_unobserved", dist.Normal(torch.zeros(N).double(), 1.0))

    assert math.isfinite(BetaELBO().loss(model, guide, *data()))


def test_a_latent_that_the_guide_forgets_is_still_refused() -> None:
    def model(x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z_unobserved", dist.Normal(torch.zeros(N).double(), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor, known: Tensor) -> None:
        pass

    with pytest.raises(ModelError, match="'z_unobserved' is absent from the guide"):
        BetaELBO().loss(model, guide, *data())
