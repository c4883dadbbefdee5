import math
from itertools import combinations, permutations
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, PairWeights, pair_weights
from pyro_decomp.aggregate_posterior.estimators import check_estimator

N, B, D = 6, 3, 2
SIZES = [(1, 1), (6, 1), (6, 2), (6, 3), (6, 6), (100, 5), (100, 100), (3, 4)]
sizes = pytest.mark.parametrize(("num_data", "batch_size"), SIZES)


def matrix(weights: PairWeights, batch_size: int) -> Tensor:
    """The weights of all pairs, ``[B, B]``."""
    log_weights = torch.full((batch_size, batch_size), weights.other, dtype=torch.double)
    return weights.add_(log_weights).exp()


def strided(num_data: int, batch_size: int) -> Tensor:
    """The stratified weights as public code has them: in the first two columns."""
    m = batch_size - 1
    weights = torch.full((batch_size, batch_size), 1 / m, dtype=torch.double)
    weights.view(-1)[:: m + 1] = 1 / num_data
    weights.view(-1)[1 :: m + 1] = (num_data - m) / (num_data * m)
    weights[m - 1, 0] = (num_data - m) / (num_data * m)
    return weights


def encodings(size: int = N, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    loc = spread * torch.randn(size, D, dtype=torch.double)
    scale = torch.rand(size, D, dtype=torch.double) + 0.2
    return loc + scale * torch.randn_like(loc), loc, scale


def densities(z: Tensor, loc: Tensor, scale: Tensor, weights: PairWeights | None = None) -> Tensor:
    """q(z) and q(z_d) for each sample, ``[S, 1 + D]``."""
    posterior = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)})
    log_q = posterior.log_densities({"z": z}, weights)
    return torch.cat([log_q.joint[:, None], log_q.dimensions["z"]], 1).exp()


def over_all_batches(estimator: str, tensors: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Estimates of q(z_i) and q(z_id), ``[N, batches with i, 1 + D]``."""
    weights = pair_weights(estimator, N, B)
    found: list[list[Tensor]] = [[] for _ in range(N)]
    for batch in permutations(range(N), B):
        estimates = densities(*(x[list(batch)] for x in tensors), weights)
        for i, estimate in zip(batch, estimates, strict=True):
            found[i].append(estimate)
    return torch.stack([torch.stack(each) for each in found])


@pytest.mark.parametrize("estimator", ["stratified_averaged", "stratified"])
def test_stratified_estimates_are_unbiased_over_all_batches(estimator: str) -> None:
    tensors = encodings()
    mean = over_all_batches(estimator, tensors).mean(1)
    torch.testing.assert_close(mean, densities(*tensors), rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimator", ["weighted", "batch"])
def test_the_others_are_not(estimator: str) -> None:
    tensors = encodings()
    mean = over_all_batches(estimator, tensors).mean(1)
    if estimator == "weighted":
        assert (mean < densities(*tensors)).all()
    else:
        assert ((mean / densities(*tensors) - 1).abs() > 1e-3).all()


@pytest.mark.full
def test_averaging_lowers_the_variance() -> None:
    tensors = encodings()
    averaged, chens = (
        over_all_batches(name, tensors).var(1) for name in ("stratified_averaged", "stratified")
    )
    assert (averaged < chens).all()


def test_averaged_weights_are_the_mean_over_the_datum_that_chen_singles_out() -> None:
    chens = matrix(pair_weights("stratified", 100, 5), 5)
    others = [[chens[0, 0], *row] for row in (chens[0, 1:].roll(k).tolist() for k in range(4))]
    averaged = matrix(pair_weights("stratified_averaged", 100, 5), 5)
    torch.testing.assert_close(torch.tensor(others).double().mean(0), averaged[0])


@sizes
@pytest.mark.parametrize("estimator", ["stratified_averaged", "stratified", "batch"])
def test_weights_sum_to_one(estimator: str, num_data: int, batch_size: int) -> None:
    weights = matrix(pair_weights(estimator, num_data, batch_size), batch_size)
    torch.testing.assert_close(weights.sum(1), torch.ones(batch_size, dtype=torch.double))


@sizes
def test_weighted_is_the_batch_estimate_over_n(num_data: int, batch_size: int) -> None:
    weighted = pair_weights("weighted", num_data, batch_size)
    batch = pair_weights("batch", num_data, batch_size)
    assert batch.other - weighted.other == pytest.approx(math.log(max(num_data, batch_size)))


def test_chens_weights_are_those_of_his_appendix() -> None:
    m, n = 4, 100
    weights = matrix(pair_weights("stratified", n, m + 1), m + 1)
    expected = torch.full_like(weights, 1 / m).fill_diagonal_(1 / n)
    expected[range(m + 1), [1, 2, 3, 4, 0]] = (n - m) / (n * m)
    torch.testing.assert_close(weights, expected)


def test_averaged_is_exact_on_a_full_batch() -> None:
    tensors = encodings()
    full = densities(*tensors, pair_weights("stratified_averaged", N, N))
    torch.testing.assert_close(full, densities(*tensors), rtol=1e-13, atol=0)
    chens = densities(*tensors, pair_weights("stratified", N, N))
    assert ((chens / full - 1).abs() > 1e-3).any()


def test_a_batch_of_one_is_all_there_is() -> None:
    for estimator in ("stratified_averaged", "stratified", "batch"):
        assert pair_weights(estimator, 100, 1) == PairWeights(0.0)


def test_strided_weights_are_biased_and_ours_are_not() -> None:
    assert strided(100, 5)[3].sum().item() == pytest.approx(1.23)

    def mean_ratio(weights: Tensor) -> float:
        """E[q_hat/q], exactly: datum i is in any row, and any other data are in its columns."""
        own = weights.diagonal().mean()
        others = weights.sum(1).mean() - own
        z, loc, scale = encodings(64, spread=4.0)
        pairs = dist.Normal(loc, scale).to_event(1).log_prob(z[:, None]).exp()
        mean_other = (pairs.sum(1) - pairs.diagonal()) / 63
        return float(((own * pairs.diagonal() + others * mean_other) / pairs.mean(1)).mean())

    assert mean_ratio(strided(64, 8)) > 3
    for estimator in ("stratified_averaged", "stratified"):
        weights = matrix(pair_weights(estimator, 64, 8), 8)
        assert mean_ratio(weights) == pytest.approx(1.0, rel=1e-12)


def test_weights_that_set_a_datum_apart_need_its_own_sample() -> None:
    z, loc, scale = encodings()
    with pytest.raises(ValueError, match=r"a sample for each of the 6 data.* got 4"):
        densities(z[:4], loc, scale, pair_weights("stratified_averaged", 10, N))
    assert densities(z[:4], loc, scale, pair_weights("batch", 10, N)).shape == (4, 1 + D)


def test_an_unknown_estimator_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"estimator: expected one of 'stratified_averaged', .*'mss"
    ):
        check_estimator("mss")


@pytest.mark.parametrize("batch_size", [2, 3])
@pytest.mark.parametrize("kind", ["mask", "weights", "both"])
def test_rows_that_do_not_count_the_same_give_an_unbiased_mixture(
    kind: str, batch_size: int
) -> None:
    """In the mean over all batches of B out of N = 5: E[q_hat/q] = 1 at every datum's own code."""
    n = 5
    valid = torch.tensor([True, True, False, True, True])
    weight = torch.tensor([1.0, 3.0, 2.0, 0.5, 1.5]).double()
    counts = {"mask": valid.double(), "weights": weight, "both": weight * valid}[kind]
    total, num_valid = counts.sum(), None if kind == "weights" else int(valid.sum())
    densities = torch.rand(n, n, generator=torch.Generator().manual_seed(0)).double()
    expected = densities @ (counts / total)
    sums, seen = torch.zeros(n).double(), torch.zeros(n).double()
    for rows in combinations(range(n), batch_size):
        index = torch.tensor(rows)
        if kind != "weights" and int(valid[index].sum()) < 2:
            continue  # refused: see below
        weights = pair_weights(
            "stratified_averaged",
            n,
            batch_size,
            counts=counts[index],
            total=total,
            num_valid=num_valid,
        )
        pairs = densities[index][:, index].log()
        ratio = (weights.add_(pairs).logsumexp(-1) + weights.other).exp() / expected[index]
        of_data = counts[index] > 0
        sums[index] += torch.where(of_data, ratio, 0.0)
        seen[index] += of_data
    of_data = counts > 0
    torch.testing.assert_close((sums / seen)[of_data], torch.ones(int(of_data.sum())).double())


def test_one_datum_of_a_masked_batch_gives_no_number() -> None:
    counts = torch.tensor([1.0, 0.0, 0.0])
    weights = pair_weights("stratified_averaged", 9, 3, counts=counts, total=3.0, num_valid=3.0)
    assert weights.add_(torch.zeros(3, 3)).logsumexp(-1)[0].isnan()


@pytest.mark.parametrize("estimator", ["stratified_averaged", "weighted", "batch"])
def test_counts_of_one_are_none(estimator: Any) -> None:
    for b, n in ((3, 3), (3, 7)):
        plain = pair_weights(estimator, n, b)
        counted = pair_weights(estimator, n, b, counts=torch.ones(b).double(), total=n)
        pairs = torch.randn(b, b).double()
        expected = plain.add_(pairs.clone()) + plain.other
        torch.testing.assert_close(counted.add_(pairs) + counted.other, expected)
