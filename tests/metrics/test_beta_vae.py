"""Higgins' classifier."""

import numpy as np
import pytest

from pyro_decomp.metrics import beta_vae_score
from pyro_decomp.metrics.arrays import as_factors
from pyro_decomp.metrics.beta_vae import _confusion

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
    with pytest.raises(ValueError, match="pairs_of: expected at least 1, got 0"):
        beta_vae_score(factors(), factors(), pairs_of=0)
