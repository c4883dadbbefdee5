"""Closed forms of the KL between Normals: against torch's dense one, samples, and derivatives."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_decomp import BetaELBO
from pyro_decomp.distributions.closed_form_kl import analytic_kl
from tests.statistics import assert_mean

B, D = 5, 3


def parameters() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    loc, factor, spread = (
        torch.randn(*shape, generator=generator, dtype=torch.double)
        for shape in ((B, D), (B, D, D), (B, D))
    )
    return loc, factor.tril() + 2 * torch.eye(D), factor[..., :2], spread.exp()


def covariance() -> Tensor:
    root = parameters()[1]
    return root @ root.mT


def dense(fn: dist.Distribution) -> dist.MultivariateNormal:
    """The same Normal, by its covariance."""
    base = fn
    while isinstance(base, dist.Independent):
        base = base.base_dist
    if isinstance(base, dist.Normal):
        return dist.MultivariateNormal(fn.mean, torch.diag_embed(fn.variance))
    return dist.MultivariateNormal(fn.mean, base.covariance_matrix)


def full_by_scale() -> dist.Distribution:
    return dist.MultivariateNormal(parameters()[0], scale_tril=parameters()[1])


def full_by_covariance() -> dist.Distribution:
    return dist.MultivariateNormal(parameters()[0], covariance())


def full_by_precision() -> dist.Distribution:
    return dist.MultivariateNormal(parameters()[0], precision_matrix=covariance())


def low_rank() -> dist.Distribution:
    loc, _, factor, spread = parameters()
    return dist.LowRankMultivariateNormal(loc, factor, spread)


def diagonal() -> dist.Distribution:
    loc, _, _, spread = parameters()
    return dist.Normal(loc, spread).to_event(1)


def shared() -> dist.Distribution:
    return dist.Normal(torch.linspace(-1, 1, D).double(), 1.3).to_event(1)


def one_for_all(fn: Callable[[], dist.Distribution]) -> dist.Distribution:
    return dist.MultivariateNormal(dense(fn()).loc[0], dense(fn()).covariance_matrix[0])


GAUSSIANS = [full_by_scale, full_by_covariance, full_by_precision, low_rank, diagonal]


@pytest.mark.parametrize("q", GAUSSIANS)
@pytest.mark.parametrize("p", [*GAUSSIANS, shared])
def test_it_is_the_dense_formula(q: Callable, p: Callable) -> None:
    found = analytic_kl(q(), p())
    assert found is not None
    assert found.shape == (B,)
    expected = torch.distributions.kl_divergence(dense(q()), dense(p()))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("q", [full_by_scale, low_rank])
def test_it_is_what_samples_give(q: Callable) -> None:
    pyro.set_rng_seed(0)
    z = q().sample((20_000,))
    found = analytic_kl(q(), shared())
    assert found is not None
    assert_mean(q().log_prob(z) - shared().log_prob(z), found)


@pytest.mark.parametrize("q", [full_by_scale, low_rank])
def test_batches_broadcast_and_wrappers_do_not_matter(q: Callable) -> None:
    expected = analytic_kl(q(), shared())
    assert expected is not None
    wide = analytic_kl(q().expand((4, B)), shared())
    torch.testing.assert_close(wide, expected.expand(4, B))
    torch.testing.assert_close(analytic_kl(q(), shared().expand((4, 1))), expected.expand(4, B))
    torch.testing.assert_close(
        analytic_kl(q().to_event(1), shared().expand((B,)).to_event(1)), expected.sum()
    )
    of_all = dist.Normal(torch.zeros(B, D).double(), 1.0).to_event(2)
    torch.testing.assert_close(
        analytic_kl(q().to_event(1), of_all), analytic_kl(dense(q()), of_all.to_event(-1)).sum()
    )
    mask = torch.arange(B) % 2 == 0
    masked = analytic_kl(q().mask(mask), shared().expand((B,)).mask(mask))
    torch.testing.assert_close(masked, expected * mask)
    for one_sided in ((q().mask(mask), shared()), (q(), shared().expand((B,)).mask(mask))):
        assert analytic_kl(*one_sided) is None


def test_gradients_are_those_of_finite_differences() -> None:
    loc, root, factor, spread = (x.clone().requires_grad_() for x in parameters())

    def full(loc: Tensor, root: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        q = dist.MultivariateNormal(loc, scale_tril=root.tril())
        return analytic_kl(q, dist.Normal(mean, scale.exp()).to_event(1))

    def low(loc: Tensor, factor: Tensor, spread: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        q = dist.LowRankMultivariateNormal(loc, factor, spread)
        return analytic_kl(q, dist.Normal(mean, scale.exp()).to_event(1))

    prior = [torch.tensor([0.1, -1.0, 2.0]).double().requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(full, (loc, root, *prior))
    assert torch.autograd.gradcheck(low, (loc, factor, spread, *prior))


def test_where_nothing_is_known_there_is_none() -> None:
    assert analytic_kl(full_by_scale(), dist.Laplace(torch.zeros(D), 1.0).to_event(1)) is None
    assert analytic_kl(dist.Delta(torch.zeros(D)).to_event(1), shared()) is None
    masked = dist.Delta(torch.zeros(B, D)).to_event(1).mask(torch.ones(B, dtype=torch.bool))
    assert analytic_kl(masked, shared().expand((B,)).mask(True)) is None


@pytest.mark.parametrize("q", GAUSSIANS)
def test_an_objective_uses_it(q: Callable) -> None:
    x = torch.randn(B, D).double()

    def model() -> None:
        with pyro.plate("data", B):
            z = pyro.sample("z", shared())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide() -> None:
        with pyro.plate("data", B):
            pyro.sample("z", q())

    elbo = BetaELBO()
    kl = elbo.evaluate(model, guide).terms["kl"]
    assert elbo.kl_methods == {"z": "analytic"}
    torch.testing.assert_close(kl, analytic_kl(dense(q()), shared()).mean())
    pyro.set_rng_seed(3)
    sampled = BetaELBO(analytic_kl=False).loss(model, guide)
    pyro.set_rng_seed(3)
    assert sampled == pytest.approx(Trace_ELBO().loss(model, guide), rel=1e-12)
