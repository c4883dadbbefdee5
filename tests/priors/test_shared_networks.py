"""Priors made of networks: what they hold, what they borrow, and what they keep."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam

from pyro_decomp import VAE
from tests.priors.priors import IN, PRIORS, B, draw, log_density

LEARNED = ["VampPrior", "factorised flow", "autoregressive flow"]


def trained(vae: VAE) -> VAE:
    svi = SVI(vae.model, vae.guide, Adam({"lr": 0.01}), loss=Trace_ELBO())
    for _ in range(2):
        svi.step(torch.randn(B, IN))
    return vae


def test_a_borrowed_encoder_is_held_once() -> None:
    vae = PRIORS["VampPrior"].vae()
    assert list(vae.prior.state_dict()) == ["pseudo_inputs"]
    weights = [name for name in vae.state_dict() if name.endswith("body.0.weight")]
    assert weights == ["encoder.body.0.weight", "decoder.body.0.weight"]


def test_the_encoder_learns_through_the_prior() -> None:
    vae = PRIORS["VampPrior"].vae()
    log_density(vae.prior, torch.randn(5, 2)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in vae.encoder.parameters())


def test_a_vamp_prior_is_the_aggregate_posterior_of_its_inputs() -> None:
    vae = PRIORS["VampPrior"].vae()
    z = torch.randn(5, 2)
    each = vae.encoder(vae.prior.pseudo_inputs).log_prob(z[:, None])
    expected = each.exp().mean(-1).log()
    torch.testing.assert_close(log_density(vae.prior, z), expected)


@pytest.mark.full(but=["deepcopy-*"])
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_a_copy_is_the_same_and_shares_nothing(name: str, duplicate: Callable[[VAE], VAE]) -> None:
    vae = trained(PRIORS[name].vae())
    other = duplicate(vae)
    z = torch.randn(5, 2)
    before = log_density(vae.prior, z)
    assert torch.equal(log_density(other.prior, z), before)
    trained(other)
    assert torch.equal(log_density(vae.prior, z), before)
    assert not torch.equal(log_density(other.prior, z), before)


@pytest.mark.parametrize("name", LEARNED)
def test_the_same_points_are_scored_anew_after_a_step(name: str) -> None:
    """Transforms of Pyro's remember the last points that they met, and what came out."""
    vae = PRIORS[name].vae()
    z = draw(vae.prior, 5).detach()
    before = log_density(vae.prior, z)
    trained(vae)
    assert not torch.equal(log_density(vae.prior, z), before)


@pytest.mark.parametrize("name", LEARNED)
def test_the_state_makes_the_round_trip(name: str) -> None:
    vae = trained(PRIORS[name].vae())
    file = io.BytesIO()
    torch.save(vae.state_dict(), file)
    file.seek(0)
    fresh = PRIORS[name].vae()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    z = torch.randn(5, 2)
    assert torch.equal(log_density(fresh.prior, z), log_density(vae.prior, z))
