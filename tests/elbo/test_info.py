"""InfoVAE's special cases, its identity with the mutual information, and its weights' limits."""

import pyro.distributions as dist
import pytest
import torch

from pyro_decomp.divergences.kl import ExclusiveKL
from pyro_decomp.divergences.mmd import MMD
from pyro_decomp.divergences.wasserstein import EnergyDistance
from pyro_decomp.elbo import AggregateELBO, TermsELBO
from pyro_decomp.elbo.info import InfoELBO
from pyro_decomp.elbo.wasserstein import WassersteinELBO
from tests.divergences.sites import encoded, three_sites


def loss(elbo: TermsELBO, seed: int = 0) -> float:
    programs = encoded(dist.Normal(torch.linspace(-1, 2, 12).view(6, 2).double(), 0.7).to_event(1))
    torch.manual_seed(seed)
    return elbo.loss(*programs)


def test_special_cases() -> None:
    assert loss(InfoELBO()) == loss(AggregateELBO())
    assert loss(InfoELBO(alpha=0.0, lambda_=1.0)) == loss(AggregateELBO())
    assert loss(InfoELBO(1.0, 7.0)) == pytest.approx(loss(WassersteinELBO(7.0)), rel=1e-12)
    for beta in (0.1, 0.3, 0.7, 3.0):
        expected = loss(AggregateELBO(beta=beta))
        assert loss(InfoELBO(1 - beta, beta)) == pytest.approx(expected, rel=1e-12)


def test_no_random_number_is_drawn_for_a_divergence_without_weight() -> None:
    torch.manual_seed(0)
    loss(InfoELBO())
    after = torch.get_rng_state()
    loss(AggregateELBO())
    assert torch.equal(after, torch.get_rng_state())


def test_it_rewards_mutual_information() -> None:
    """With D = KL(q || p): ELBO + alpha MI - (lambda - 1) KL(q || p), sample by sample."""
    elbo = InfoELBO(alpha=0.4, lambda_=2.5, divergence=ExclusiveKL(), analytic_kl=False)
    estimate = elbo.evaluate(*three_sites())
    (pair,) = estimate.pairs
    log_qz = pair.aggregate_posterior.log_prob({n: pair.guide.nodes[n]["value"] for n in "abc"})
    mutual_information = (sum(pair.log_prob(n, guide=True) for n in "abc") - log_qz).mean()
    expected = estimate.elbo + 0.4 * mutual_information - 1.5 * estimate.terms["divergence"]
    assert torch.allclose(estimate.objective, expected, rtol=1e-12)


def test_every_argument_changes_the_loss() -> None:
    settings = {"alpha": 0.5, "lambda_": 3.0}
    others = {
        "alpha": 0.2,
        "lambda_": 4.0,
        "divergence": EnergyDistance(),
        "num_particles": 2,
        "analytic_kl": False,
    }
    losses = [loss(InfoELBO(**settings | {name: value})) for name, value in others.items()]
    assert len({loss(InfoELBO(**settings)), *losses}) == 6


@pytest.mark.parametrize(
    ("alpha", "lambda_", "message"),
    [
        (0.0, 0.5, r"lambda_: expected at least 1 - alpha = 1, got 0\.5: .* weight -0\.5 and"),
        (-0.5, 1.0, r"lambda_: expected at least 1 - alpha = 1\.5, got 1\.0"),
        (1.5, 1.0, r"alpha: expected at most 1, got 1\.5: the KL would have the weight -0\.5"),
        (float("nan"), 1.0, r"alpha: expected (a finite number|at most 1), got nan"),
    ],
)
def test_weights_that_reward_a_distance_are_refused(
    alpha: float, lambda_: float, message: str
) -> None:
    for kind in (float, torch.tensor):
        with pytest.raises(ValueError, match=message):
            InfoELBO(kind(alpha), kind(lambda_))
    elbo = InfoELBO()
    elbo.alpha, elbo.lambda_ = alpha, lambda_  # as a schedule would
    with pytest.raises(ValueError, match=message):
        loss(elbo)


def test_weights_may_be_tensors() -> None:
    alpha, lambda_ = (torch.tensor(v, requires_grad=True) for v in (0.5, 3.0))
    elbo = InfoELBO(alpha, lambda_)
    estimate = elbo.evaluate(*three_sites())
    gradients = torch.autograd.grad(estimate.objective, [alpha, lambda_])
    kl, divergence = estimate.terms["kl"].float(), estimate.terms["divergence"].float()
    assert torch.allclose(gradients[0], kl - divergence)
    assert torch.allclose(gradients[1], -divergence)


def test_a_divergence_is_asked_for() -> None:
    with pytest.raises(TypeError, match="divergence: expected a Divergence such as MMD"):
        InfoELBO(divergence=MMD)
