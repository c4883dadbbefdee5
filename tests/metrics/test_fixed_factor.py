"""Draws with one factor held fixed."""

import numpy as np
import pytest
import torch

from pyro_decomp.metrics import beta_vae_score, factor_vae_score
from pyro_decomp.metrics.arrays import as_factors
from pyro_decomp.metrics.fixed_factor import Pool, _confusion, _sum_of_squares
from tests.statistics import assert_mean


def test_partners_share_the_level_and_are_uniform() -> None:
    generator = np.random.default_rng(0)
    v = generator.integers([2, 7], size=[60, 2])
    pool = Pool(as_factors(v, num_rows=60))
    for factor in (0, 1):
        rows = generator.integers(60, size=[5, 1])
        drawn = pool.partners(factor, rows, (5, 20_000), generator)
        for row, partners in zip(rows[:, 0], drawn, strict=True):
            alike = np.flatnonzero(v[:, factor] == v[row, factor])
            hits = torch.from_numpy(partners[:, None] == alike).double()
            assert_mean(hits, 1 / len(alike))


def test_the_smallest_group() -> None:
    v = np.array([[0, 0], [0, 1], [1, 1], [1, 1], [0, 0]])
    assert Pool(as_factors(v, num_rows=5)).smallest == 2


SMALL = {"num_points": 300, "num_held_out": 300}


def factors(k: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(4, size=[500, k])


def test_the_confusion_counts_held_out_points() -> None:
    v = factors()
    score = beta_vae_score(v, v, **SMALL, num_resamples=0)
    assert score.details["confusion"].tolist() == [[100, 0, 0], [0, 100, 0], [0, 0, 100]]


def test_factors_of_one_code_are_confused() -> None:
    """The sum of two factors differs as much whichever of them is shared: a coin between them."""
    v = factors()
    z = np.stack([v[:, 0] + v[:, 1], v[:, 2]], axis=1)
    confusion = _confusion(z.astype(float), as_factors(v, num_rows=500), (1500, 1500), 64, 0)
    assert confusion[2].tolist() == [0, 0, 500]
    right = (confusion[0, 0] + confusion[1, 1]) / 1000
    assert right == pytest.approx(0.5, abs=0.1)


def test_units_do_not_count() -> None:
    v = factors()
    z = v + 1.5 * np.random.default_rng(1).normal(size=v.shape)
    scores = [beta_vae_score(u * z + 3, v, **SMALL, num_resamples=0).value for u in (1.0, 1e4)]
    assert scores[0] == pytest.approx(scores[1], abs=0.004)
    assert 0.4 < scores[0] < 0.99


def test_an_interval() -> None:
    v = factors()
    z = v + 3.0 * np.random.default_rng(1).normal(size=v.shape)
    score = beta_vae_score(z, v, **SMALL, num_resamples=10)
    low, high = score.interval
    assert 0 <= low < high <= 1
    assert score.interval == beta_vae_score(z, v, **SMALL, num_resamples=10).interval


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="pairs_of: expected a positive whole number, got 0"):
        beta_vae_score(factors(), factors(), pairs_of=0)


FEW_VOTES = {"num_votes": 500, "num_held_out": 500}


def independent_factors(k: int = 3, levels: int = 4, n: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).integers(levels, size=[n, k])


def test_the_sum_of_squares_is_that_of_the_variance() -> None:
    z = np.random.default_rng(0).normal(size=[6, 9, 4])
    assert np.allclose(_sum_of_squares(z.copy()), 9 * z.var(1), rtol=1e-12)
    assert not _sum_of_squares(np.full([1, 64, 1], 0.1)).any()


def test_the_classifier_finds_each_code_its_factor() -> None:
    v = independent_factors()
    z = np.hstack([v[:, [2, 0]], np.random.default_rng(1).normal(size=[1000, 1]), v[:, [1, 2]]])
    v = np.hstack([np.zeros([1000, 1]), v])  # a constant column shifts the others
    score = factor_vae_score(z, v, **FEW_VOTES, num_resamples=0)
    assert score.value == 1.0
    assert score.variant["factors"] == (1, 2, 3)
    assert score.details["classifier"][[0, 1, 3]].tolist() == [3, 1, 2]
    assert score.details["votes"].sum() == 500


def test_a_factor_that_no_code_knows() -> None:
    """Figure 3 of the paper: Higgins' metric is perfect all the same, this one is not.

    The votes for the third factor go to either code about as often, and are all lost: 2/3.
    """
    v = independent_factors()
    z = v[:, :2] + 1e-3 * np.random.default_rng(1).normal(size=[1000, 2])
    score = factor_vae_score(z, v, num_votes=2000, num_held_out=2000, num_resamples=0)
    assert score.value == pytest.approx(2 / 3, abs=4.3 * (2 / 9 / 2000) ** 0.5)
    higgins = beta_vae_score(z, v, num_points=500, num_held_out=500, num_resamples=0)
    assert higgins.value > 0.99


@pytest.mark.slow
def test_the_factors_of_sprites_but_one() -> None:
    """The case of figure 3: three codes for scale, x and y, none for the orientation, and noise."""
    generator, number = np.random.default_rng(0), 20_000
    v = np.stack([generator.integers(k, size=number) for k in (6, 40, 32, 32)], 1)
    loc, scale = np.array([2.5, 15.5, 15.5]), np.array([1.7, 9.2, 9.2])
    z = (v[:, [0, 2, 3]] - loc) / scale + 0.1 * generator.normal(size=(number, 3))
    z = np.concatenate([z, 0.001 * generator.normal(size=(number, 7))], 1)
    assert beta_vae_score(z, v, num_resamples=0).value == pytest.approx(1.0, abs=1e-3)
    assert factor_vae_score(z, v, num_resamples=0).value == pytest.approx(3 / 4, abs=0.03)


def test_collapsed_codes_are_pruned_and_recorded() -> None:
    """A code of 1/1000 the scale whose variance ratio is a little smaller takes votes, unpruned."""
    v = independent_factors()
    noise = np.random.default_rng(1).normal(size=[1000, 1])
    z = np.hstack([v + 0.5 * np.random.default_rng(2).normal(size=v.shape), 1e-3 * v[:, :1],
                   np.ones([1000, 1]), 0.2 * noise])  # fmt: skip
    score = factor_vae_score(z, v, **FEW_VOTES, num_resamples=0)
    assert score.variant["pruned"] == [3, 4]
    assert score.details["classifier"][[3, 4]].tolist() == [-1, -1]
    everything = factor_vae_score(z, v, **FEW_VOTES, num_resamples=0, prune_below=0.0)
    assert everything.variant["pruned"] == [4]  # a constant has no scale to divide by
    assert everything.details["votes"][3].sum() > 100


def test_codes_of_noise_are_chance() -> None:
    v = independent_factors(k=5)
    z = np.random.default_rng(1).normal(size=[1000, 4])
    score = factor_vae_score(z, v, num_votes=2000, num_held_out=2000, num_resamples=0)
    assert score.value == pytest.approx(0.2, abs=0.08)


def test_an_interval_holds_the_value_of_other_data() -> None:
    """The pool decides less than the votes do; the interval has both."""
    scores = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        v = generator.integers(4, size=[800, 3])
        z = v + 2.2 * generator.normal(size=v.shape)
        scores.append(factor_vae_score(z, v, **FEW_VOTES, num_resamples=20 if seed == 0 else 0))
    low, high = scores[0].interval
    assert low < np.mean([score.value for score in scores]) < high
    assert high - low > 2 * np.std([score.value for score in scores])


def test_the_seed_decides() -> None:
    v = independent_factors()
    z = v + 2.0 * np.random.default_rng(1).normal(size=v.shape)
    values = [
        factor_vae_score(z, v, **FEW_VOTES, seed=seed, num_resamples=0).value for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"votes_of": 1}, "votes_of: expected a whole number of at least 2, got 1"),
        ({"num_held_out": 0}, "num_held_out: expected a positive whole number, got 0"),
        ({"prune_below": 1.0}, r"prune_below: expected a number in \[0, 1\), got 1\.0"),
    ],
)
def test_arguments_of_votes_are_checked(argument: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factor_vae_score(independent_factors(), independent_factors(), **argument)


def test_few_rows_a_value_have_no_interval() -> None:
    """Of 100 rows and 40 values, votes are of copies of two or three rows."""
    v = np.arange(320)[:, None] % [3, 40]
    few = factor_vae_score(v[:100], v[:100], num_votes=100, num_held_out=100)
    assert few.interval is None
    assert few.no_interval == "expected at least 320 rows, got 100"
    enough = factor_vae_score(v, v, num_votes=100, num_held_out=100, num_resamples=4)
    assert enough.interval is not None
