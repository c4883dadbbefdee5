import numpy as np
import pytest
import torch
from matplotlib.contour import ContourSet

from pyro_decomp.plots import DensityPanel, aggregate_density, density_grid

X = np.linspace(-2.0, 2.0, 81)
Y = np.linspace(-1.5, 1.5, 61)


def gaussian(loc, scale=0.2, x=X, y=Y):
    squares = (x[None] - loc[0]) ** 2 + (y[:, None] - loc[1]) ** 2
    return -squares / (2 * scale**2) - np.log(2 * np.pi * scale**2)


LOG_QZ = gaussian((1.0, -1.0))
LOG_PZ = gaussian((0.0, 0.0), 0.3)


def contours(axes):
    return [artist for artist in axes.collections if isinstance(artist, ContourSet)]


def brightest(image):
    """The place whose pixel is brightest, by the extent and origin it is drawn with."""
    left, right, bottom, top = image.get_extent()
    row, column = np.unravel_index(np.argmax(image.get_array()), image.get_array().shape)
    rows, columns = image.get_array().shape
    if image.origin == "upper":
        row = rows - 1 - row
    x = left + (column + 0.5) * (right - left) / columns
    y = bottom + (row + 0.5) * (top - bottom) / rows
    return x, y


def test_the_image_is_the_density_where_it_belongs():
    axes = aggregate_density(X, Y, LOG_QZ, LOG_PZ).axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), np.exp(LOG_QZ))
    np.testing.assert_allclose(brightest(image), (1.0, -1.0))
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$", "$z_2$")


def test_the_drawn_picture_is_bright_at_the_peak():
    figure = aggregate_density(X, Y, LOG_QZ)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    at = {}
    for place in [(1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (-1.0, -1.0)]:
        column, row = figure.axes[0].transData.transform(place)
        at[place] = int(pixels[len(pixels) - 1 - round(row), round(column), :3].sum())
    peak = at.pop((1.0, -1.0))
    assert peak > 300
    assert all(peak > 2 * other for other in at.values())


def test_the_colours_run_from_none_to_the_densest_fiftieth():
    image = aggregate_density(X, Y, LOG_PZ).axes[0].images[0]
    assert image.norm.vmin == 0
    # In a two-dimensional Gaussian the density falls by the share of mass within a contour.
    assert image.norm.vmax == pytest.approx(0.98 * np.exp(LOG_PZ).max(), rel=0.02)


def test_the_contours_enclose_the_mass_they_should():
    x = y = np.linspace(-2.0, 2.0, 401)
    axes = aggregate_density(x, y, gaussian((0, 0), 0.3, x, y), gaussian((0, 0), 0.3, x, y)).axes[0]
    (contour,) = contours(axes)
    peak = 1 / (2 * np.pi * 0.3**2)
    np.testing.assert_allclose(contour.levels, peak * np.array([0.01, 0.1, 0.5]), rtol=0.01)
    radii = [np.hypot(*path.vertices.T).mean() for path in contour.get_paths()]
    np.testing.assert_allclose(radii, 0.3 * np.sqrt(-2 * np.log([0.01, 0.1, 0.5])), rtol=0.01)


def test_a_narrow_spike_does_not_hide_the_slab():
    """Contours by mass show a spike-and-slab prior's slab; fractions of the peak would not."""
    log_pz = np.logaddexp(gaussian((0, 0), 0.05), gaussian((0, 0), 0.6)) + np.log(0.5)
    (contour,) = contours(aggregate_density(X, Y, log_pz, log_pz).axes[0])
    widest = max(np.hypot(*path.vertices.T).max() for path in contour.get_paths())
    assert widest > 0.6 * np.sqrt(-2 * np.log(0.2)) * 0.9


@pytest.mark.parametrize("log_pz", [None, np.zeros((61, 81))], ids=["none", "uniform"])
def test_no_contours_where_there_are_none(log_pz):
    assert not contours(aggregate_density(X, Y, LOG_QZ, log_pz).axes[0])


def test_a_density_that_misses_the_grid_is_drawn_dark():
    figure = aggregate_density(X, Y, np.full((61, 81), -np.inf), LOG_PZ)
    figure.draw_without_rendering()
    assert not figure.axes[0].images[0].get_array().any()


def test_tensors():
    figure = aggregate_density(*map(torch.as_tensor, (X, Y, LOG_QZ, LOG_PZ)))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), np.exp(LOG_QZ))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y, LOG_QZ.T), r"log_qz: expected shape \(ny, nx\) = \(61, 81\), got \(81, 61\)"),
        ((X, Y, LOG_QZ, LOG_PZ[1:]), r"log_pz: expected .* \(61, 81\), got \(60, 81\)"),
        ((X[None], Y, LOG_QZ), r"x: expected shape \(n,\) with n >= 2, got \(1, 81\)"),
        ((X, Y[::-1], LOG_QZ), "y: expected evenly spaced, rising positions"),
        ((X**3, Y, LOG_QZ), "x: expected evenly spaced, rising positions, got gaps from"),
        ((X, Y, LOG_QZ * np.nan), "log_qz: expected numbers below 650 nats, got nan"),
        ((X, Y, LOG_QZ + 1000), "log_qz: expected numbers below 650 nats, got 1001"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        aggregate_density(*arguments)


def test_grid_has_a_panel_for_each_run_in_its_place():
    locs = [[(-1, 1), (0, 1), (1, 1)], [(-1, -1), (0, -1)]]
    panels = [[DensityPanel(str(at), X, Y, gaussian(at), LOG_PZ) for at in row] for row in locs]
    figure = density_grid(panels)
    assert [axes.get_title() for axes in figure.axes] == [str(at) for row in locs for at in row]
    for axes, at in zip(figure.axes, [at for row in locs for at in row], strict=True):
        np.testing.assert_allclose(brightest(axes.images[0]), at, atol=1e-9)
        assert len(contours(axes)) == 1
        assert axes.texts[0].get_text() == f"max {1 / (2 * np.pi * 0.04):.3g}"
    places = [axes.get_subplotspec() for axes in figure.axes]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1),
    ]  # fmt: skip


def test_grid_names_shared_axes_once():
    panel = DensityPanel("", X, Y, LOG_QZ)
    figure = density_grid([[panel] * 3, [panel] * 2])
    assert [bool(axes.get_ylabel()) for axes in figure.axes] == [True, False, False, True, False]
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False, False, True, True, True]


def test_grid_names_all_axes_where_they_differ():
    wide = DensityPanel("", 3 * X, Y, LOG_QZ)
    figure = density_grid([[wide, DensityPanel("", X, Y, LOG_QZ)]])
    assert all(axes.get_ylabel() and axes.get_xlabel() for axes in figure.axes)


@pytest.mark.parametrize("panels", [[], [[]]])
def test_grid_without_panels(panels):
    with pytest.raises(ValueError, match="expected rows of at least one panel"):
        density_grid(panels)
