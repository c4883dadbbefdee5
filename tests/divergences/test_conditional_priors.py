"""Priors that are given something of the datum: every batch of a few, and densities by hand."""

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations

import pyro
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import ExclusiveKL, InclusiveKL
from pyro_decomp.aggregate_posterior import Exact
from pyro_decomp.divergences import (
    MMD,
    AdversarialDivergence,
    CovariancePenalty,
    DimensionwiseMMD,
    Divergence,
    EnergyDistance,
    SlicedWasserstein,
    dimensionwise_mmd,
    energy_distance,
    mmd,
)
from pyro_decomp.programs.traces import TracePair
from tests.conditional import CONDITIONAL, PRODUCTS, Codes, Conditional, K, N, U, X
from tests.divergences.sites import evaluate, traced

CLOSE = {"rtol": 1e-10, "atol": 1e-10}

every_model = pytest.mark.parametrize("case", CONDITIONAL.values(), ids=CONDITIONAL)


def pair_of(case: Conditional, rows: list[int]) -> TracePair:
    return traced(case.model, case.encoder, X[rows], U[rows])


def codes(pair: TracePair, *, of_prior: bool) -> Codes:
    if of_prior:
        return pair.prior.draw()[0]
    return {name: pair.guide.nodes[name]["value"] for name in pair.latents}


def rows_of(pair: TracePair, z: Codes, rows: list[int]) -> Codes:
    return {
        name: z[name].index_select(axis, torch.tensor(rows)) for name, axis in pair.axes.items()
    }


@pytest.mark.full(but=["Normal-2-codes", "spike and slab-2-draws of the prior"])
@pytest.mark.parametrize("of_prior", [False, True], ids=["codes", "draws of the prior"])
@pytest.mark.parametrize("batch_size", [2, 3])
@every_model
def test_over_all_batches_both_densities_are_unbiased(
    case: Conditional, batch_size: int, of_prior: bool
) -> None:
    """E[p_hat/p] = 1 and E[q_hat/q] = 1, at codes and at draws that belong to a datum each."""
    whole = pair_of(case, [*range(N)])
    z = codes(whole, of_prior=of_prior)
    log_pz = case.log_pz(z, U).logsumexp(1) - math.log(N)
    log_qz = case.log_qz(z, X).logsumexp(1) - math.log(N)
    ratios: list[list[Tensor]] = [[] for _ in range(N)]
    for batch in combinations(range(N), batch_size):
        rows = list(batch)
        pair = pair_of(case, rows)
        reference = pair.reference("stratified_averaged")
        some = rows_of(pair, z, rows)
        p = reference.prior.log_prob(some, reference.weights) - log_pz[rows]
        q = reference.posterior.log_prob(some, reference.weights) - log_qz[rows]
        for place, row in enumerate(rows):
            ratios[row].append(torch.stack([p[place], q[place]]).exp())
    means = torch.stack([torch.stack(each).mean(0) for each in ratios])
    torch.testing.assert_close(means, torch.ones(N, 2).double(), **CLOSE)
    spread = torch.stack([torch.stack(each).std(0) for each in ratios])
    assert (spread > 1e-3).any(), "one batch says as much as all"


@pytest.mark.full(but=["Normal", "hierarchy", "spike and slab"])
@every_model
def test_of_all_data_the_densities_are_those_by_hand(case: Conditional) -> None:
    pair = pair_of(case, [*range(N)])
    assert pair.prior_inputs.given == {"the argument 'u'"}
    for of_prior in (False, True):
        z = codes(pair, of_prior=of_prior)
        expected = case.log_pz(z, U).logsumexp(1) - math.log(N)
        torch.testing.assert_close(pair.aggregate_prior.log_prob(z), expected, **CLOSE)


@pytest.mark.full(but=["Normal", "hierarchy"])
@every_model
def test_the_divergences_by_hand(case: Conditional) -> None:
    """On a minibatch too: the weights of both mixtures set the datum of a code or draw apart."""
    rows = [4, 0, 2]
    weights = torch.full((3, 3), (N - 1) / (N * 2), dtype=torch.double)
    weights.fill_diagonal_(1 / N)

    def ratio(pair: TracePair, z: Codes) -> Tensor:
        log_p, log_q = (
            (log_prob(z, data[rows]) + weights.log()).logsumexp(1)
            for log_prob, data in ((case.log_pz, U), (case.log_qz, X))
        )
        return (log_q - log_p).mean()

    pair = pair_of(case, rows)
    expected = ratio(pair, codes(pair, of_prior=False))
    torch.testing.assert_close(ExclusiveKL()(pair), expected, **CLOSE)
    pyro.set_rng_seed(1)
    expected = -torch.stack([ratio(pair, codes(pair, of_prior=True)) for _ in range(2)]).mean()
    for num_samples in (4, 5, 6):  # a batch of three at a time
        pyro.set_rng_seed(1)
        torch.testing.assert_close(InclusiveKL(num_samples)(pair), expected, **CLOSE)


@pytest.mark.full(but=["Normal", "hierarchy", "spike and slab"])
@every_model
def test_over_the_whole_set_a_minibatch_has_the_exact_densities(case: Conditional) -> None:
    pair = pair_of(case, [1, 3])
    z = codes(pair, of_prior=False)
    log_p, log_q = (
        log_prob(z, data).logsumexp(1) for log_prob, data in ((case.log_pz, U), (case.log_qz, X))
    )
    found = ExclusiveKL(Exact(X, U))(pair)
    torch.testing.assert_close(found, (log_q - log_p).mean(), **CLOSE)


@pytest.mark.full(but=["Normal", "hierarchy", "spike and slab"])
@every_model
def test_gradients_are_those_of_the_densities_by_hand(case: Conditional) -> None:
    u = U.clone().requires_grad_()  # as a network of the prior would give it
    pair = traced(case.model, case.encoder, X, u)
    z = {name: value.detach() for name, value in codes(pair, of_prior=False).items()}
    expected = torch.autograd.grad(case.log_pz(z, u).logsumexp(1).sum(), u)
    found = torch.autograd.grad(pair.aggregate_prior.log_prob(z).sum(), u)
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.full(but=["Normal-*", "hierarchy-*"])
@pytest.mark.parametrize("divergence", [InclusiveKL(), ExclusiveKL()], ids=["p || q", "q || p"])
@pytest.mark.parametrize("name", [*PRODUCTS, "hierarchy"])
def test_a_guide_that_is_the_prior_is_at_no_distance(
    name: str, divergence: InclusiveKL | ExclusiveKL
) -> None:
    case = CONDITIONAL[name]

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            case.prior(u)

    for rows in ([0, 1, 2, 3, 4], [3, 1]):
        found = evaluate(divergence, case.model, guide, X[rows], U[rows])
        assert abs(found) < 1e-12


DISTANCES: dict[str, Callable[..., Tensor]] = {
    "MMD": mmd,
    "MMD with a function": partial(mmd, kernel=lambda squared: (-squared).exp()),
    "dimension-wise MMD": dimensionwise_mmd,
    "dimension-wise MMD, pairs": partial(dimensionwise_mmd, kernel=lambda s: 1 / (1 + s)),
    "energy distance": energy_distance,
}
every_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


def kernels(distance: Callable[..., Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The kernel between rows, ``[b, s]``, from distances of samples of two equal points each.

    Within such a sample the kernel is k(0), so that the distance is 2 k(0) - 2 k(x, y).
    """
    alike = distance(x[:1].expand(2, -1), x[:1].expand(2, -1))
    far = x[:1] + 1e8
    at_zero = (distance(x[:1].expand(2, -1), far.expand(2, -1)) - alike) / 2
    pairs = [[distance(a.expand(2, -1), b.expand(2, -1)) for b in y] for a in x]
    return at_zero - torch.stack([torch.stack(row) for row in pairs]) / 2


@pytest.mark.full(but=["energy distance-2", "MMD-3"])
@pytest.mark.parametrize("batch_size", [2, 3])
@every_distance
def test_a_distance_without_the_pair_of_one_datum_is_unbiased(
    distance: Callable[..., Tensor], batch_size: int
) -> None:
    """Over all batches its mean is that of all pairs of different data."""
    x, y = torch.randn(2, N, 3, dtype=torch.double)
    batches = [list(rows) for rows in combinations(range(N), batch_size)]
    mean = torch.stack([distance(x[rows], y[rows], is_paired=True) for rows in batches]).mean()
    torch.testing.assert_close(mean, distance(x, y, is_paired=True), **CLOSE)
    apart = ~torch.eye(N, dtype=torch.bool)
    if distance is not energy_distance:  # which has no value at infinity
        means = [kernels(distance, *pair)[apart].mean() for pair in ((x, x), (y, y), (x, y))]
        torch.testing.assert_close(mean, means[0] + means[1] - 2 * means[2], rtol=1e-6, atol=1e-6)
    assert (mean - distance(x, y)).abs() > 1e-3, "the pairs of one datum count all the same"


@pytest.mark.parametrize("size", [7, 500])
@every_distance
def test_its_gradient_is_that_of_its_value(distance: Callable[..., Tensor], size: int) -> None:
    """Forms on a grid (500 points) and by pairs, by differences of values."""
    x, y = torch.randn(2, size, 2, dtype=torch.double)
    x.requires_grad_()
    y.requires_grad_()
    gradients = torch.autograd.grad(distance(x, y, is_paired=True), (x, y))
    step = 1e-5 * torch.randn(2, size, 2, dtype=torch.double)
    with torch.no_grad():
        ahead, behind = (
            distance(x + sign * step[0], y + sign * step[1], is_paired=True) for sign in (1, -1)
        )
    expected = sum((g * s).sum() for g, s in zip(gradients, step, strict=True))
    torch.testing.assert_close((ahead - behind) / 2, expected, rtol=1e-5, atol=1e-12)


def test_pairs_are_of_samples_of_one_size() -> None:
    with pytest.raises(ValueError, match="is_paired: expected as many rows in y as in x, got 3, 4"):
        mmd(torch.zeros(4, 2), torch.zeros(3, 2), is_paired=True)


@pytest.mark.full(but=["Normal-*"])
@pytest.mark.parametrize(
    ("divergence", "distance"),
    [
        (MMD(num_samples=4), mmd),
        (DimensionwiseMMD(num_samples=5), dimensionwise_mmd),
        (EnergyDistance(num_samples=6), energy_distance),
    ],
)
@every_model
def test_divergences_of_samples_know_whose_draws_are_whose(
    case: Conditional, divergence: Divergence, distance: Callable[..., Tensor]
) -> None:
    pair = pair_of(case, [3, 0, 4])
    pyro.set_rng_seed(2)
    draws = [pair.prior_codes() for _ in range(2)]  # as many as asked, in whole batches
    expected = torch.stack([distance(pair.codes(), y, is_paired=True) for y in draws]).mean()
    pyro.set_rng_seed(2)
    torch.testing.assert_close(divergence(pair), expected, **CLOSE)


@pytest.mark.parametrize(
    "divergence",
    [
        SlicedWasserstein(num_samples=2),
        CovariancePenalty("II"),
        AdversarialDivergence(nn.Linear(K, 1).double(), "js"),
    ],
)
def test_other_divergences_take_the_draws_of_all_data(divergence: Divergence) -> None:
    pair = pair_of(CONDITIONAL["Normal"], [3, 0, 4])
    assert divergence(pair).isfinite()
    assert pair.prior_codes(2).shape == (3, K)
