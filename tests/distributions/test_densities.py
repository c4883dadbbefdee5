"""Log densities inside and outside of supports that are fixed, or differ from datum to datum."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.distributions.densities import (
    family_without_density,
    is_inside,
    log_density,
    log_sum_exp,
)

t = dist.transforms
X = torch.tensor([[-1.3, 0.4], [0.2, 0.9], [1.1, -0.6], [0.0, 2.0]]).double()
HALF = torch.tensor(0.5).double()

# Families with bounds, from a tensor of any sign.
FAMILIES: dict[str, Callable[[Tensor], dist.TorchDistribution]] = {
    "Uniform": lambda x: dist.Uniform(x, x + x.exp()),
    "Beta": lambda x: dist.Beta(1 + x.exp(), 1 + x.exp()),
    "Gamma": lambda x: dist.Gamma(1 + x.exp(), x.exp()),
    "Dirichlet": lambda x: dist.Dirichlet(1 + x.exp()),
    "Kumaraswamy": lambda x: dist.Kumaraswamy(1 + x.exp(), 1 + x.exp()),
    "HalfNormal": lambda x: dist.HalfNormal(x.exp()),
    "HalfCauchy": lambda x: dist.HalfCauchy(x.exp()),
    "LogNormal": lambda x: dist.LogNormal(x, x.exp()),
    "Pareto": lambda x: dist.Pareto(x.exp(), 1 + x.exp()),
    "Weibull": lambda x: dist.Weibull(x.exp(), 1 + x.exp()),
    "Exponential": lambda x: dist.Exponential(x.exp()),
    "InverseGamma": lambda x: dist.InverseGamma(1 + x.exp(), x.exp()),
    "AffineBeta": lambda x: dist.AffineBeta(1 + x.exp(), 1 + x.exp(), x, x.exp()),
    "shifted LogNormal": lambda x: dist.TransformedDistribution(
        dist.LogNormal(x, 1.0), [t.AffineTransform(x, 1.0)]
    ),
    "stretched Beta": lambda x: dist.TransformedDistribution(
        dist.Beta(1 + x.exp(), 2.0), [t.AffineTransform(x, x.exp())]
    ),
    "sigmoid of a Normal": lambda x: dist.TransformedDistribution(
        dist.Normal(x, 1.0).to_event(1), [t.SigmoidTransform()]
    ),
    "RelaxedBernoulli": lambda x: dist.RelaxedBernoulli(HALF, logits=x),
    "RelaxedOneHotCategorical": lambda x: dist.RelaxedOneHotCategorical(HALF, logits=x),
    "ContinuousBernoulli": lambda x: dist.ContinuousBernoulli(logits=x),
}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def joined(fn: dist.TorchDistribution) -> dist.TorchDistribution:
    return fn if fn.event_shape else fn.to_event(1)


@families
def test_of_its_own_draws_it_is_log_prob(family: Callable) -> None:
    pyro.set_rng_seed(0)
    mask = torch.arange(4) % 2 == 0
    for fn in (family(X), joined(family(X)), joined(family(X)).mask(mask)):
        z = fn.sample()
        assert is_inside(fn, z).all()
        torch.testing.assert_close(log_density(fn, z), fn.log_prob(z), rtol=1e-14, atol=0)


@families
def test_outside_it_is_minus_infinity_with_finite_gradients(family: Callable) -> None:
    """Over all pairs of values and entries of the batch, against one pair after the other."""
    pyro.set_rng_seed(0)
    x = X.clone().requires_grad_()
    fn = joined(family(x))
    z = torch.cat([fn.sample(), fn.sample() * 3 - 1, -fn.sample()]).requires_grad_()
    pairs = log_density(fn, z[:, None])
    assert pairs.shape == (12, 4)
    assert not pairs.isnan().any()
    assert (pairs == -math.inf).any()
    expected = torch.full_like(pairs, -math.inf)
    for j in range(4):
        alone = joined(family(x[j]))
        for s in range(12):
            try:
                expected[s, j] = alone.log_prob(z[s])
            except ValueError:  # its own validation
                continue
    torch.testing.assert_close(pairs, expected.nan_to_num(nan=-math.inf, neginf=-math.inf))
    inside = pairs.isfinite().any(1)
    mixed = log_sum_exp(pairs)
    assert torch.equal(mixed, pairs.logsumexp(1))
    for value in (mixed[inside].sum(), mixed.sum(), pairs[pairs.isfinite()].sum()):
        slopes = torch.autograd.grad(value, (x, z), retain_graph=True, materialize_grads=True)
        assert all(slope.isfinite().all() for slope in slopes)
        assert (slopes[1][~inside] == 0).all()


def test_gradients_inside_are_those_of_log_prob() -> None:
    def score(x: Tensor, z: Tensor) -> Tensor:
        return log_density(joined(FAMILIES["stretched Beta"](x)), z)

    z = (X + 0.5 * X.exp()).requires_grad_()
    assert torch.autograd.gradcheck(score, (X.clone().requires_grad_(), z))


def test_a_masked_value_outside_counts_nothing() -> None:
    fn = dist.Uniform(X, X + 1).to_event(1).mask(torch.tensor([True, True, False, False]))
    assert log_density(fn, X + 2).tolist() == [-math.inf, -math.inf, 0, 0]


def test_draws_in_single_precision_are_inside() -> None:
    pyro.set_rng_seed(0)
    fn = dist.Dirichlet(torch.full((200, 300), 0.7))
    assert log_density(fn, fn.sample()).isfinite().all()


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(X, 1.0).to_event(1),
        dist.StudentT(4.0, X, 1.0),
        dist.MultivariateNormal(X, torch.eye(2).double()),
        dist.TransformedDistribution(dist.Normal(X, 1.0), [t.AffineTransform(X, 2.0)]),
    ],
)
def test_where_the_support_is_everything_log_prob_is_called(fn: dist.TorchDistribution) -> None:
    assert torch.equal(log_density(fn, X + 0.1), fn.log_prob(X + 0.1))


@pytest.mark.parametrize(
    ("fn", "family"),
    [
        (dist.Delta(X), "Delta"),
        (dist.Delta(X).to_event(1), "Delta"),
        (dist.Delta(X, event_dim=1), "Delta"),
        (dist.Delta(X).mask(True).to_event(1), "Delta"),
        (dist.torch_distribution.ExpandedDistribution(dist.Delta(X[0]), (4, 2)), "Delta"),
        (dist.TransformedDistribution(dist.Delta(X), [t.ExpTransform()]), "Delta"),
        (dist.OneHotCategoricalStraightThrough(logits=X), "OneHotCategoricalStraightThrough"),
        (
            dist.RelaxedOneHotCategoricalStraightThrough(HALF, logits=X),
            "RelaxedOneHotCategoricalStraightThrough",
        ),
        (
            dist.RelaxedBernoulliStraightThrough(HALF, logits=X).to_event(1),
            "RelaxedBernoulliStraightThrough",
        ),
        (dist.RelaxedOneHotCategorical(HALF, logits=X), None),
        (dist.OneHotCategorical(logits=X), None),
        (dist.Normal(X, 1.0).to_event(1), None),
    ],
)
def test_families_without_a_density(fn: dist.TorchDistribution, family: str | None) -> None:
    assert family_without_density(fn) == family


class Rounded(dist.OneHotCategorical):
    """A straight-through family of one's own."""

    has_rsample = True

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


def test_a_discrete_family_that_is_drawn_with_gradients_has_none() -> None:
    assert family_without_density(Rounded(logits=X)) == "Rounded"
    assert family_without_density(dist.Categorical(logits=X)) is None
