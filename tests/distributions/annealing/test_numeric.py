"""Numeric normalisers against closed forms, and how far they can be driven."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.distributions import GeneralizedNormal
from pyro_decomp.distributions.annealing import AnnealedMixture, annealed, log_normalizer
from pyro_decomp.distributions.annealing.unexpand import without_repeats
from pyro_decomp.errors import ArgumentError
from tests.statistics import STANDARD_ERRORS

ZEROS, EQUAL = torch.zeros(2).double(), dist.Categorical(logits=torch.zeros(2).double())


def log_square(p: dist.MixtureSameFamily) -> Tensor:
    """Log of the integral of p^2 for Normal components, a sum over pairs in closed form."""
    weights, c = p.mixture_distribution.probs, p.component_distribution
    if isinstance(c, dist.Independent):
        c = c.base_dist
    else:
        c = dist.Normal(c.loc.unsqueeze(-1), c.scale.unsqueeze(-1))
    spread = (c.scale.square().unsqueeze(0) + c.scale.square().unsqueeze(1)).sqrt()
    pairs = dist.Normal(c.loc.unsqueeze(0), spread).log_prob(c.loc.unsqueeze(1)).sum(-1)
    return (weights.log() + weights.log().unsqueeze(1) + pairs).flatten().logsumexp(0)


@pytest.mark.parametrize("sharp", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("weight", [0.01, 0.8])
@pytest.mark.parametrize("loc", [0.0, 2.5])
def test_components_of_any_width_are_resolved(sharp: float, weight: float, loc: float) -> None:
    clusters = dist.Categorical(torch.tensor([weight, 1 - weight]).double())
    scales = torch.tensor([sharp, 1.0]).double()
    p = dist.MixtureSameFamily(clusters, dist.Normal(torch.tensor([loc, 0.0]).double(), scales))
    torch.testing.assert_close(log_normalizer(p, 2.0), log_square(p), rtol=0, atol=1e-10)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5, 2.0, 10.0, 50.0])
@pytest.mark.parametrize(
    "component",
    [dist.Normal(ZEROS, 0.3), dist.Laplace(ZEROS, 0.3), GeneralizedNormal(ZEROS, 0.3, 1.5)],
    ids=["Normal", "Laplace", "GeneralizedNormal"],
)
def test_a_mixture_of_equals_is_its_component(
    component: dist.TorchDistribution, beta: float
) -> None:
    f = annealed(dist.MixtureSameFamily(EQUAL, component), beta)
    expected = log_normalizer(component, beta)[0]
    torch.testing.assert_close(f.log_normalizer, expected, rtol=0, atol=1e-9)
    assert (f.log_normalizer - expected).abs() <= f.normalizer_error + 1e-12


@pytest.mark.parametrize("df", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("beta", [0.9, 1.1, 4.0])
def test_heavy_tails_are_continued(df: float, beta: float) -> None:
    component = dist.StudentT(ZEROS + df, ZEROS, 0.3)
    found = log_normalizer(dist.MixtureSameFamily(EQUAL, component), beta)
    torch.testing.assert_close(found, log_normalizer(component, beta)[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "p",
    [
        dist.MixtureSameFamily(EQUAL, dist.StudentT(ZEROS + 1.0)),
        dist.StudentT(ZEROS + 1.0),
        dist.StudentT(ZEROS + 1.0).to_event(1),
        dist.Gamma(torch.tensor([3.0, 0.2]), 1.0),
    ],
    ids=["mixture", "Student-t", "product", "Gamma"],
)
def test_an_infinite_integral_is_refused(p: dist.TorchDistribution) -> None:
    beta = 2.0 if "Gamma" in str(p) else 0.5
    with pytest.raises(ValueError, match=r"finite integral.*got (beta|tails)"):
        annealed(p, beta)


def test_the_standard_error_is_that_of_importance_sampling() -> None:
    locs = torch.tensor([[0.0, 0.3, 1.0], [0.5, -0.2, 0.4], [-1.0, 0.2, 0.0]]).double()
    clusters = dist.Categorical(torch.tensor([0.5, 0.3, 0.2]).double())
    scales = torch.tensor([0.5, 0.8, 0.4]).double().unsqueeze(-1)
    p = dist.MixtureSameFamily(clusters, dist.Normal(locs, scales).to_event(1))
    estimates = [AnnealedMixture(p, 2.0, num_samples=200, seed=seed) for seed in range(200)]
    distance = torch.stack([each.log_normalizer for each in estimates]) - log_square(p)
    stated = torch.stack([each.normalizer_error for each in estimates]).square().mean().sqrt()
    assert abs(distance.mean()) < STANDARD_ERRORS * stated / 200**0.5
    # The spread of 200 estimates has a relative standard error of 1/20.
    assert abs(distance.std() / stated - 1) < STANDARD_ERRORS / 20


def test_far_clusters_in_many_dimensions_cost_no_error() -> None:
    components = dist.Normal(10 * torch.eye(4, 30).double(), 0.5).to_event(1)
    clusters = dist.Categorical(logits=torch.arange(4).double())
    f = annealed(dist.MixtureSameFamily(clusters, components), 3.0)
    one = log_normalizer(dist.Normal(torch.zeros(30).double(), 0.5).to_event(1), 3.0)
    torch.testing.assert_close(f.log_normalizer, (3 * clusters.logits).logsumexp(0) + one)
    assert f.normalizer_error < 1e-10


def test_the_normaliser_leaves_the_random_state_as_it_was() -> None:
    components = dist.Normal(torch.zeros(2, 2), 1.0).to_event(1)
    before = torch.get_rng_state()
    first = log_normalizer(dist.MixtureSameFamily(EQUAL, components), 2.0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(log_normalizer(dist.MixtureSameFamily(EQUAL, components), 2.0), first)


def mixtures() -> list[dist.TorchDistribution]:
    scalar = dist.Normal(torch.randn(3, 2), 0.5)
    joint = dist.Normal(torch.randn(3, 2, 4), 0.5).to_event(1)
    full = dist.MultivariateNormal(torch.randn(3, 2, 4), torch.eye(4))
    probs = dist.Categorical(torch.tensor([0.3, 0.7]))
    return [dist.MixtureSameFamily(probs.expand((3,)), c) for c in (scalar, joint, full)]


@pytest.mark.parametrize("p", mixtures(), ids=["scalar", "joint", "full"])
def test_what_a_plate_repeats_is_computed_once(p: dist.MixtureSameFamily) -> None:
    wide = p.expand((7, 3)).expand((5, 7, 3))
    few = without_repeats(wide)
    assert few.batch_shape == (1, 1, 3)
    z = p.sample((5, 7))
    torch.testing.assert_close(few.log_prob(z), p.log_prob(z))
    f, narrow = AnnealedMixture(wide, 2.0), AnnealedMixture(p, 2.0)
    assert f.log_normalizer.shape == (5, 7, 3)
    assert f.log_normalizer.stride()[:2] == (0, 0)
    torch.testing.assert_close(f.log_normalizer[0, 0], narrow.log_normalizer)
    torch.testing.assert_close(f.log_prob(z), narrow.log_prob(z))
    kept = without_repeats(dist.MixtureSameFamily(p.mixture_distribution, p.component_distribution))
    assert kept.batch_shape == (3,)


def test_a_mixture_in_pyros_diagonal_form() -> None:
    logits, locs, scales = torch.zeros(3), torch.randn(3, 2), torch.rand(3, 2) + 0.2
    p = dist.MixtureOfDiagNormals(locs, scales, logits)
    same = dist.MixtureSameFamily(
        dist.Categorical(logits=logits), dist.Normal(locs, scales).to_event(1)
    )
    z = torch.randn(6, 2)
    torch.testing.assert_close(annealed(p, 0.5).log_prob(z), annealed(same, 0.5).log_prob(z))
    assert annealed(p, 1.0) is p
    assert log_normalizer(p, 1.0) == 0


def test_a_power_that_hardly_any_draw_survives_is_refused() -> None:
    components = dist.Normal(torch.arange(0.0, 500.0, 10.0), 1.0)
    p = dist.MixtureSameFamily(dist.Categorical(logits=torch.zeros(50)), components)
    with pytest.raises(ValueError, match=r"at least 0\.0001 of the draws .* beta = 4 with 50"):
        annealed(p, 4.0).sample()


def test_masked_entries_count_nothing() -> None:
    p = dist.Normal(torch.zeros(3), 2.0).mask(torch.tensor([True, False, True]))
    log_f = log_normalizer(p, 2.0)
    assert (log_f == 0).tolist() == [False, True, False]
    z = torch.randn(3)
    torch.testing.assert_close(annealed(p, 2.0).log_prob(z) + log_f, 2 * p.log_prob(z))


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, torch.tensor(-2.0)])
def test_the_power_is_positive(beta: float | Tensor) -> None:
    with pytest.raises(ValueError, match="beta: expected a positive number, got"):
        annealed(dist.Normal(0.0, 1.0), beta)


def test_the_power_is_one_number() -> None:
    with pytest.raises(ValueError, match=r"beta: expected a positive number, got shape \(2,\)"):
        annealed(dist.Normal(0.0, 1.0), torch.ones(2))


def test_at_least_two_draws() -> None:
    with pytest.raises(ValueError, match=r"num_samples: expected .* at least 2, got 1"):
        AnnealedMixture(dist.MixtureSameFamily(EQUAL, dist.Normal(ZEROS, 1.0)), 2.0, num_samples=1)


@pytest.mark.parametrize(
    ("p", "name"),
    [
        (dist.Delta(torch.zeros(2)), "Delta"),
        (dist.MixtureSameFamily(EQUAL, dist.Poisson(ZEROS + 1)), "Poisson"),
        (dist.MixtureSameFamily(EQUAL, dist.Bernoulli(logits=ZEROS)), "Bernoulli"),
    ],
)
def test_what_no_rule_covers_is_refused(p: dist.TorchDistribution, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"got {name}: register .*@register_annealed"):
        annealed(p, 2.0)
