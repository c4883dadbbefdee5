"""Covariances and their penalties against numpy, and against draws of the encodings."""

import inspect

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyro_decomp.divergences.covariance import (
    CovariancePenalty,
    code_covariance,
    covariance,
    diagonal_penalty,
    off_diagonal_penalty,
)
from pyro_decomp.errors import ModelError
from tests.divergences.sites import encoded, evaluate, three_sites, traced
from tests.statistics import assert_mean

LOC = torch.tensor([[0.1, 2.0], [-0.3, 1.0], [1.5, 0.2], [0.4, -2.0]], dtype=torch.double)
SCALE = torch.tensor([[0.5, 1.0], [0.2, 0.3], [1.1, 0.7], [0.9, 0.4]], dtype=torch.double)
NORMALS = dist.Normal(LOC, SCALE).to_event(1)


def by_hand(c: np.ndarray) -> tuple[float, float]:
    """Off the diagonal and on it, entry by entry."""
    size = range(len(c))
    off = sum(c[i, j] ** 2 for i in size for j in size if i != j)
    return off, sum((c[i, i] - 1) ** 2 for i in size)


def test_covariance() -> None:
    assert np.allclose(covariance(LOC), np.cov(LOC.T.numpy()), rtol=1e-12)
    assert np.allclose(covariance(LOC, num_data=4), np.cov(LOC.T.numpy(), ddof=0), rtol=1e-12)
    with pytest.raises(ValueError, match="loc: expected at least 2 rows, got 1"):
        covariance(LOC[:1])


def test_covariance_is_unbiased_over_batches() -> None:
    batches = torch.combinations(torch.arange(4), 3)
    mean = torch.stack([covariance(LOC[rows], num_data=4) for rows in batches]).mean(0)
    assert torch.allclose(mean, covariance(LOC, num_data=4), rtol=1e-12)


def test_penalties() -> None:
    c = covariance(torch.randn(9, 5).double())
    off, on = by_hand(c.numpy())
    assert off_diagonal_penalty(c).item() == pytest.approx(off, rel=1e-12)
    assert diagonal_penalty(c).item() == pytest.approx(on, rel=1e-12)
    assert off_diagonal_penalty(torch.eye(3)) == diagonal_penalty(torch.eye(3)) == 0


def test_kind_two_adds_a_matrix_to_that_of_kind_one() -> None:
    pair = traced(*encoded(NORMALS))
    first, second = code_covariance(pair, "I"), code_covariance(pair, "II")
    assert np.allclose(first, np.cov(LOC.T.numpy(), ddof=0), rtol=1e-12)
    assert torch.allclose(second - first, SCALE.square().mean(0).diag(), rtol=1e-12)


def test_kind_two_is_the_covariance_of_codes() -> None:
    pair = traced(*three_sites())
    a, b, c = (pair.guide.nodes[name]["fn"].sample((3000,)) for name in "abc")
    codes = torch.cat([a[..., None], b.movedim(2, 1).flatten(2), c], -1)
    centred = codes - codes.mean((0, 1))
    products = centred[..., :, None] * centred[..., None, :]
    expected = code_covariance(pair, "II").detach()
    assert_mean(products.mean(1), expected)  # one mean a run: the data themselves are fixed


@pytest.mark.parametrize("kind", ["I", "II"])
def test_the_divergence_weighs_both_sums(kind: str) -> None:
    programs = encoded(NORMALS, num_data=50)
    off, on = by_hand(code_covariance(traced(*programs), kind).numpy())
    value = evaluate(CovariancePenalty(kind, lambda_od=3.0, lambda_d=0.5), *programs)
    assert value.item() == pytest.approx(3 * off + 0.5 * on, rel=1e-12)
    assert evaluate(CovariancePenalty(kind), *programs).item() == pytest.approx(off + on)


def test_gradients_reach_both_parameters() -> None:
    loc, scale = LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()
    programs = encoded(dist.Normal(loc, scale).to_event(1))

    def penalty(loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        c = covariance(loc, num_data=4) + scale.square().mean(0).diag()
        return (c - torch.eye(2)).square().sum()

    found = torch.autograd.grad(evaluate(CovariancePenalty("II"), *programs), [loc, scale])
    expected = torch.autograd.grad(penalty(loc, scale), [loc, scale])
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10)


def test_a_guide_without_spread() -> None:
    pair = traced(*encoded(dist.Delta(LOC, event_dim=1)))
    assert torch.equal(code_covariance(pair, "I"), code_covariance(pair, "II"))


def test_families_of_unknown_covariance_are_refused() -> None:
    concentration = torch.rand(4, 3).double() + 1
    prior = dist.Dirichlet(torch.ones(3).double())
    programs = encoded(dist.Dirichlet(concentration), prior)
    with pytest.raises(ModelError, match=r"the covariance of the encodings of 'z' \(Dirichlet\)"):
        evaluate(CovariancePenalty("II"), *programs)
    assert evaluate(CovariancePenalty("I"), *programs) > 0  # the means are known


def test_what_has_no_covariance_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 2 data in a batch, got 1"):
        evaluate(CovariancePenalty("I"), *encoded(dist.Normal(LOC[:1], 1.0).to_event(1)))
    with pytest.raises(ValueError, match="kind: expected one of 'I', 'II', got 'i'"):
        inspect.unwrap(CovariancePenalty.__init__)(
            object.__new__(CovariancePenalty), "i"
        )  # else its annotations say so first
