import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer

from pyro_decomp.plots import intervals

METHODS = ["beta-VAE", "beta-TCVAE"]
ESTIMATE = np.array([[0.2, -60.0], [0.4, -55.0]])
LOWER, UPPER = ESTIMATE - [[0.1, 2.0], [0.05, 3.0]], ESTIMATE + 1.0


def bars(axes):
    (bar,) = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
    return bar


def test_dots_and_intervals_of_each_method_and_quantity():
    figure = intervals(METHODS, ESTIMATE, LOWER, UPPER, quantities=["MIG", "ELBO (nats)"])
    assert [axes.get_xlabel() for axes in figure.axes] == ["MIG", "ELBO (nats)"]
    for j, axes in enumerate(figure.axes):
        dots, _, (reach,) = bars(axes)
        np.testing.assert_allclose(dots.get_xydata(), [(ESTIMATE[0, j], 0), (ESTIMATE[1, j], 1)])
        for i, segment in enumerate(reach.get_segments()):
            np.testing.assert_allclose(segment, [(LOWER[i, j], i), (UPPER[i, j], i)])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == METHODS
    assert figure.axes[0].get_ylim() == (1.5, -0.5)


def test_single_runs_and_a_baseline():
    runs = [np.array([0.1, 0.3]), np.array([0.4])]
    figure = intervals(
        METHODS, ESTIMATE[:, 0], LOWER[:, 0], UPPER[:, 0], runs=runs, baseline=[0.05]
    )
    (axes,) = figure.axes
    dots = [c for c in axes.collections if isinstance(c, PathCollection)]
    for i, (drawn, values) in enumerate(zip(dots, runs, strict=True)):
        np.testing.assert_allclose(drawn.get_offsets(), [(value, i) for value in values])
    assert axes.lines[-1].get_xdata() == [0.05, 0.05]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["baseline"]


def test_a_method_without_an_estimate_leaves_its_row_empty():
    middle = [np.nan, 0.4]
    (axes,) = intervals(METHODS, middle, middle, [np.nan, 0.5]).axes
    assert np.isfinite(bars(axes)[0].get_xdata()).tolist() == [False, True]
    assert len(axes.get_yticks()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimate": []}, r"estimate: expected shape \(methods,\) or .* got \(0, 1\)"),
        ({"lower": [0.0]}, r"lower: expected the estimates' shape \(2, 2\), got \(1, 1\)"),
        ({"upper": ESTIMATE - 0.01}, r"expected intervals about the estimates, got \[0.1, 0.19\]"),
        ({"methods": ["a"]}, "methods: expected 2 names, got 1"),
        ({"quantities": ["a"]}, "quantities: expected 2 names, got 1"),
        ({"runs": [[1.0]]}, "runs: expected one array for each of 2 methods, got 1"),
        ({"runs": [[1.0], [2.0]]}, r"runs\[0\]: expected shape \(runs, 2\), got \(1, 1\)"),
        ({"baseline": [1.0]}, r"baseline: expected shape \(2,\), got \(1,\)"),
    ],
)
def test_errors(arguments, message):
    usual = {"methods": METHODS, "estimate": ESTIMATE, "lower": LOWER, "upper": UPPER}
    with pytest.raises(ValueError, match=message):
        intervals(**{**usual, **arguments})
