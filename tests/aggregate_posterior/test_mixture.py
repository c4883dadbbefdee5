"""The densities and gradients of the blocked passes, against expressions that hold all pairs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import Distribution
from torch import Tensor

from benchmarks import straightforward
from pyro_decomp.aggregate_posterior import (
    AggregatePosterior,
    LogDensities,
    PairWeights,
    gaussian_native,
    gaussian_torch,
    pair_weights,
    pairs,
)
from pyro_decomp.aggregate_posterior.gaussian import log_densities
from pyro_decomp.errors import ModelError

N, B, D = 50, 7, 3
WEIGHTS = {
    name: pair_weights(name, N, B)
    for name in ("stratified_averaged", "stratified", "weighted", "batch")
}


class OwnNormal(dist.Normal):
    """A subclass, which may have a density of its own and so takes no fast path."""


@dataclass(frozen=True)
class Family:
    """A family of encodings.

    Attributes:
        build: From free parameters, ``[B, D]`` each.
        single: The same parameters to the distribution of every dimension by itself.
    """

    build: Callable[[Tensor, Tensor], Distribution]
    single: Callable[[Tensor, Tensor], Distribution]


def factorised(build: Callable[[Tensor, Tensor], Distribution]) -> Family:
    return Family(lambda a, b: build(a, b).to_event(1), build)


def covariance_factor(a: Tensor, b: Tensor) -> Tensor:
    return 0.5 * torch.eye(D).to(a) + 0.3 * a[..., None] * b[..., None, :].tril()


def full_covariance(a: Tensor, b: Tensor) -> Distribution:
    factor = covariance_factor(a, b)
    covariance = factor @ factor.mT + 0.1 * torch.eye(D).to(a)
    return dist.MultivariateNormal(a, covariance)


def its_dimensions(build: Callable[[Tensor, Tensor], Distribution]) -> Callable[..., Distribution]:
    def single(a: Tensor, b: Tensor) -> Distribution:
        covariance = build(a, b).covariance_matrix
        return dist.Normal(a, covariance.diagonal(dim1=-2, dim2=-1).sqrt())

    return single


def low_rank(a: Tensor, b: Tensor) -> Distribution:
    return dist.LowRankMultivariateNormal(a, b[..., None], 0.2 + b.square())


FAMILIES = {
    "Normal": factorised(lambda a, b: dist.Normal(a, b.exp())),
    "subclass of Normal": factorised(lambda a, b: OwnNormal(a, b.exp())),
    "Laplace": factorised(lambda a, b: dist.Laplace(a, b.exp())),
    "StudentT": factorised(lambda a, b: dist.StudentT(3.0, a, b.exp())),
    "Beta": factorised(lambda a, b: dist.Beta(a.exp(), b.exp())),
    "MultivariateNormal": Family(full_covariance, its_dimensions(full_covariance)),
    "LowRankMultivariateNormal": Family(low_rank, its_dimensions(low_rank)),
}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def parameters(dtype: torch.dtype = torch.double) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, B, D, dtype=torch.double).mul_(0.7).to(dtype)
    return a.requires_grad_(), b.requires_grad_()


def flat(log_q: LogDensities) -> Tensor:
    return torch.cat([log_q.joint[:, None], *log_q.dimensions.values()], 1)


def expected(family: Family, z: Tensor, a: Tensor, b: Tensor, weights: PairWeights) -> Tensor:
    """Log q(z_s) and log q(z_sd), ``[B, 1 + D]``, all pairs at once."""
    log_weights = weights.add_(torch.full((B, B), weights.other, dtype=z.dtype))
    joint = family.build(a, b).log_prob(z[:, None]) + log_weights
    single = family.single(a, b).log_prob(z[:, None]) + log_weights[..., None]
    return torch.cat([joint.logsumexp(1)[:, None], single.logsumexp(1)], 1)


def derivatives(values: Tensor, *inputs: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(values.shape, generator=generator, dtype=torch.double)
    return list(torch.autograd.grad((values * factors.to(values)).sum(), inputs, retain_graph=True))


@pytest.fixture(params=[None, 2**18, 8 * D], ids=["native", "one block", "several blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(gaussian_native, "compiled", lambda _: None)
        for module in (gaussian_torch, pairs):
            monkeypatch.setattr(module, "BLOCK", request.param)


@pytest.mark.full(
    but=[
        "one block-32-batch-*",
        "*-32-weighted-Laplace",
        "*-32-stratified_averaged-MultivariateNormal",
    ]
)
@families
@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.double, 1e-10), (torch.float32, 1e-5)], ids=["64", "32"]
)
def test_values_and_gradients_of_every_family(
    family: Family, weights: PairWeights, dtype: torch.dtype, tolerance: float
) -> None:
    a, b = parameters(dtype)
    z = family.build(a, b).sample().requires_grad_()
    posterior = AggregatePosterior({"z": family.build(a, b)})
    log_q, reference = (
        posterior.log_densities({"z": z}, weights),
        expected(family, z, a, b, weights),
    )
    torch.testing.assert_close(flat(log_q), reference, rtol=tolerance, atol=tolerance)
    joint = posterior.log_prob({"z": z}, weights)
    torch.testing.assert_close(joint, reference[:, 0], rtol=tolerance, atol=tolerance)
    for ours, theirs in ((flat(log_q), reference), (joint, reference[:, 0])):
        pairs_of = zip(derivatives(ours, z, a, b), derivatives(theirs, z, a, b), strict=True)
        for gradient, truth in pairs_of:
            assert (gradient - truth).norm() <= tolerance * truth.norm()


@pytest.mark.full
@pytest.mark.usefixtures("_blocks")
def test_the_gaussian_passes_against_finite_differences() -> None:
    z, loc = torch.randn(2, 2, 5, dtype=torch.double)
    inputs = [x.requires_grad_() for x in (z, loc, torch.rand(2, 5, dtype=torch.double) + 0.3)]
    for weights in (PairWeights(-1.0), pair_weights("stratified", 9, 5)):
        assert torch.autograd.gradcheck(lambda *x, w=weights: log_densities(*x, w), inputs)
        for ranges in ((), (slice(0, 1), slice(1, 2)), (slice(0, 2), slice(0, 1))):
            assert torch.autograd.gradcheck(
                lambda *x, w=weights, r=ranges: log_densities(*x, w, r, split=True), inputs
            )


@pytest.mark.parametrize(
    "qz_x",
    [
        dist.Normal(torch.linspace(-2, 2, 10).view(5, 2).double(), 0.5).to_event(1),
        dist.Laplace(torch.linspace(-2, 2, 10).view(5, 2).double(), 0.5).to_event(1),
        dist.MultivariateNormal(
            torch.linspace(-2, 2, 10).view(5, 2).double(),
            scale_tril=torch.tensor([[0.5, 0.0], [0.4, 0.6]]).double(),
        ),
    ],
    ids=lambda fn: type(fn).__name__,
)
def test_marginals_are_integrals_of_the_joint(qz_x: Distribution) -> None:
    grid = torch.linspace(-20, 20, 4001, dtype=torch.double)
    point = 0.3
    line = torch.stack([torch.full_like(grid, point), grid], 1)
    posterior = AggregatePosterior({"z": qz_x})
    log_q = posterior.log_densities({"z": line})
    integral = torch.trapezoid(log_q.joint.exp(), grid)
    torch.testing.assert_close(integral, log_q.dimensions["z"][0, 0].exp(), rtol=1e-4, atol=0)
    total = torch.trapezoid(log_q.dimensions["z"][:, 1].exp(), grid)
    assert total.item() == pytest.approx(1.0, rel=1e-4)


def test_far_samples_and_narrow_encodings() -> None:
    loc = torch.tensor([[0.0], [1e-3], [5.0]]).expand(3, D)
    scale = torch.tensor([[1e-3], [1e-4], [2.0]]).expand(3, D)
    z = torch.tensor([[0.0], [40.0], [-300.0]]).expand(3, D)
    log_q = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)}).log_densities({"z": z})
    single = dist.Normal(loc.double(), scale.double()).log_prob(z.double()[:, None])
    third = math.log(3)
    torch.testing.assert_close(log_q.joint.double(), single.sum(-1).logsumexp(1) - third)
    torch.testing.assert_close(log_q.dimensions["z"].double(), single.logsumexp(1) - third)


def test_the_gradient_agrees_with_the_benchmarks_baseline() -> None:
    z, loc = torch.randn(2, 200, 10)
    inputs = [x.requires_grad_() for x in (z, loc, torch.rand(200, 10) + 0.1)]

    def ours(z: Tensor, loc: Tensor, scale: Tensor, num_data: int) -> Tensor:
        posterior = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)})
        weights = pair_weights("stratified_averaged", num_data, len(z))
        log_q = posterior.log_densities({"z": z}, weights)
        return (log_q.joint - log_q.dimensions["z"].sum(-1)).mean()

    values = [f(*inputs, 1000) for f in (ours, straightforward.total_correlation)]
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(*(torch.autograd.grad(v, inputs) for v in values), strict=True):
        assert (mine - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("names", [("Normal", "Normal"), ("Normal", "MultivariateNormal")])
def test_several_sites(names: tuple[str, str]) -> None:
    weights = WEIGHTS["stratified_averaged"]
    chosen = {f"z{k}": (FAMILIES[name], parameters()) for k, name in enumerate(names)}
    qz_x = {name: family.build(*ab) for name, (family, ab) in chosen.items()}
    z = {name: fn.sample() for name, fn in qz_x.items()}
    log_q = AggregatePosterior(qz_x).log_densities(z, weights)
    pairs_of_sites = [fn.log_prob(z[name][:, None]) for name, fn in qz_x.items()]
    log_weights = weights.add_(torch.full((B, B), weights.other, dtype=torch.double))
    joint = (sum(pairs_of_sites) + log_weights).logsumexp(1)
    torch.testing.assert_close(log_q.joint, joint, rtol=1e-10, atol=1e-10)
    for name, (family, ab) in chosen.items():
        alone = expected(family, z[name], *ab, weights)
        found = torch.cat([log_q.sites[name][:, None], log_q.dimensions[name]], 1)
        torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-10)
    inputs = [x for _, ab in chosen.values() for x in ab]
    sites = torch.stack([log_q.joint, *log_q.sites.values()])
    reference = torch.stack([(p + log_weights).logsumexp(1) for p in pairs_of_sites])
    truth = derivatives(torch.cat([joint[None], reference]), *inputs)
    for gradient, other in zip(derivatives(sites, *inputs), truth, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-10)


def test_a_plate_inside_the_data_plate_is_dimensions() -> None:
    loc = torch.randn(4, B, dtype=torch.double)
    nested = AggregatePosterior({"z": dist.Laplace(loc, 0.5)})
    flat_one = AggregatePosterior({"z": dist.Laplace(loc.T, 0.5).to_event(1)})
    z = torch.randn(4, B, dtype=torch.double)
    ours, theirs = nested.log_densities({"z": z}), flat_one.log_densities({"z": z.T})
    torch.testing.assert_close(flat(ours), flat(theirs))


def test_permuting_the_batch_permutes_the_densities() -> None:
    family, weights = FAMILIES["Laplace"], WEIGHTS["stratified_averaged"]
    a, b = parameters()
    z, order = family.build(a, b).sample(), torch.randperm(B)
    ours = AggregatePosterior({"z": family.build(a, b)}).log_densities({"z": z}, weights)
    permuted = AggregatePosterior({"z": family.build(a[order], b[order])})
    other = permuted.log_densities({"z": z[order]}, weights)
    torch.testing.assert_close(flat(other), flat(ours)[order])


def test_unknown_marginals_are_refused_and_the_joint_is_not() -> None:
    components = dist.Normal(torch.randn(B, 4, D), 1.0).to_event(1)
    mixture = dist.MixtureSameFamily(dist.Categorical(logits=torch.zeros(B, 4)), components)
    posterior, z = AggregatePosterior({"z": mixture}), {"z": torch.randn(B, D)}
    assert posterior.log_prob(z).shape == (B,)
    with pytest.raises(
        ModelError, match=r"site 'z': the marginals of MixtureSameFamily .* expected"
    ):
        posterior.log_densities(z)


def test_identical_encodings_share_nothing() -> None:
    """Without constants, -(D-1) ln B; log weights added per dimension would give far less yet."""
    dimensions, size, sampled = 10, 10_000, 20
    posterior = AggregatePosterior(
        {"z": dist.Normal(torch.zeros(size, dimensions, dtype=torch.double), 1.0).to_event(1)}
    )
    z = torch.randn(sampled, dimensions, dtype=torch.double)
    log_q = posterior.log_densities({"z": z}, PairWeights(0.0))
    total_correlation = log_q.joint - log_q.dimensions["z"].sum(-1)
    torch.testing.assert_close(total_correlation.mean().item(), -82.893, rtol=1e-5, atol=0)
    few = AggregatePosterior({"z": dist.Normal(torch.zeros(64, 10).double(), 1.0).to_event(1)})
    z = torch.randn(64, dimensions, dtype=torch.double)
    log_q = few.log_densities({"z": z}, pair_weights("stratified_averaged", size, 64))
    normal = dist.Normal(torch.zeros((), dtype=torch.double), 1.0).log_prob(z)
    torch.testing.assert_close(log_q.joint, normal.sum(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_q.dimensions["z"], normal, rtol=1e-12, atol=1e-12)
