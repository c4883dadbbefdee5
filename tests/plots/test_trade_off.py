import numpy as np
import pytest

from pyro_decomp.plots import TradeOff, trade_offs

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
