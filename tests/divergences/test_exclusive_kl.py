"""KL(q || p) against quadrature, all batches of a few data, and the KL of the ELBO."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import Exact
from pyro_decomp.divergences.kl import ExclusiveKL
from tests.divergences.sites import encoded, evaluate, three_sites, traced
from tests.statistics import assert_mean

LOCS = torch.tensor([-1.5, -0.2, 0.4, 2.0, 2.3, 0.1], dtype=torch.double)[:, None]
SCALES = torch.tensor([0.5, 0.8, 0.3, 0.6, 0.9, 0.4], dtype=torch.double)[:, None]
PRIOR = dist.Normal(torch.zeros(1).double(), 1.3).to_event(1)


def encodings(rows: list[int]) -> dist.TorchDistribution:
    return dist.Normal(LOCS[rows], SCALES[rows]).to_event(1)


def by_quadrature() -> float:
    z = torch.linspace(-12, 12, 40_001, dtype=torch.double)[:, None]
    log_qz = encodings([*range(6)]).log_prob(z[:, None]).logsumexp(1) - torch.tensor(6.0).log()
    return torch.trapezoid(log_qz.exp() * (log_qz - PRIOR.log_prob(z)), z[:, 0]).item()


@pytest.mark.full
def test_a_full_batch_is_unbiased() -> None:
    programs = encoded(encodings([*range(6)] * 100), PRIOR)
    values = torch.stack([evaluate(ExclusiveKL(), *programs) for _ in range(40)])
    assert_mean(values, by_quadrature())


@pytest.mark.full
def test_over_the_whole_data_set_a_minibatch_is_unbiased() -> None:
    kinds = torch.arange(600) % 6

    def model(rows: Tensor) -> None:
        with pyro.plate("data", 600, subsample=rows):
            z = pyro.sample("z", PRIOR)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=rows[:, None].double())

    def guide(rows: Tensor) -> None:
        with pyro.plate("data", 600, subsample=rows):
            pyro.sample("z", encodings(kinds[rows].tolist()))

    values = {
        estimator: torch.stack(
            [evaluate(estimator, model, guide, torch.randperm(600)[:3]) for _ in range(200)]
        )
        for estimator in (ExclusiveKL(Exact(torch.arange(600))), ExclusiveKL())
    }
    exact, stratified = values.values()
    assert_mean(exact, by_quadrature())
    assert stratified.mean() < by_quadrature() - 0.2  # Jensen


@pytest.mark.parametrize(
    ("estimator", "own", "other"),
    [("stratified_averaged", 1 / 6, 5 / 12), ("batch", 1 / 3, 1 / 3), ("weighted", 1 / 18, 1 / 18)],
)
def test_the_weights_of_each_estimator(estimator: str, own: float, other: float) -> None:
    pair = traced(*encoded(encodings([0, 2, 3]), PRIOR, num_data=6))
    z = pair.guide.nodes["z"]["value"]
    pairs = encodings([0, 2, 3]).log_prob(z[:, None]).exp()
    weights = other + (own - other) * torch.eye(3).double()
    expected = ((weights * pairs).sum(1).log() - PRIOR.log_prob(z)).mean()
    assert torch.allclose(ExclusiveKL(estimator)(pair), expected, rtol=1e-12)


def test_with_the_mutual_information_it_is_the_kl() -> None:
    pair = traced(*three_sites())
    kl = sum(pair.log_prob(name, guide=True) - pair.log_prob(name) for name in "abc").mean()
    log_qz_x = sum(pair.log_prob(name, guide=True) for name in "abc")
    log_qz = pair.aggregate_posterior.log_prob({n: pair.guide.nodes[n]["value"] for n in "abc"})
    mutual_information = (log_qz_x - log_qz).mean()
    assert torch.allclose(ExclusiveKL()(pair) + mutual_information, kl, rtol=1e-12)


def test_a_learned_prior_needs_no_reparametrisation() -> None:
    locs = torch.tensor([[-1.0], [1.5]], dtype=torch.double, requires_grad=True)
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2).double()), dist.Normal(locs, 0.7).to_event(1)
    )
    state = torch.get_rng_state()
    (gradient,) = torch.autograd.grad(
        evaluate(ExclusiveKL(), *encoded(encodings([*range(6)]), mixture)), locs
    )

    def moved(row: int, by: float) -> Tensor:
        torch.set_rng_state(state)
        with torch.no_grad():
            locs[row] += by
            value = evaluate(ExclusiveKL(), *encoded(encodings([*range(6)]), mixture))
            locs[row] -= by
        return value

    for row in range(2):
        slope = (moved(row, 1e-5) - moved(row, -1e-5)) / 2e-5
        assert torch.allclose(gradient[row, 0], slope, rtol=1e-6)


def test_moving_all_codes_leaves_their_own_density() -> None:
    locs = (LOCS + 3).requires_grad_()
    pair = traced(*encoded(dist.Normal(locs, SCALES).to_event(1), PRIOR, num_data=20))
    (gradient,) = torch.autograd.grad(ExclusiveKL()(pair), locs)
    expected = pair.codes().mean() / 1.3**2  # of -log p alone
    assert torch.allclose(gradient.sum(), expected, rtol=1e-10)
