"""Mutual information from histograms against exact sums over small tables."""

import numpy as np
import pytest

from pyro_decomp.metrics import mutual_information
from pyro_decomp.metrics.arrays import as_factors
from pyro_decomp.metrics.mutual_information import JointHistogram, entropy, equal_bins

TABLES = {
    "independent": [[2, 4], [3, 6], [1, 2]],
    "dependent": [[5, 0], [1, 7], [2, 2]],
    "one to one": [[4, 0, 0], [0, 0, 6], [0, 2, 0]],
}


def rows_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A row for every count: code and factor, [n, 1] each."""
    cells = np.repeat(np.arange(table.size), table.ravel())
    z, v = np.divmod(cells, table.shape[1])
    return z[:, None].astype(float), v[:, None]


@pytest.mark.parametrize("name", TABLES)
def test_exact_enumeration(name: str) -> None:
    table = np.array(TABLES[name])
    expected, p = 0.0, table / table.sum()
    for b in range(table.shape[0]):
        for v in range(table.shape[1]):
            if p[b, v] > 0:
                expected += p[b, v] * np.log(p[b, v] / (p[b].sum() * p[:, v].sum()))
    found = mutual_information(*rows_of(table))
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_every_pair_has_its_own_place() -> None:
    """[d, k], each entry that of its column of codes and its column of factors."""
    generator = np.random.default_rng(0)
    v = generator.integers([2, 3, 5, 4], size=[200, 4])
    z = np.stack([v[:, 2], generator.normal(size=200), v[:, 0] + v[:, 3]], axis=1).astype(float)
    whole = mutual_information(z, v, num_bins=7)
    assert whole.shape == (3, 4)
    for j in range(3):
        for k in range(4):
            alone = mutual_information(z[:, [j]], v[:, [k]], num_bins=7).item()
            assert whole[j, k] == pytest.approx(alone, abs=1e-12)


def test_some_rows_are_a_table_of_their_own() -> None:
    generator = np.random.default_rng(0)
    z, v = generator.integers(4, size=[100, 2]), generator.integers(3, size=[100, 2])
    rows = generator.permutation(100)[:40]
    whole = JointHistogram(z, 4, as_factors(v, num_rows=100))
    part = JointHistogram(z[rows], 4, as_factors(v[rows], num_rows=40))
    assert np.allclose(whole.mutual_information(rows), part.mutual_information(), atol=1e-12)
    assert np.allclose(whole.entropy(rows), part.entropy(), atol=1e-12)


def test_entropy() -> None:
    v = np.array([[0, 3]] * 3 + [[1, 4]] + [[2, 3]] * 4)
    p, q = np.array([3, 1, 4]) / 8, np.array([7, 1]) / 8
    expected = [-(p * np.log(p)).sum(), -(q * np.log(q)).sum()]
    assert np.allclose(entropy(as_factors(v, num_rows=8)), expected, rtol=1e-12)


def test_bins_have_one_width() -> None:
    z = np.random.default_rng(0).normal(size=[500, 3])
    bins = equal_bins(z, 6)
    for j in range(3):
        edges = np.linspace(z[:, j].min(), z[:, j].max(), 7)
        assert np.array_equal(bins[:, j], np.clip(np.digitize(z[:, j], edges) - 1, 0, 5))


def test_a_constant_code_knows_nothing() -> None:
    v = np.random.default_rng(0).integers([2, 3, 40], size=[10_000, 3])
    assert not mutual_information(np.full([10_000, 1], 0.1), v).any()  # not 1e-16


def test_no_bins() -> None:
    with pytest.raises(ValueError, match="num_bins: expected a whole number from 1 to "):
        mutual_information([[0.0], [1.0]], [[0], [1]], num_bins=0)
