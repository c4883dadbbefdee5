"""The Wasserstein autoencoder: guides with and without spread, and what its ELBO is."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.divergences.mmd import MMD
from pyro_decomp.divergences.wasserstein import SlicedWasserstein
from pyro_decomp.elbo import AggregateELBO, TermsELBO
from pyro_decomp.elbo.wasserstein import WassersteinELBO
from tests.divergences.sites import encoded

LOC = torch.linspace(-1, 2, 12).view(6, 2).double()


def loss(elbo: TermsELBO) -> float:
    torch.manual_seed(0)
    return elbo.loss(*encoded(dist.Normal(LOC, 0.7).to_event(1)))


def test_special_cases() -> None:
    expected = loss(AggregateELBO(beta=0.0, alpha=7.0, divergence=MMD()))
    assert loss(WassersteinELBO(7.0)) == expected
    assert loss(WassersteinELBO(0.0)) == loss(AggregateELBO(beta=0.0))


def test_every_argument_changes_the_loss() -> None:
    others = {"lambda_": 4.0, "divergence": SlicedWasserstein(), "num_particles": 2}
    losses = [loss(WassersteinELBO(**{name: value})) for name, value in others.items()]
    assert len({loss(WassersteinELBO()), *losses}) == 4
    elbos = []
    for analytic_kl in (True, False):  # counts in what is logged, not in the loss
        torch.manual_seed(0)
        programs = encoded(dist.Normal(LOC, 0.7).to_event(1))
        elbos.append(WassersteinELBO(analytic_kl=analytic_kl).evaluate(*programs).elbo.item())
    assert elbos[0] != elbos[1]


def test_a_guide_without_spread() -> None:
    """Its "kl" is -log p(z), its "elbo" log p(x, z)."""
    loc = LOC.clone().requires_grad_()
    estimate = WassersteinELBO(lambda_=100.0).evaluate(*encoded(dist.Delta(loc, event_dim=1)))
    log_pz = dist.Normal(torch.zeros(2).double(), 1.0).to_event(1).log_prob(LOC).mean()
    log_px_z = dist.Normal(LOC[:, :1], 1.0).to_event(1).log_prob(torch.zeros(6, 1)).mean()
    assert torch.allclose(estimate.terms["kl"], -log_pz, rtol=1e-12)
    assert torch.allclose(estimate.elbo, log_pz + log_px_z, rtol=1e-12)
    expected = log_px_z - 100 * estimate.terms["divergence"]
    assert torch.allclose(estimate.objective, expected, rtol=1e-12)
    (gradient,) = torch.autograd.grad(estimate.objective, loc)
    assert (gradient != 0).all()


@pytest.mark.full
def test_training_brings_codes_without_spread_to_the_prior() -> None:
    locs = torch.nn.Parameter(1.5 + 0.1 * torch.randn(48, 1).double())
    prior = dist.Normal(torch.zeros(1).double(), 1.0).to_event(1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", 48, subsample=x):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(0 * z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 48, subsample=x):
            pyro.sample("z", dist.Delta(locs, event_dim=1))

    elbo = WassersteinELBO(10.0, MMD(num_samples=200))
    optimizer = torch.optim.Adam([locs], lr=0.1)
    for _ in range(120):
        optimizer.zero_grad()
        elbo.loss_and_grads(model, guide, torch.zeros(48, 1).double())
        optimizer.step()
    assert locs.mean().abs() < 0.3
    assert 0.7 < locs.std() < 1.3


def test_an_infinite_kl_is_logged_and_not_trained() -> None:
    prior = dist.Uniform(torch.full((2,), -50.0).double(), 50.0).to_event(1)
    loc = LOC.clone().requires_grad_()
    programs = encoded(dist.Normal(loc, 0.7).to_event(1), prior)
    estimate = WassersteinELBO(lambda_=100.0).evaluate(*programs)
    assert estimate.elbo == -torch.inf
    expected = estimate.terms["log_likelihood"] - 100 * estimate.terms["divergence"]
    assert torch.allclose(estimate.objective, expected)
    assert torch.autograd.grad(estimate.objective, loc)[0].isfinite().all()


def test_arguments_are_checked() -> None:
    for weight in (-1.0, float("nan"), torch.tensor(-1.0)):
        with pytest.raises(ValueError, match="lambda_: expected a finite number of at least 0"):
            WassersteinELBO(weight)
    with pytest.raises(TypeError, match="divergence: expected a Divergence such as MMD"):
        WassersteinELBO(divergence="gan")
