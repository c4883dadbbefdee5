"""Overlap of encodings against exact integrals."""

import math

import numpy as np
import pyro.distributions as pyro_dist
import pytest
import torch
import torch.distributions as dist

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import Score, effective_sharing, index_code_information, overlap
from tests.metrics.coverage import assert_coverage
from tests.statistics import assert_mean

LOC = np.array([[0.0], [0.7], [2.5]])
SCALE = np.array([[0.5], [1.0], [0.3]])


def exact(loc: np.ndarray, scale: np.ndarray) -> float:
    """I(x; z) of one-dimensional Gaussians, by the trapezium rule."""
    z = torch.linspace(-12, 12, 20_001, dtype=torch.double)
    log_q = dist.Normal(torch.tensor(loc), torch.tensor(scale)).log_prob(z)
    log_ratio = log_q - (log_q.logsumexp(0) - math.log(len(loc)))
    return torch.trapezoid((log_q.exp() * log_ratio).mean(0), z).item()


def test_encodings_that_are_the_same_say_nothing() -> None:
    same = (np.ones((50, 3)), np.full((50, 3), 2.0))
    assert index_code_information(same).value == pytest.approx(0.0, abs=1e-12)
    assert effective_sharing(same).value == pytest.approx(50.0)


def test_encodings_that_do_not_overlap_say_all() -> None:
    apart = (100.0 * np.arange(20)[:, None], np.ones((20, 1)))
    assert index_code_information(apart).value == pytest.approx(math.log(20))
    assert effective_sharing(apart).value == pytest.approx(1.0)


def test_groups_that_share_a_code() -> None:
    loc = np.repeat(100.0 * np.arange(5), 4)[:, None]
    assert effective_sharing((loc, np.ones((20, 1)))).value == pytest.approx(4.0)


@pytest.mark.parametrize("num_samples", [2, 7])
def test_unbiased(num_samples: int) -> None:
    values = [
        index_code_information((LOC, SCALE), num_samples=num_samples, num_resamples=0, seed=s).value
        for s in range(60)
    ]
    assert_mean(torch.tensor(values, dtype=torch.double), exact(LOC, SCALE))


def test_the_interval_holds_the_exact_value() -> None:
    seeds = iter(range(80))

    def score(num_resamples: int, seed: int) -> Score:
        return index_code_information(
            (LOC, SCALE), num_samples=400, num_resamples=num_resamples, seed=1000 + next(seeds)
        )

    assert_coverage(score, lambda _: (), exact(LOC, SCALE))


def families() -> list[object]:
    loc, scale = torch.randn(6, 2).double(), torch.rand(6, 2).double() + 0.2
    return [
        dist.Normal(loc, scale),
        dist.Independent(dist.Normal(loc, scale), 1),
        pyro_dist.Normal(loc, scale).to_event(1),
        dist.MultivariateNormal(loc, torch.diag_embed(scale**2)),
        (loc, scale),
    ]


def test_forms_of_the_same_encodings_agree() -> None:
    values = [index_code_information(q, num_samples=3000).value for q in families()]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-9)


def test_a_function_of_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    q = families()[3]
    z = q.sample()

    def log_prob(block: torch.Tensor) -> torch.Tensor:
        sizes.append(len(block))
        return q.log_prob(block[:, None])

    sizes: list[int] = []
    whole = index_code_information(log_prob, codes=z)
    pairs = q.log_prob(z[:, None])
    expected = (pairs.diagonal() - pairs.logsumexp(1) + math.log(6)).mean().item()
    assert whole.value == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(overlap, "_PAIRS", 30)  # two codes of 2 dimensions with 6 data
    assert index_code_information(log_prob, codes=z).value == pytest.approx(whole.value, rel=1e-12)
    assert sizes == [6, 2, 2, 2]


def test_a_family_without_a_fast_path() -> None:
    """Encodings uniform on [n, n + 2): a code in a unit interval is of one datum or two."""
    n = torch.arange(10.0).double()
    q = dist.Uniform(n[:, None], n[:, None] + 2, validate_args=False)
    expected = math.log(10) - 0.9 * math.log(2)  # the two outer halves are of one datum alone
    values = [
        index_code_information(q, num_samples=10, num_resamples=0, seed=s).value for s in range(100)
    ]
    assert_mean(torch.tensor(values, dtype=torch.double), expected)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    one, other = (index_code_information((LOC, SCALE), seed=s).value for s in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert one != other
    assert index_code_information((LOC, SCALE)).value == one


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((LOC, SCALE[:2]), "scale: expected 3 rows, one a code, got 2"),
        ((LOC, -SCALE), "scale: expected positive numbers, got -1"),
        ((LOC, np.ones((3, 2))), r"scale: expected shape \(3, 1\) as loc has, got \(3, 2\)"),
        (3, r"encodings: expected \(loc, scale\), a distribution or a function .* got int"),
        (lambda z: z, "codes: expected a draw of each encoding beside a function, got None"),
        (dist.Normal(0.0, 1.0), r"encodings: expected a distribution of shape \[n, d\], got \[\]"),
    ],
)
def test_encodings_are_checked(given: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        index_code_information(given)


def test_what_a_function_returns_is_checked() -> None:
    with pytest.raises(DataError, match=r"log densities of shape \[3, 3\] for 3 codes, got \[3\]"):
        index_code_information(lambda z: z.sum(1), codes=LOC)
