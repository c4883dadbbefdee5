import math
from collections.abc import Callable
from functools import cache

import jaxtyping
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO
from pyro_decomp.divergences.adversarial import AdversarialDivergence
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import Discriminator
from pyro_decomp.programs.traces import TracePair
from tests.example_programs import PROGRAMS, K, vae

KINDS = ["kl", "js", "non-saturating"]
LOC, SCALE = 1.0, 0.7  # of q(z); the prior is N(0, 1)
SIZE = 20_000


def gaussian_model(x: Tensor) -> None:
    with pyro.plate("data", SIZE, subsample=x):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def gaussian_guide(x: Tensor) -> None:
    with pyro.plate("data", SIZE, subsample=x):
        pyro.sample("z", dist.Normal(x, 0.5).to_event(1))


def gaussian_pair() -> TracePair:
    """A batch whose q(z) is N(LOC, SCALE)."""
    x = LOC + (SCALE**2 - 0.5**2) ** 0.5 * torch.randn(SIZE, 1)
    return next(AggregateELBO().trace_pairs(gaussian_model, gaussian_guide, x))


def quadrature(integrand: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The integral of a function of log q(z) and log p(z)."""
    z = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.double)
    log_q, log_p = dist.Normal(LOC, SCALE).log_prob(z), dist.Normal(0.0, 1.0).log_prob(z)
    return torch.trapezoid(integrand(log_q, log_p), z).item()


def log_m(log_q: Tensor, log_p: Tensor) -> Tensor:
    return torch.logaddexp(log_q, log_p) - math.log(2)


EXACT = {
    "kl": quadrature(lambda q, p: q.exp() * (q - p)),
    "js": quadrature(
        lambda q, p: 0.5 * q.exp() * (q - log_m(q, p)) + 0.5 * p.exp() * (p - log_m(q, p))
    ),
    "non-saturating": quadrature(lambda q, p: q.exp() * (log_m(q, p) - p)),
}


@cache
def trained() -> nn.Module:
    """A discriminator trained on fresh draws of both."""
    torch.manual_seed(0)
    divergence = AdversarialDivergence(Discriminator(1, hidden=(32, 32)))
    network = divergence.discriminator
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, fused=True)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        optimizer.zero_grad()
        z = LOC + SCALE * torch.randn(500, 1)
        divergence.discriminator_loss(z, torch.randn(500, 1)).backward()
        optimizer.step()
        annealing.step()
    return network


class Exact(nn.Module):
    """The logit that a perfect discriminator would give."""

    def forward(self, z: Tensor) -> Tensor:
        return (dist.Normal(LOC, SCALE).log_prob(z) - dist.Normal(0.0, 1.0).log_prob(z))[:, 0]


@pytest.mark.full(but=["js"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_discriminator_gives_the_divergence(kind: str) -> None:
    estimates = torch.stack(
        [AdversarialDivergence(Exact(), kind)(gaussian_pair()) for _ in range(20)]
    )
    standard_error = estimates.std() / 20**0.5
    assert abs(estimates.mean() - EXACT[kind]) < 4.3 * standard_error
    assert standard_error < 0.01 * EXACT[kind]


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_discriminator_comes_within_ten_percent(kind: str) -> None:
    estimate = AdversarialDivergence(trained(), kind)(gaussian_pair()).item()
    assert estimate == pytest.approx(EXACT[kind], rel=0.1)


def test_the_order_of_the_three() -> None:
    assert EXACT["kl"] / 2 < EXACT["non-saturating"] < EXACT["kl"]
    assert 0 < EXACT["js"] < math.log(2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_difference_is_zero(kind: str) -> None:
    zero = nn.Linear(1, 1)
    nn.init.zeros_(zero.weight)
    nn.init.zeros_(zero.bias)
    assert AdversarialDivergence(zero, kind)(gaussian_pair()).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_encoder_alone_and_lower_the_divergence(kind: str) -> None:
    programs, network = vae(), Discriminator(K, hidden=(8,)).double()
    elbo = AggregateELBO(alpha=2.0, divergence=AdversarialDivergence(network, kind))
    estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    estimate.terms["divergence"].backward()
    assert all(weight.grad is None for weight in network.parameters())
    encoder = programs.guide.__self__.encoder
    assert all(weight.grad.abs().sum() > 0 for weight in encoder.parameters())
    assert all(weight.grad is None for weight in programs.model.__self__.decoder.parameters())
    pair = estimate.pairs[0]
    encoder.zero_grad()
    elbo.divergence.discriminator_loss(pair.codes(), pair.prior_codes()).backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert all(weight.grad is None for weight in encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_against_the_gradient_moves_codes_to_the_prior(kind: str) -> None:
    shift = torch.zeros((), requires_grad=True)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", SIZE, subsample=x):
            pyro.sample("z", dist.Normal(LOC + shift + 0 * x, SCALE).to_event(1))

    x = torch.zeros(SIZE, 1)
    pair = next(AggregateELBO().trace_pairs(gaussian_model, guide, x))
    AdversarialDivergence(Exact(), kind)(pair).backward()
    assert shift.grad > 0.1  # q(z) lies to the right of the prior


@pytest.mark.parametrize("name", ["two sites", "nested plates", "VAE, mixture prior"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_prior_that_can_be_drawn(name: str, kind: str) -> None:
    programs = PROGRAMS[name]()
    pair = next(AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x))
    network = Discriminator(pair.codes().shape[1], hidden=(8,)).double()
    divergence = AdversarialDivergence(network, kind)
    assert divergence(pair).shape == ()
    loss = divergence.discriminator_loss(pair.codes(), pair.prior_codes())
    assert loss.item() == pytest.approx(math.log(2), abs=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_prior(kind: str) -> None:
    programs = PROGRAMS["VAE, learned prior"]()
    pair = next(AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x))
    divergence = AdversarialDivergence(Discriminator(K, hidden=(8,)).double(), kind)
    if kind == "js":
        divergence(pair).backward()
        assert programs.model.__self__.prior.loc.grad.abs().sum() > 0
    else:
        with pytest.raises(ModelError, match=r"prior of 'z' is learned .* use kind='js'"):
            divergence(pair)


def test_kinds_and_discriminators_change_the_loss_and_divergences_add() -> None:
    programs = vae()
    networks = [Discriminator(K, hidden=(8,)).double() for _ in range(2)]

    def value(divergence: object) -> float:
        pyro.set_rng_seed(1)
        elbo = AggregateELBO(alpha=1.0, divergence=divergence)
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        return estimate.terms["divergence"].item()

    made = [AdversarialDivergence(network, kind) for network in networks for kind in KINDS]
    values = [value(divergence) for divergence in made]
    assert len({round(v, 9) for v in values}) == 6
    assert value(made[0] + 2.0 * made[3]) == pytest.approx(values[0] + 2 * values[3])


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user has no such checks
    with pytest.raises(ValueError, match=r"kind: expected one of 'kl', 'js', .* got 'wgan'"):
        AdversarialDivergence(nn.Linear(2, 1), "wgan")
    with pytest.raises(TypeError, match="discriminator: expected a module"):
        AdversarialDivergence(None)
