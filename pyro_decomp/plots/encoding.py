"""The encodings of a two-dimensional latent space."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.density import draw_prior, grid_axis, label_latents, on_grid
from pyro_decomp.plots.labels import classes_of
from pyro_decomp.plots.style import CATEGORIES, DATA, evenly_spaced, new_figure, styled, thin_ticks

Loc = Float[np.ndarray, "n 2"]
Covariance = Float[np.ndarray, "n 2 2"]

#: More encodings than this are thinned out evenly_spaced, and the title says so.
MAXIMUM = 2000


@styled
def encodings(
    loc: ArrayLike,
    covariance: ArrayLike,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    log_pz: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
    label_name: str | None = None,
    num_scales: float = 2.0,
) -> Figure:
    """Each datum's q(z|x) as an ellipse about its mean, with contours of the prior p(z).

    An ellipse's half axes are ``num_scales`` times the standard deviations along the covariance's
    eigenvectors. At most 2000 encodings are drawn, evenly taken from all; the title then says so.

    Args:
        loc: Means [n, 2].
        covariance: Covariances [n, 2, 2].
        x: First latent of the prior's grid [nx]; needed with ``log_pz`` only.
        y: Second latent of the prior's grid [ny]; needed with ``log_pz`` only.
        log_pz: log p(z) in nats on the grid [ny, nx]; its contours are those of
            :func:`aggregate_density`.
        labels: A whole number per datum [n], shown as colours; at most ten different ones.
        label_name: What the labels are, written above their legend.
        num_scales: Half axes in standard deviations.

    Returns:
        A figure with one panel.

    Raises:
        ArgumentError: If a shape differs, a number is not finite, a covariance is not symmetric
            with eigenvalues of at least zero, labels are not as above, or ``log_pz`` comes without
            its grid.
    """
    arguments.annotated(encodings, locals())
    means, covariances = _checked(loc, covariance)
    classes, members = _classes(labels, len(means))
    kept = evenly_spaced(len(means), MAXIMUM)
    means, covariances = means[kept], covariances[kept]
    colours = to_rgba_array(CATEGORIES if len(classes) else [DATA])[members[kept]]

    figure = new_figure(3.4, 3.2)
    axes = figure.add_subplot(aspect="equal")
    thin_ticks(axes)
    num_scales = float(num_scales)
    reach = num_scales * np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0.0))
    corners = np.concatenate([means - reach, means + reach])
    if log_pz is not None:
        if x is None or y is None:
            raise ArgumentError("x, y: expected the grid axes of log_pz, got None")
        across, up = grid_axis("x", x), grid_axis("y", y)
        draw_prior(axes, across, up, on_grid("log_pz", log_pz, across, up), "black")
        corners = np.concatenate([corners, [[across[0], up[0]], [across[-1], up[-1]]]])
    axes.add_collection(_ellipses(axes, means, covariances, num_scales, colours), autolim=False)
    axes.scatter(means[:, 0], means[:, 1], s=2.5, c=colours, linewidths=0, zorder=3)
    margin = 0.02 * np.ptp(corners, axis=0).max()
    axes.set_xlim(corners[:, 0].min() - margin, corners[:, 0].max() + margin)
    axes.set_ylim(corners[:, 1].min() - margin, corners[:, 1].max() + margin)
    label_latents(axes)
    drawn = f"{len(members)} encodings"
    if len(kept) < len(members):
        drawn = f"{len(kept)} of {drawn}"
    prior = "" if log_pz is None else "; prior as lines"
    axes.set_title(f"{drawn} q(z|x), {num_scales:g} s.d.{prior}")
    if len(classes):
        handles = [
            Line2D([], [], color=colour, marker="o", markersize=3.5, linestyle="", label=str(name))
            for name, colour in zip(classes, CATEGORIES, strict=False)
        ]
        figure.legend(
            handles=handles, loc="outside right center", title=label_name, title_fontsize=7
        )
    return figure


def _ellipses(
    axes: Axes,
    loc: Loc,
    covariance: Covariance,
    num_scales: float,
    colours: Float[np.ndarray, "n 4"],
) -> EllipseCollection:
    """Ellipses (z - loc)' covariance^-1 (z - loc) = num_scales^2, in the units of the axes."""
    variances, vectors = np.linalg.eigh(covariance)
    diameters = 2 * num_scales * np.sqrt(np.maximum(variances, 0.0))
    return EllipseCollection(
        diameters[:, 1],
        diameters[:, 0],
        np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1])),
        units="xy",
        offsets=loc,
        offset_transform=axes.transData,
        facecolors=colours * [1, 1, 1, min(0.1, 10 / len(loc))],
        edgecolors=colours * [1, 1, 1, np.clip(100 / len(loc), 0.1, 0.5)],
        linewidths=0.4,
    )


def _checked(loc: ArrayLike, covariance: ArrayLike) -> tuple[Loc, Covariance]:
    means = np.asarray(loc, dtype=np.float64)
    covariances = np.asarray(covariance, dtype=np.float64)
    if means.ndim != 2 or means.shape[1] != 2 or not len(means):
        raise ArgumentError(f"loc: expected shape (n, 2) with n >= 1, got {means.shape}")
    if covariances.shape != (len(means), 2, 2):
        raise ArgumentError(
            f"covariance: expected shape (n, 2, 2) = {(len(means), 2, 2)}, got {covariances.shape}"
        )
    if not (np.isfinite(means).all() and np.isfinite(covariances).all()):
        raise ArgumentError("loc, covariance: expected finite numbers, got some that are not")
    asymmetry = np.abs(covariances[:, 0, 1] - covariances[:, 1, 0]).max()
    if asymmetry > 1e-4 * np.abs(covariances).max():
        raise ArgumentError(
            "covariance: expected symmetric matrices, "
            f"got off-diagonal entries that differ by {asymmetry:g}"
        )
    variances = np.linalg.eigvalsh(covariances)
    if variances.min() < -1e-6 * np.abs(variances).max():
        raise ArgumentError(
            f"covariance: expected eigenvalues of at least 0, got {variances.min():g}"
        )
    return means, covariances


def _classes(
    labels: ArrayLike | None, size: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " n"]]:
    """The different labels in order, and each datum's place among them."""
    if labels is None:
        return np.empty(0, dtype=np.int64), np.zeros(size, dtype=np.int64)
    classes, members = classes_of("labels", labels, size)
    if len(classes) > len(CATEGORIES):
        raise ArgumentError(
            f"labels: expected at most {len(CATEGORIES)} different ones, got {len(classes)}"
        )
    return classes, members
