"""Densities on a grid over two latents: what every picture of such a space shares."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from pyro_decomp.plots.style import round_ticks

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
    """The positions along one axis of the grid, checked."""
    axis = np.asarray(values, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 2:
        raise ValueError(f"{name}: expected shape (n,) with n >= 2, got {axis.shape}")
    gaps = np.diff(axis)
    if not (gaps[0] > 0 and np.allclose(gaps, gaps[0], rtol=1e-3, atol=0)):
        raise ValueError(
            f"{name}: expected evenly spaced, rising positions, "
            f"got gaps from {gaps.min():g} to {gaps.max():g}"
        )
    return axis


def on_grid(name: str, values: ArrayLike, x: X, y: Y) -> Density:
    """A log density at every place of the grid, checked."""
    density = np.asarray(values, dtype=np.float64)
    if density.shape != (len(y), len(x)):
        raise ValueError(
            f"{name}: expected shape (ny, nx) = {(len(y), len(x))}, got {density.shape}"
        )
    if not (density < HIGHEST).all():
        raise ValueError(f"{name}: expected numbers below {HIGHEST} nats, got {density.max():g}")
    return density
