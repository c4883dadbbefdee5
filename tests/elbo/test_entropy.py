"""The ELBO with a reward for the entropy of the encodings."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor

from pyro_decomp.elbo.base import Estimate
from pyro_decomp.elbo.entropy import EntropyRegularizedELBO
from tests.example_programs import (
    PROGRAMS,
    B,
    K,
    N,
    Programs,
    auxiliary,
    hierarchy,
    masked,
    normal_prior,
)
from tests.statistics import assert_mean

SCALE = torch.linspace(0.3, 0.9, B * K).reshape(B, K).double()
ROOT = torch.diag_embed(SCALE) + torch.tensor([[0.0, 0.0], [0.4, 0.0]]).double()
LOC = torch.linspace(-1, 1, B * K).reshape(B, K).double()


def affine(loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    base = dist.Laplace(torch.zeros_like(loc), torch.ones_like(loc)).to_event(1)
    return dist.TransformedDistribution(base, [transforms.AffineTransform(loc, scale, event_dim=1)])


GAUSSIAN = {
    "diagonal": (dist.Normal(LOC, SCALE).to_event(1), SCALE.log().sum(-1)),
    "full": (dist.MultivariateNormal(LOC, scale_tril=ROOT), SCALE.log().sum(-1)),
    "low rank": (
        dist.LowRankMultivariateNormal(LOC, SCALE.unsqueeze(-1), SCALE.square()),
        (SCALE.log().sum(-1) + math.log(3) / 2),
    ),
}


def program(q: dist.TorchDistribution) -> Programs:
    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("x", dist.Normal(normal_prior(), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", q)

    return Programs(model, guide, torch.ones(B, K).double())


def evaluated(programs: Programs, **settings: float) -> tuple[EntropyRegularizedELBO, Estimate]:
    elbo = EntropyRegularizedELBO(**settings)
    return elbo, elbo.evaluate(programs.model, programs.guide, programs.x)


@pytest.mark.parametrize(("q", "expected"), GAUSSIAN.values(), ids=GAUSSIAN)
@pytest.mark.parametrize("analytic_kl", [True, False])
def test_a_gaussian_guide_gives_equation_5(
    q: dist.TorchDistribution, expected: Tensor, analytic_kl: bool
) -> None:
    elbo, estimate = evaluated(program(q), beta=2.5, analytic_kl=analytic_kl)
    torch.testing.assert_close(estimate.terms["half_log_det"], expected.mean())
    torch.testing.assert_close(estimate.objective, estimate.elbo + 1.5 * expected.mean())
    assert elbo.entropy_methods == {"z": "analytic"}
    assert "entropy" not in estimate.terms
    constant = K * (1 + math.log(2 * math.pi)) / 2
    torch.testing.assert_close(q.entropy().mean(), expected.mean() + constant)


def test_another_guide_gives_its_entropy() -> None:
    elbo, estimate = evaluated(program(dist.Laplace(LOC, SCALE).to_event(1)), beta=0.4)
    expected = (1 + (2 * SCALE).log()).sum(-1).mean()
    torch.testing.assert_close(estimate.terms["entropy"], expected)
    torch.testing.assert_close(estimate.objective, estimate.elbo - 0.6 * expected)
    assert elbo.entropy_methods == {"z": "analytic"}
    assert "half_log_det" not in estimate.terms


@pytest.mark.full
@pytest.mark.parametrize(
    ("family", "analytic_kl"),
    [(affine, True), (lambda loc, scale: dist.Laplace(loc, scale).to_event(1), False)],
    ids=["no closed form", "closed forms not wanted"],
)
def test_the_entropy_is_estimated_without_bias(
    family: Callable[[Tensor, Tensor], dist.TorchDistribution], analytic_kl: bool
) -> None:
    scale = SCALE.clone().requires_grad_()
    expected = (1 + (2 * scale).log()).sum(-1).mean()
    (slope,) = torch.autograd.grad(expected, scale)
    values, slopes = [], []
    for _ in range(200):
        elbo, estimate = evaluated(program(family(LOC, scale)), beta=2, analytic_kl=analytic_kl)
        values.append(estimate.terms["entropy"].detach())
        slopes.append(torch.autograd.grad(estimate.terms["entropy"], scale)[0])
    assert elbo.entropy_methods == {"z": "Monte Carlo"}
    assert_mean(torch.stack(values), expected.detach())
    # Of a location-scale family the gradient is the same for every sample.
    torch.testing.assert_close(torch.stack(slopes).mean(0), slope)


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_at_one_it_is_the_plain_elbo(name: str) -> None:
    _, estimate = evaluated(PROGRAMS[name](), beta=1.0)
    assert estimate.objective.item() == pytest.approx(estimate.elbo.item(), rel=1e-12)


def test_entropies_of_several_sites_add() -> None:
    programs = hierarchy("same")
    elbo, estimate = evaluated(programs, beta=2.0)
    torch.testing.assert_close(
        estimate.terms["half_log_det"], torch.tensor(2 * K * math.log(0.4)).double()
    )
    assert elbo.entropy_methods == {"z1": "analytic", "z2": "analytic"}


def test_an_auxiliary_site_counts_as_part_of_the_encoding() -> None:
    _, estimate = evaluated(auxiliary(), beta=2.0, analytic_kl=False)
    expected = K * math.log(0.5)  # of u; given u there is nothing random in z
    torch.testing.assert_close(estimate.terms["half_log_det"], torch.tensor(expected).double())


def test_masked_data_count_nothing() -> None:
    programs = masked()
    _, estimate = evaluated(programs, beta=2.0)
    (pair,) = estimate.pairs
    scale = pair.guide.nodes["z"]["fn"].base_dist.scale
    kept = torch.arange(B) % 3 != 0
    expected = scale.log().sum(-1)[kept].mean()
    torch.testing.assert_close(estimate.terms["half_log_det"], expected)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"beta: expected .* at least 0, got -0\.1"):
        EntropyRegularizedELBO(-0.1)
