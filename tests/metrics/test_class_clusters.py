"""Classes against clusters."""

from collections.abc import Callable

import numpy as np
import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import Score, ari, nmi, silhouette
from tests.metrics.coverage import assert_coverage

pytest.importorskip("sklearn")

Agreement = Callable[..., Score]
BOTH: list[Agreement] = [nmi, ari]
Y = np.arange(600) % 3
Z = np.random.default_rng(0).normal(size=[600, 2]) + 20.0 * np.eye(3, 2)[Y]


@pytest.mark.full(but=["ari"])
@pytest.mark.parametrize("agreement", BOTH)
def test_perfect_clusters(agreement: Agreement) -> None:
    assert agreement(Z, Y).value == pytest.approx(1.0)
    assert agreement(Z, Y, clusters=np.array([9, 4, 5])[Y]).value == pytest.approx(1.0)
    assert agreement(Z, np.array(["b", "c", "a"])[Y][:, None]).value == pytest.approx(1.0)


@pytest.mark.full
def test_permuted_labels_agree_by_chance_only() -> None:
    """ARI has mean 0; NMI the plug-in bias (k-1)(c-1)/2n over log 3: 0.003."""
    generator = np.random.default_rng(1)
    found = [(nmi(Z, y, num_resamples=0).value, ari(Z, y, num_resamples=0).value)
             for y in (generator.permutation(Y) for _ in range(20))]  # fmt: skip
    by_chance, adjusted = np.mean(found, axis=0)
    assert by_chance == pytest.approx(4 / 1200 / np.log(3), rel=0.6)
    assert abs(adjusted) < 0.002


@pytest.mark.full(but=["ari"])
@pytest.mark.parametrize("agreement", BOTH)
def test_one_cluster_knows_nothing(agreement: Agreement) -> None:
    assert agreement(Z, Y, clusters=np.zeros(600)).value == 0.0
    constant = agreement(np.ones([600, 2]), Y)
    assert constant.value == 0.0
    assert constant.variant["num_clusters"] == 1


def test_closed_forms() -> None:
    """Two of three classes in one cluster: I = H(c), and the sums of pairs by hand."""
    clusters = np.minimum(Y, 1)
    h_y, h_c = np.log(3), np.log(3) - 2 / 3 * np.log(2)
    assert nmi(Z, Y, clusters=clusters).value == pytest.approx(2 * h_c / (h_c + h_y))
    of_200, of_400, of_600 = 199 * 100, 399 * 200, 599 * 300
    both, y, c = 3 * of_200, 3 * of_200, of_200 + of_400
    by_chance = y * c / of_600
    expected = (both - by_chance) / ((y + c) / 2 - by_chance)
    assert ari(Z, Y, clusters=clusters).value == pytest.approx(expected)


@pytest.mark.full
def test_counts() -> None:
    score = nmi(Z, np.array(["b", "c", "a"])[Y], clusters=np.minimum(Y, 1))
    assert score.details["counts"].tolist() == [[0, 200], [200, 0], [0, 200]]
    assert score.variant["clusters"] == "given"
    assert nmi(Z, Y).variant["clusters"] == "k-means"


def test_equal_to_scikit_learn() -> None:
    from sklearn.metrics import silhouette_score

    generator = np.random.default_rng(2)
    y = generator.choice(5, p=[0.5, 0.3, 0.15, 0.04, 0.01], size=400)
    z = generator.normal(size=[5, 3])[y] + 0.5 * generator.normal(size=[400, 3])
    score = silhouette(z, y)
    assert score.value == pytest.approx(silhouette_score(z, y))
    of_classes = score.details["of_classes"]
    assert of_classes @ np.bincount(y, minlength=5) / 400 == pytest.approx(score.value)


def test_silhouette_in_closed_form() -> None:
    """Two pairs: a = 1, b = 10.5 and 9.5."""
    z, y = np.array([[0.0], [1.0], [10.0], [11.0]]), [0, 0, 1, 1]
    expected = ((1 - 1 / 10.5) + (1 - 1 / 9.5)) / 2
    assert silhouette(z, y, num_resamples=0).value == pytest.approx(expected)
    assert silhouette(-3 * z, y, num_resamples=0).value == pytest.approx(expected)
    assert silhouette(z, [0, 1, 0, 1], num_resamples=0).value < 0
    assert silhouette(np.ones([60, 2]), np.arange(60) % 2).value == 0.0


@pytest.mark.full
def test_silhouette_of_some_rows_is_about_that_of_all() -> None:
    generator = np.random.default_rng(3)
    y = generator.integers(3, size=3000)
    z = 2 * np.eye(3)[y] + generator.normal(size=[3000, 3])
    everything = silhouette(z, y, max_rows=3000, num_resamples=0)
    some = silhouette(z, y, max_rows=500)
    assert some.variant["num_rows"] == 500
    low, high = some.interval
    assert low < everything.value < high


@pytest.mark.full
def test_tiny_classes() -> None:
    """Halves of the rows may hold a class once, or not at all."""
    y = np.zeros(40, dtype=int)
    y[:2] = [1, 2]
    for score in (nmi(Z[:40], y), ari(Z[:40], y)):
        low, high = score.interval
        assert low <= high
    assert -1 <= silhouette(Z[:40], y).value <= 1


@pytest.mark.full
def test_information_of_few_rows_a_cell_has_no_interval() -> None:
    """Ten classes and ten clusters of nothing, 60 rows: corrected by halves, 0.15 for 0."""
    generator = np.random.default_rng(0)
    y, clusters = generator.integers(10, size=[2, 400])
    few = nmi(np.zeros([60, 1]), y[:60], clusters=clusters[:60])
    assert few.interval is None
    assert few.corrected is None
    assert few.no_interval == "expected at least 400 rows, got 60"
    assert ari(np.zeros([60, 1]), y[:60], clusters=clusters[:60]).interval is not None
    low, high = nmi(np.zeros([400, 1]), y, clusters=clusters).interval
    assert low <= 0 <= high


@pytest.mark.full
def test_silhouettes_of_classes_that_are_all_as_near_have_no_interval() -> None:
    """Ten classes of one Normal have a silhouette of 0, and the plug-in value is -0.1.

    The correction is 1.4 times the reach, by simulation, and 0.1 times it for separate classes.
    """
    for seed in range(3):
        generator = np.random.default_rng(seed)
        y, noise = generator.integers(10, size=300), generator.normal(size=[300, 3])
        overlapping = silhouette(noise, y, seed=seed)
        assert overlapping.interval is None
        assert "as near as one another" in overlapping.no_interval
        apart = silhouette(noise + 4 * np.eye(10, 3)[y % 3], y % 3, seed=seed)
        assert apart.interval is not None


@pytest.mark.slow
def test_intervals_hold_the_populations() -> None:
    """Two classes, and clusters that are right about nine rows in ten."""
    right = 0.9
    h = -(right * np.log(right) + (1 - right) * np.log(1 - right))

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = rng.integers(2, size=400)
        return rng.normal(size=[400, 1]), y, np.where(rng.random(400) < right, y, 1 - y)

    def of(agreement: Agreement) -> Agreement:
        return lambda z, y, c, **settings: agreement(z, y, clusters=c, **settings)

    assert_coverage(of(nmi), draw, 1 - h / np.log(2))
    assert_coverage(of(ari), draw, (2 * right - 1) ** 2)


@pytest.mark.slow
def test_the_interval_of_silhouettes_holds_the_populations() -> None:
    def draw(rng: np.random.Generator, number: int = 400) -> tuple[np.ndarray, np.ndarray]:
        y = rng.choice(3, p=[0.5, 0.3, 0.2], size=number)
        return 2 * np.eye(3)[y] + rng.normal(size=[number, 3]), y

    many = [silhouette(*draw(np.random.default_rng(10**6 + seed), 2000), num_resamples=0).value
            for seed in range(20)]  # fmt: skip
    assert_coverage(silhouette, draw, float(np.mean(many)))


def test_arguments_are_checked() -> None:
    with pytest.raises(DataError, match="labels: expected a factor that varies, got 1 constant"):
        silhouette(Z, np.ones(600))
    with pytest.raises(DataError, match="clusters: expected 600 rows, one a code, got 3"):
        nmi(Z, Y, clusters=[0, 1, 2])
    with pytest.raises(ValueError, match="max_rows: expected a whole number of at least 4, got 3"):
        silhouette(Z, Y, max_rows=3)
