"""The laws of the large study (Locatello et al. 2019), for every metric in the table."""

import json

import numpy as np
import pytest

from tests.metrics.laws import LAWS, NUM_FACTORS, Law, factors, rotation
from tests.metrics.laws_label_free import LAWS as LABEL_FREE


@pytest.fixture(params=LAWS | LABEL_FREE)
def law(request: pytest.FixtureRequest) -> Law:
    return (LAWS | LABEL_FREE)[request.param]


def test_identity(law: Law) -> None:
    v = factors()
    score = law.score(v.astype(float), v)
    assert law.identity <= score.value <= 1
    assert json.loads(json.dumps(score.to_json()))["value"] == score.value


def test_constant(law: Law) -> None:
    v = factors()
    assert 0 <= law.score(np.ones(v.shape), v).value <= law.constant


def test_duplicated(law: Law) -> None:
    v = factors()
    least, most = law.duplicated
    assert least <= law.score(np.hstack([v, v]).astype(float), v).value <= most


def test_rotated(law: Law) -> None:
    v = factors()
    identity = law.score(v.astype(float), v).value
    rotated = law.score(v @ rotation(), v).value
    if law.rotated:
        assert rotated < 0.85 * identity
    else:
        assert rotated == pytest.approx(identity, abs=0.02)


def test_permuted(law: Law) -> None:
    v = factors()
    noise = np.random.default_rng(2).normal(size=v.shape)
    z = v + 0.3 * noise
    order = np.random.default_rng(3).permutation(NUM_FACTORS)
    expected = law.score(z, v).value
    assert law.score(z[:, order], v).value == pytest.approx(expected, abs=law.tolerance)
    assert law.score(z, v[:, order]).value == pytest.approx(expected, abs=0.03)  # other draws


def test_flipped(law: Law) -> None:
    v = factors()
    z = v + 0.3 * np.random.default_rng(2).normal(size=v.shape)
    signs = np.where(np.arange(NUM_FACTORS) % 2, 1.0, -1.0)
    assert law.score(z * signs, v).value == pytest.approx(law.score(z, v).value, abs=law.tolerance)


def test_noise_lowers_it(law: Law) -> None:
    v = factors()
    means = []
    for level in (0.0, 3.0, 30.0):
        noise = (np.random.default_rng(seed).normal(size=v.shape) for seed in range(2))
        means.append(np.mean([law.score(v + level * one, v).value for one in noise]))
    assert means[0] > means[1] > means[2]
