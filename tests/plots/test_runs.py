import numpy as np
import pytest

from pyro_decomp.plots import Boxes, Points, TradeOff, box_plots, scatter, trade_offs

X, Y = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.3, 0.2])


def test_curves_in_the_order_of_the_weights_with_bands():
    curves = [TradeOff("a", X, Y, Y - 0.1, Y + 0.2, ["1", "4", "6"]), TradeOff("b", X, 2 * Y)]
    figure = trade_offs(curves, "ELBO (nats)", "MIG", weight_label="at points: beta")
    (axes,) = figure.axes
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), np.stack([X, Y], axis=1))
    np.testing.assert_array_equal(second.get_xydata(), np.stack([X, 2 * Y], axis=1))
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    (band,) = axes.patches
    corners = {tuple(np.round(corner, 6)) for corner in band.get_xy()}
    assert corners >= {(x, round(y + d, 6)) for x, y in zip(X, Y, strict=True) for d in (-0.1, 0.2)}
    assert [(text.get_text(), *text.xy) for text in axes.texts] == [
        ("1", 3.0, 0.1), ("4", 1.0, 0.3), ("6", 2.0, 0.2),
    ]  # fmt: skip
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ELBO (nats)", "MIG")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert figure.legends[0].get_title().get_text() == "at points: beta"


def test_words_do_not_lie_on_one_another():
    y = np.array([0.1, 0.101, 0.9])
    figure = trade_offs(
        [TradeOff("a", np.array([1.0, 1.01, 2.0]), y, weights=list("abc"))], "x", "y"
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "c"]


def test_long_names_stand_below():
    name = "file = pinwheel_mixture, epochs = 40, hidden = 100"
    figure = trade_offs([TradeOff(name, X, Y)], "x", "y")
    short = trade_offs([TradeOff("a", X, Y)], "x", "y")
    assert figure.get_figheight() > short.get_figheight()
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert legend.y1 < figure.axes[0].get_window_extent().y0


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "curves: expected from 1 to 10 curves, got 0"),
        ([TradeOff("a", X, Y)] * 11, "curves: expected from 1 to 10 curves, got 11"),
        ([TradeOff("a", [[1.0]], Y)], r"a: x: expected shape \(n,\) with n >= 1, got \(1, 1\)"),
        ([TradeOff("a", X, Y[1:])], r"a: y: expected shape \(3,\), got \(2,\)"),
        ([TradeOff("a", X, [np.inf, 1, 1])], "a: y: expected finite numbers"),
        ([TradeOff("a", X, Y, lower=Y)], "a: expected both lower and upper, got one"),
        ([TradeOff("a", X, Y, Y + 1, Y + 2)], "a: expected lower <= y <= upper, got a y outside"),
        ([TradeOff("a", X, Y, weights=["1"])], "a: weights: expected 3 names, got 1"),
    ],
)
def test_errors(curves, message):
    with pytest.raises(ValueError, match=message):
        trade_offs(curves, "x", "y")


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
def test_errors_of_points(methods, message):
    with pytest.raises(ValueError, match=message):
        scatter(methods, "x", "y")


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
def test_errors_of_boxes(groups, methods, message):
    with pytest.raises(ValueError, match=message):
        box_plots(groups, methods, "x", "y")
