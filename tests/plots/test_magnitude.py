import numpy as np
import pytest

from pyro_decomp.plots import code_magnitudes

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
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        code_magnitudes(**{"codes": CODES, "classes": CLASSES, **arguments})
