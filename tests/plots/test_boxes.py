import numpy as np
import pytest

from pyro_decomp.plots import Boxes, box_plots

RUNS = [np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([2.0, 4.0])]


def test_quartiles_whiskers_and_every_run():
    (axes,) = box_plots(["1", "4"], [Boxes("a", RUNS)], "beta", "MIG").axes
    box = axes.patches[0].get_path().vertices
    assert (box[:, 1].min(), box[:, 1].max()) == (2.0, 4.0)
    heights = [set(line.get_ydata()) for line in axes.lines]
    for expected in ({2.0, 1.0}, {4.0, 5.0}, {3.0}):
        assert expected in heights
    for dots, runs in zip(axes.collections, RUNS, strict=True):
        np.testing.assert_array_equal(dots.get_offsets()[:, 1], runs)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("beta", "MIG")


def test_methods_stand_side_by_side_and_an_empty_place_stays_empty():
    methods = [Boxes("a", [[1.0, 2.0], []]), Boxes("b", [[1.0, 2.0], [3.0, 4.0]])]
    figure = box_plots(["1", "4"], methods, "beta", "MIG")
    (axes,) = figure.axes
    places = sorted(dots.get_offsets()[0, 0] for dots in axes.collections)
    np.testing.assert_allclose(places, [-0.2, 0.2, 1.2])
    colours = {tuple(patch.get_edgecolor()) for patch in axes.patches}
    assert len(colours) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_long_names_of_groups_stand_upright():
    names = [f"beta = {k}, alpha = 1" for k in range(2)]
    (axes,) = box_plots(names, [Boxes("", RUNS)], "", "MIG").axes
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [90.0, 90.0]


@pytest.mark.parametrize(
    ("groups", "methods", "message"),
    [
        ([], [Boxes("a", [])], "groups: expected at least one, got none"),
        (["1"], [], "methods: expected from 1 to 10, got 0"),
        (["1"], [Boxes("a", [[1.0]])] * 11, "methods: expected from 1 to 10, got 11"),
        (["1"], [Boxes("a", RUNS)], "a: values: expected one array for each of 1 groups, got 2"),
        (["1"], [Boxes("a", [[[1.0]]])], r"a: values: expected shape \(n,\), got \(1, 1\)"),
        (["1"], [Boxes("a", [[np.nan]])], "a: values: expected finite numbers"),
    ],
)
def test_errors(groups, methods, message):
    with pytest.raises(ValueError, match=message):
        box_plots(groups, methods, "x", "y")
