import numpy as np
import pytest

from pyro_decomp.plots import Points, scatter

X, Y = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.3, 0.2])


def test_every_run_is_a_point_with_the_colour_and_mark_of_its_method():
    figure = scatter([Points("a", X, Y), Points("b", X, 2 * Y)], "TC (nats)", "MIG")
    (axes,) = figure.axes
    first, second = axes.collections
    np.testing.assert_array_equal(first.get_offsets(), np.stack([X, Y], axis=1))
    np.testing.assert_array_equal(second.get_offsets(), np.stack([X, 2 * Y], axis=1))
    assert tuple(first.get_facecolor()[0]) != tuple(second.get_facecolor()[0])
    paths = [collection.get_paths()[0].vertices for collection in (first, second)]
    assert paths[0].shape != paths[1].shape
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("TC (nats)", "MIG")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_areas_grow_with_the_weight_alike_for_all_methods():
    points = [Points("a", X, Y, [0, 1, 2]), Points("b", X, Y, [4, 2, 0])]
    figure = scatter(points, "x", "y", weight_label="larger: higher beta")
    first, second = (collection.get_sizes() for collection in figure.axes[0].collections)
    assert (np.diff(first) < 0).all()  # the large ones are drawn first, under the small ones
    np.testing.assert_allclose(-np.diff(first), (second[0] - second[2]) / 4)
    assert first[2] == second[2] > 0
    assert first[0] == second[1]
    offsets = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_array_equal(offsets, np.stack([X, Y], axis=1)[::-1])
    assert figure.legends[0].get_title().get_text() == "larger: higher beta"


def test_equal_weights_and_one_method():
    figure = scatter([Points("a", X, Y, [1, 1, 1])], "x", "y")
    assert np.ptp(figure.axes[0].collections[0].get_sizes()) == 0
    assert not figure.legends


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "methods: expected from 1 to 10, got 0"),
        ([Points("a", X, Y)] * 11, "methods: expected from 1 to 10, got 11"),
        ([Points("a", [[1.0]], Y)], r"a: x: expected shape \(n,\) with n >= 1, got \(1, 1\)"),
        ([Points("a", X, Y[1:])], r"a: y: expected shape \(3,\), got \(2,\)"),
        ([Points("a", X, Y, [1.0])], r"a: weights: expected shape \(3,\), got \(1,\)"),
        ([Points("a", [np.inf, 1, 1], Y)], "a: x: expected finite numbers"),
    ],
)
def test_errors(methods, message):
    with pytest.raises(ValueError, match=message):
        scatter(methods, "x", "y")
