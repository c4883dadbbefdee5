"""Densities of a two-dimensional latent space, and the grid that its pictures share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.style import new_figure, round_ticks, styled, thin_ticks

X = Float[np.ndarray, " nx"]
Y = Float[np.ndarray, " ny"]
Density = Float[np.ndarray, "ny nx"]

#: The prior's contours enclose these shares of its mass on the grid.
PRIOR_MASS = (0.99, 0.9, 0.5)

#: The exponential of a log density beyond it, summed over a grid, would overflow.
HIGHEST = 650


def draw_prior(axes: Axes, x: X, y: Y, log_pz: Density, colour: str) -> None:
    """Draw the contours that enclose :data:`PRIOR_MASS` of the prior's mass on the grid."""
    density = np.exp(log_pz)
    levels = np.unique(borders(density, PRIOR_MASS))
    levels = levels[(levels > density.min()) & (levels < density.max())]
    if len(levels):
        axes.contour(
            x, y, density, levels=levels, colors=colour, linewidths=0.5, alpha=0.8, zorder=4
        )


def borders(density: Density, shares: Sequence[float]) -> Float[np.ndarray, " k"]:
    """The densities at the borders of the smallest regions that hold these shares of the mass.

    >>> borders(np.array([[4.0, 3.0], [2.0, 1.0]]), [0.3, 0.6, 0.8])
    array([4., 3., 2.])
    """
    falling: Float[np.ndarray, " n"] = np.sort(density, axis=None)[::-1]
    enclosed = np.cumsum(falling)
    return np.asarray(falling[np.searchsorted(enclosed, np.multiply(shares, enclosed[-1]))])


def label_latents(axes: Axes) -> None:
    """Name the two latents on the axes, with few ticks."""
    axes.set_xlabel("$z_1$")
    axes.set_ylabel("$z_2$")
    axes.xaxis.set_major_locator(round_ticks(5))
    axes.yaxis.set_major_locator(round_ticks(5))


def grid_axis(name: str, values: ArrayLike) -> Float[np.ndarray, " n"]:
    """Check the positions along one axis of the grid."""
    axis = np.asarray(values, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 2:
        raise ArgumentError(f"{name}: expected shape (n,) with n >= 2, got {axis.shape}")
    gaps = np.diff(axis)
    if not (gaps[0] > 0 and np.allclose(gaps, gaps[0], rtol=1e-3, atol=0)):
        raise ArgumentError(
            f"{name}: expected evenly spaced, rising positions, "
            f"got gaps from {gaps.min():g} to {gaps.max():g}"
        )
    return axis


def on_grid(name: str, values: ArrayLike, x: X, y: Y) -> Density:
    """Check a log density at every place of the grid."""
    density = np.asarray(values, dtype=np.float64)
    if density.shape != (len(y), len(x)):
        raise ArgumentError(
            f"{name}: expected shape (ny, nx) = {(len(y), len(x))}, got {density.shape}"
        )
    if not (density < HIGHEST).all():
        raise ArgumentError(f"{name}: expected numbers below {HIGHEST} nats, got {density.max():g}")
    return density


#: The densest region with this share of q(z) has the brightest colour.
COLOUR_MASS = 0.02


@dataclass(frozen=True, repr=False)
class DensityPanel:
    """One panel of :func:`density_grid`, with the arrays that :func:`aggregate_density` takes."""

    title: str
    x: ArrayLike
    y: ArrayLike
    log_qz: ArrayLike
    log_pz: ArrayLike | None = None

    __repr__ = constructor_call

    def __post_init__(self) -> None:
        arguments.annotated(DensityPanel, vars(self))


@styled
def aggregate_density(
    x: ArrayLike, y: ArrayLike, log_qz: ArrayLike, log_pz: ArrayLike | None = None
) -> Figure:
    """The density of the aggregate posterior q(z), with contours of the prior p(z).

    The contours are the borders of the smallest regions with 50, 90 and 99 percent of the prior's
    mass on the grid. The colours run from no density to that above which lies a fiftieth of the
    mass of q(z), so that a few narrow peaks do not leave the rest dark.

    Args:
        x: First latent, evenly spaced and rising [nx].
        y: Second latent, evenly spaced and rising [ny].
        log_qz: log q(z) in nats at every (x, y) [ny, nx].
        log_pz: log p(z) in nats at the same places [ny, nx].

    Returns:
        A figure with one panel and a bar of colours.

    Raises:
        ArgumentError: If a shape differs, a grid axis is not evenly spaced and rising, or a log
            density is NaN or above 650 nats.
    """
    arguments.annotated(aggregate_density, locals())
    figure = new_figure(3.6, 3.0)
    axes = figure.add_subplot()
    title = "aggregate posterior q(z)" + ("" if log_pz is None else "; prior p(z) as lines")
    image = draw_density(axes, DensityPanel(title, x, y, log_qz, log_pz))
    left, right, bottom, top = image.get_extent()
    figure.set_figheight(min(0.5 + 2.5 * (top - bottom) / (right - left), 6.0))
    label_latents(axes)
    beside = axes.inset_axes((1.04, 0.0, 0.05, 1.0))
    bar = figure.colorbar(image, cax=beside, extend="max", extendfrac=0.03, label="density")
    thin_ticks(bar.ax)
    bar.outline.set_linewidth(0.6)
    return figure


@styled
def density_grid(panels: Sequence[Sequence[DensityPanel]]) -> Figure:
    """Densities of q(z) of many runs in rows, as Figure 3 of Mathieu et al. 2019.

    Each panel has its own colours, and its highest density is written in its corner: encodings
    that hardly overlap are so much denser than those that do that one scale for all would leave
    most panels dark. Colours and the prior's contours are as in :func:`aggregate_density`.

    Args:
        panels: Rows of panels from the top; rows may differ in length.

    Returns:
        A figure with a panel for each run.

    Raises:
        ArgumentError: If there is no panel, or as in :func:`aggregate_density`.
    """
    arguments.annotated(density_grid, locals())
    columns = max((len(row) for row in panels), default=0)
    if not columns:
        raise ArgumentError(f"panels: expected rows of at least one panel, got {panels!r}")
    figure = new_figure(1.55 * columns + 0.3, 1.7 * len(panels) + 0.2)
    extents = set()
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            axes = figure.add_subplot(len(panels), columns, i * columns + j + 1)
            image = draw_density(axes, panel)
            label_latents(axes)
            highest = np.exp(np.asarray(panel.log_qz, dtype=np.float64)).max()
            axes.text(
                0.96, 0.04, f"max {highest:.3g}", transform=axes.transAxes,
                ha="right", va="bottom", fontsize=6, color="white",
                bbox={"facecolor": "black", "alpha": 0.3, "linewidth": 0, "pad": 1.0},
            )  # fmt: skip
            extents.add(tuple(image.get_extent()))
    if len(extents) == 1:
        _label_outer(figure.axes, [len(row) for row in panels])
    return figure


def _label_outer(axes: Sequence[Axes], lengths: Sequence[int]) -> None:
    """Keep tick labels and axis labels at the left and where no panel is below."""
    remaining = iter(axes)
    for i, length in enumerate(lengths):
        for j in range(length):
            panel = next(remaining)
            below = any(j < other for other in lengths[i + 1 :])
            if below:
                panel.tick_params(labelbottom=False)
                panel.set_xlabel("")
            if j:
                panel.tick_params(labelleft=False)
                panel.set_ylabel("")


def draw_density(axes: Axes, panel: DensityPanel) -> AxesImage:
    """Draw q(z) as an image and the prior, if given, as contours over it; internal."""
    x, y = grid_axis("x", panel.x), grid_axis("y", panel.y)
    thin_ticks(axes)
    density = np.exp(on_grid("log_qz", panel.log_qz, x, y))
    half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    image = axes.imshow(
        density,
        origin="lower",
        extent=(x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y),
        vmin=0.0,
        vmax=borders(density, [COLOUR_MASS])[0],
        aspect="equal",
    )
    if panel.log_pz is not None:
        draw_prior(axes, x, y, on_grid("log_pz", panel.log_pz, x, y), "white")
    axes.set_title(panel.title)
    return image
