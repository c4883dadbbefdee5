import numpy as np
import pytest
import torch
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgb
from matplotlib.contour import ContourSet

from pyro_decomp.plots import encodings
from pyro_decomp.plots.encoding import MAXIMUM
from pyro_decomp.plots.style import CATEGORIES

GRID = np.linspace(-3.0, 3.0, 41)
LOG_PZ = -(GRID[None] ** 2 + GRID[:, None] ** 2) / 2


def random_encodings(n, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((n, 2, 2))
    return rng.standard_normal((n, 2)), roots @ roots.swapaxes(1, 2) / 20


def ellipses(figure):
    (collection,) = (c for c in figure.axes[0].collections if isinstance(c, EllipseCollection))
    return collection


@pytest.mark.parametrize("num_scales", [1.0, 2.0])
def test_ellipses_are_those_of_the_covariances(num_scales):
    loc, covariance = random_encodings(30)
    drawn = ellipses(encodings(loc, covariance, num_scales=num_scales))
    np.testing.assert_array_equal(drawn.get_offsets(), loc)
    angles = np.radians(drawn.get_angles())
    axis = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    normal = np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
    along, across = drawn.get_widths() / (2 * num_scales), drawn.get_heights() / (2 * num_scales)
    rebuilt = (
        along[:, None, None] ** 2 * axis[:, :, None] * axis[:, None]
        + across[:, None, None] ** 2 * normal[:, :, None] * normal[:, None]
    )
    np.testing.assert_allclose(rebuilt, covariance, atol=1e-12)


def test_a_drawn_ellipse_covers_what_it_should():
    """Ink on the outline at two standard deviations, along and across a slanted ellipse."""
    angle = np.radians(30)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = rotation @ np.diag([0.25, 0.01]) @ rotation.T
    grid = np.linspace(-2.0, 2.0, 5)
    figure = encodings([[0.5, -0.5]], covariance[None], grid, grid, np.zeros((5, 5)))
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3].astype(int)

    def darkest_near(place):
        column, row = np.round(figure.axes[0].transData.transform(place)).astype(int)
        return pixels[row - 2 : row + 3, column - 2 : column + 3].sum(-1).min()

    centre = np.array([0.5, -0.5])
    for direction, scale in [(rotation[:, 0], 0.5), (rotation[:, 1], 0.1)]:
        for sign in (-1, 1):
            outline = darkest_near(centre + sign * 2 * scale * direction)
            beyond = darkest_near(centre + sign * (2 * scale + 0.1) * direction)
            assert outline < 700
            assert beyond == 3 * 255


def test_everything_lies_within_the_axes():
    loc, covariance = random_encodings(50)
    axes = encodings(loc, covariance, GRID, GRID, LOG_PZ).axes[0]
    reach = 2 * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    for limits, k in ((axes.get_xlim(), 0), (axes.get_ylim(), 1)):
        assert limits[0] < min((loc - reach)[:, k].min(), GRID[0])
        assert limits[1] > max((loc + reach)[:, k].max(), GRID[-1])
    assert axes.get_aspect() == 1


def test_means_and_prior():
    loc, covariance = random_encodings(20)
    axes = encodings(loc, covariance, GRID, GRID, LOG_PZ).axes[0]
    means = [c for c in axes.collections if type(c).__name__ == "PathCollection"]
    np.testing.assert_array_equal(means[0].get_offsets(), loc)
    (contour,) = (c for c in axes.collections if isinstance(c, ContourSet))
    assert len(contour.levels) == 3
    assert axes.get_title() == "20 encodings q(z|x), 2 s.d.; prior as lines"


def test_labels_are_colours():
    loc, covariance = random_encodings(6)
    figure = encodings(loc, covariance, labels=torch.tensor([5, 2, 5, 9, 2, 9]))
    expected = [to_rgb(CATEGORIES[k]) for k in (1, 0, 1, 2, 0, 2)]
    np.testing.assert_allclose(ellipses(figure).get_edgecolors()[:, :3], expected)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["2", "5", "9"]


def test_many_are_thinned_out_evenly():
    loc, covariance = random_encodings(3 * MAXIMUM)
    figure = encodings(loc, covariance)
    np.testing.assert_array_equal(ellipses(figure).get_offsets(), loc[::3])
    assert figure.axes[0].get_title() == "2000 of 6000 encodings q(z|x), 2 s.d."


def test_a_certain_encoding_is_a_line_or_a_point():
    drawn = ellipses(encodings(np.zeros((2, 2)), [np.diag([0.0, 0.09]), np.zeros((2, 2))]))
    np.testing.assert_allclose(drawn.get_widths(), [1.2, 0.0])
    np.testing.assert_array_equal(drawn.get_heights(), [0.0, 0.0])


EYE = np.stack([np.eye(2)] * 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loc": np.zeros((3, 4))}, r"loc: expected shape \(n, 2\) with n >= 1, got \(3, 4\)"),
        ({"loc": np.zeros((0, 2))}, r"loc: expected .*, got \(0, 2\)"),
        ({"covariance": np.eye(2)}, r"covariance: expected .* = \(3, 2, 2\), got \(2, 2\)"),
        ({"covariance": -EYE}, "covariance: expected eigenvalues of at least 0, got -1"),
        (
            {"covariance": EYE + np.triu(np.full((2, 2), 0.5), 1)},
            "expected symmetric matrices, got .* 0.5",
        ),
        ({"loc": np.full((3, 2), np.nan)}, "expected finite numbers"),
        ({"labels": [0, 1]}, r"labels: expected 3 whole numbers, got int64 of shape \(2,\)"),
        ({"labels": [0.5, 1, 2]}, "labels: expected 3 whole numbers, got float64"),
        ({"log_pz": LOG_PZ}, "x, y: expected the grid axes of log_pz, got None"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        encodings(**{"loc": np.zeros((3, 2)), "covariance": EYE, **arguments})


def test_more_labels_than_colours():
    loc, covariance = random_encodings(11)
    with pytest.raises(ValueError, match="labels: expected at most 10 different ones, got 11"):
        encodings(loc, covariance, labels=range(11))
