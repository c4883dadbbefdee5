"""The laws of the large study (Locatello et al. 2019), for every metric in the table."""

import json
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pyro_decomp.metrics import Score
from tests.metrics.laws import LAWS, NUM_FACTORS, Law, factors, rotation


@pytest.fixture(params=LAWS)
def law(request: pytest.FixtureRequest) -> Law:
    return LAWS[request.param]


@cache
def identity(law: Law) -> Score:
    return law.score(factors().astype(float), factors())


@cache
def noisy(law: Law) -> Score:
    return law.score(noisy_codes(), factors())


def noisy_codes() -> NDArray[np.float64]:
    v = factors()
    return v + 0.3 * np.random.default_rng(2).normal(size=v.shape)


@pytest.mark.full(but=["mig", "dci_lasso", "irs", "sap"])
def test_identity(law: Law) -> None:
    score = identity(law)
    assert law.identity <= score.value <= 1
    assert json.loads(json.dumps(score.to_json()))["value"] == score.value


@pytest.mark.full(but=["mig", "dci_lasso", "irs", "sap"])
def test_constant(law: Law) -> None:
    v = factors()
    assert 0 <= law.score(np.ones(v.shape), v).value <= law.constant


@pytest.mark.full(but=["mig", "dci_lasso", "irs", "sap"])
def test_duplicated(law: Law) -> None:
    v = factors()
    least, most = law.duplicated
    assert least <= law.score(np.hstack([v, v]).astype(float), v).value <= most


@pytest.mark.full(but=["mig", "dci_lasso", "irs", "sap"])
def test_rotated(law: Law) -> None:
    v = factors()
    upright = identity(law).value
    rotated = law.score(v @ rotation(), v).value
    if law.rotated:
        assert rotated < 0.85 * upright
    else:
        assert rotated == pytest.approx(upright, abs=0.02)


@pytest.mark.full(but=["mig", "dci_lasso", "irs"])
def test_permuted(law: Law) -> None:
    v, z = factors(), noisy_codes()
    order = np.random.default_rng(3).permutation(NUM_FACTORS)
    expected = noisy(law).value
    assert law.score(z[:, order], v).value == pytest.approx(expected, abs=law.tolerance)
    assert law.score(z, v[:, order]).value == pytest.approx(expected, abs=0.03)  # other draws


@pytest.mark.full(but=["mig", "dci_lasso", "irs", "sap"])
def test_flipped(law: Law) -> None:
    v, z = factors(), noisy_codes()
    signs = np.where(np.arange(NUM_FACTORS) % 2, 1.0, -1.0)
    assert law.score(z * signs, v).value == pytest.approx(noisy(law).value, abs=law.tolerance)


@pytest.mark.full(but=["mig", "dci_lasso", "sap"])
def test_noise_lowers_it(law: Law) -> None:
    v = factors()
    means = [identity(law).value]
    for level in (3.0, 30.0):
        noise = (np.random.default_rng(seed).normal(size=v.shape) for seed in range(2))
        means.append(np.mean([law.score(v + level * one, v).value for one in noise]))
    assert means[0] > means[1] > means[2]
