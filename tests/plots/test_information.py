import numpy as np
import pytest
from matplotlib.patches import Rectangle

from pyro_decomp.plots import code_magnitudes, mutual_information

INFORMATION = np.array([[0.1, 0.2, 0.3], [1.0, 0.4, 0.0], [0.7, 1.4, 0.25]])
FACTORS = ["shape", "scale", "x"]


def frames(axes):
    """Of each frame its row, column and whether it is broken."""
    return sorted(
        (round(p.get_y() + 0.42), round(p.get_x() + 0.46), p.get_linestyle() != "-")
        for p in axes.patches
        if isinstance(p, Rectangle)
    )


def test_rows_from_the_greatest_sum_with_their_numbers():
    (axes,) = mutual_information(INFORMATION, FACTORS).axes
    order = [2, 1, 0]
    np.testing.assert_array_equal(axes.images[0].get_array(), INFORMATION[order])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["$z_{3}$", "$z_{2}$", "$z_{1}$"]
    numbers = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    assert numbers == {
        (j, i): f"{INFORMATION[order[i], j]:.2f}" for i in range(3) for j in range(3)
    }


@pytest.mark.full
def test_the_gap_is_marked_and_written():
    (axes,) = mutual_information(INFORMATION, FACTORS).axes
    assert frames(axes) == [
        (0, 0, True), (0, 1, False), (0, 2, True),
        (1, 0, False), (1, 1, True), (2, 2, False),
    ]  # fmt: skip
    under = [label.get_text() for label in axes.get_xticklabels()]
    assert under == ["shape\n0.30", "scale\n1.00", "x\n0.05"]
    assert axes.get_title() == "mutual information (nats)"


def test_the_mig_with_entropies():
    (axes,) = mutual_information(INFORMATION, FACTORS, entropies=[2.0, 4.0, 0.5]).axes
    under = [label.get_text().split("\n")[1] for label in axes.get_xticklabels()]
    assert under == ["0.15", "0.25", "0.10"]
    assert axes.get_title() == "mutual information (nats); MIG 0.167"


def test_gaps_are_of_all_latents_where_few_are_drawn():
    (axes,) = mutual_information(INFORMATION, FACTORS, most=1).axes
    assert frames(axes) == [(0, 0, True), (0, 1, False), (0, 2, True)]
    assert axes.get_xticklabels()[2].get_text() == "x\n0.05"


def test_one_latent_has_all_of_the_gap():
    (axes,) = mutual_information([[0.5]], ["f"], names=["a"]).axes
    assert axes.get_xticklabels()[0].get_text() == "f\n0.50"
    assert frames(axes) == [(0, 0, False)]


def test_numbers_are_dark_on_light_and_light_on_dark():
    (axes,) = mutual_information([[0.0, 2.0]], ["a", "b"]).axes
    assert [text.get_color() for text in axes.texts] == ["white", "black"]


@pytest.mark.parametrize(
    ("information", "arguments", "message"),
    [
        ([1.0], {}, r"information: expected shape \(latents, factors\).* got \(1,\)"),
        (INFORMATION * np.nan, {}, "information: expected finite numbers"),
        (INFORMATION, {"factor_names": ["a"]}, "factor_names: expected 3 names, got 1"),
        (INFORMATION, {"names": ["a"]}, "names: expected 3 names, got 1"),
        (INFORMATION, {"entropies": [1.0]}, r"entropies: expected 3 finite .* got \[1\.\]"),
        (INFORMATION, {"entropies": [1, 0, 1]}, "entropies: expected 3 finite numbers above 0"),
    ],
)
def test_errors(information, arguments, message):
    with pytest.raises(ValueError, match=message):
        mutual_information(information, **{"factor_names": FACTORS, **arguments})


CODES = np.array([[1.0, -5.0, 0.0], [-3.0, 5.0, 0.0], [0.0, 1.0, -4.0]])
CLASSES = [7, 7, 2]


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def test_bars_are_mean_magnitudes_in_one_order():
    first, second = code_magnitudes(CODES, CLASSES).axes
    np.testing.assert_allclose(heights(first), [1, 4, 0])
    np.testing.assert_allclose(heights(second), [5, 0, 2])
    assert [first.get_ylabel(), second.get_ylabel()] == ["2", "7"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["2", "3", "1"]
    assert first.get_ylim() == second.get_ylim() == (0, pytest.approx(5.25))


def test_names_and_only_the_greatest():
    figure = code_magnitudes(CODES, CLASSES, class_names=["bag", "boot"], names=list("abc"), most=2)
    assert [axes.get_ylabel() for axes in figure.axes] == ["bag", "boot"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["b", "c"]
    assert len(heights(figure.axes[0])) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": CODES[0]}, r"codes: expected shape \(n, d\).* got \(3,\)"),
        ({"codes": np.full((3, 3), np.inf)}, "codes: expected finite numbers"),
        ({"classes": [1, 2]}, r"classes: expected 3 whole numbers, got int64 of shape \(2,\)"),
        ({"classes": [0.5, 1, 2]}, "classes: expected 3 whole numbers, got float64"),
        ({"class_names": ["a"]}, "class_names: expected 2 names, got 1"),
        ({"names": ["a"]}, "names: expected 3 names, got 1"),
    ],
)
def test_errors_of_magnitude(arguments, message):
    with pytest.raises(ValueError, match=message):
        code_magnitudes(**{"codes": CODES, "classes": CLASSES, **arguments})
