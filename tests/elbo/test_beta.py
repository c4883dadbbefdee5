"""The beta-VAE."""

import pyro
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from pyro_decomp.elbo import AggregateELBO
from pyro_decomp.elbo.beta import BetaELBO
from tests.example_programs import PROGRAMS, N, global_latent, vae


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_beta_weighs_the_kl_alone(beta: float) -> None:
    programs = vae()
    estimate = BetaELBO(beta).evaluate(programs.model, programs.guide, programs.x)
    assert estimate.terms.keys() == {"log_likelihood", "kl"}
    likelihood, kl = estimate.terms["log_likelihood"], estimate.terms["kl"]
    torch.testing.assert_close(estimate.objective, likelihood - beta * kl)
    torch.testing.assert_close(estimate.elbo, likelihood - kl)


def test_sites_outside_the_data_plate_keep_their_weight() -> None:
    programs = global_latent()
    estimate = BetaELBO(3.0).evaluate(programs.model, programs.guide, programs.x)
    local = estimate.terms["log_likelihood"] - 3 * estimate.terms["kl"]
    torch.testing.assert_close(estimate.objective, local - estimate.terms["global_kl"])


def test_at_one_it_is_pyros_own() -> None:
    programs = vae()
    losses = []
    for elbo in (BetaELBO(), TraceMeanField_ELBO()):
        pyro.set_rng_seed(1)
        losses.append(elbo.loss(programs.model, programs.guide, programs.x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_the_decomposition_objective_without_divergence(name: str) -> None:
    programs = PROGRAMS[name]()
    losses = []
    for elbo in (BetaELBO(0.3), AggregateELBO(beta=0.3)):
        pyro.set_rng_seed(1)
        losses.append(elbo.loss(programs.model, programs.guide, programs.x))
    assert losses[0] == losses[1] != 0


def test_the_loss_has_the_scale_of_the_data() -> None:
    programs = vae()
    estimate = BetaELBO(2.0).evaluate(programs.model, programs.guide, programs.x)
    torch.testing.assert_close(estimate.loss, -N * estimate.objective)


@pytest.mark.parametrize("beta", [-0.1, float("nan")])
def test_a_negative_weight_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta: expected a finite number of at least 0, got"):
        BetaELBO(beta)
