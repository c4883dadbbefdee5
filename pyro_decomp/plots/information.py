"""What each latent knows: its information about factors, its magnitude for each class."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.labels import classes_of, falling, named, signed, table, width_of
from pyro_decomp.plots.style import DATA, new_figure, round_ticks, styled, thin_ticks

#: Inches across and up one cell.
WIDTH, HEIGHT = 0.62, 0.2


@styled
def mutual_information(
    information: ArrayLike,
    factor_names: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    entropies: ArrayLike | None = None,
    most: int | None = None,
) -> Figure:
    """I(z_j; v_k) of each latent and factor, with the gap that makes the MIG.

    A row is a latent, from the greatest sum over the factors down. In each column a frame marks the
    most informative latent and a broken one the second; under it stands their gap, divided by the
    factor's entropy if that is given. The title has its mean over the factors then, the mutual
    information gap (Chen et al. 2018, equation 6, https://arxiv.org/abs/1802.04942).

    Args:
        information: Nats [latents, factors].
        factor_names: Names of the factors.
        names: Of the latents; z_1, z_2, ... if not given.
        entropies: Entropies H(v_k) of the factors in nats [factors], above zero.
        most: Draw so many rows only, from the top; the gaps are still of all.

    Returns:
        A figure with one table of numbers on colours.

    Raises:
        ArgumentError: If a shape is not as above, a number is not finite, an entropy is not above
            zero, or names are too few or too many.
    """
    arguments.annotated(mutual_information, locals())
    amounts = np.asarray(information, dtype=np.float64)
    if amounts.ndim != 2 or not amounts.size:
        raise ArgumentError(
            f"information: expected shape (latents, factors), both at least 1, got {amounts.shape}"
        )
    if not np.isfinite(amounts).all():
        raise ArgumentError("information: expected finite numbers, got some that are not")
    factors = named("factor_names", factor_names, amounts.shape[1])
    latents = named("names", names, len(amounts))
    scale = _entropies(entropies, amounts.shape[1])
    order = falling(amounts.sum(1), len(amounts), most)
    rows = amounts[order]
    gaps = _gaps(amounts) / scale

    labels = [latents[i] for i in order]
    wide = max(WIDTH, width_of(factors) + 0.06)
    figure = new_figure(
        max(wide * len(factors), 2.0) + width_of(labels) + 0.25, HEIGHT * len(rows) + 0.95
    )
    axes = figure.add_subplot()
    thin_ticks(axes)
    axes.imshow(rows, aspect="auto", vmin=0.0, vmax=max(rows.max(), 1e-12))
    _annotate(axes, rows)
    _mark(axes, amounts, order.tolist())
    axes.set_yticks(range(len(rows)), labels)
    under = [f"{name}\n{signed(f'{gap:.2f}')}" for name, gap in zip(factors, gaps, strict=True)]
    axes.set_xticks(range(len(factors)), under)
    axes.tick_params(length=0)
    axes.set_xlabel("gap" if entropies is None else "gap / entropy of the factor")
    mig = "" if entropies is None else f"; MIG {signed(f'{gaps.mean():.3f}')}"
    axes.set_title(f"mutual information (nats){mig}")
    return figure


def _entropies(entropies: ArrayLike | None, size: int) -> Float[np.ndarray, " factors"]:
    if entropies is None:
        return np.ones(size)
    amounts = np.asarray(entropies, dtype=np.float64)
    if amounts.shape != (size,) or not (np.isfinite(amounts) & (amounts > 0)).all():
        raise ArgumentError(
            f"entropies: expected {size} finite numbers above 0, "
            f"got {np.array2string(amounts, threshold=6)}"
        )
    return amounts


def _gaps(information: Float[np.ndarray, "latents factors"]) -> Float[np.ndarray, " factors"]:
    """The most informative latent's information less the second's; all of it if it is alone."""
    rising = np.sort(information, axis=0)
    return rising[-1] - (rising[-2] if len(rising) > 1 else 0.0)


def _annotate(axes: Axes, rows: Float[np.ndarray, "rows factors"]) -> None:
    """Write each number in its cell, dark on light and light on dark."""
    colours = mpl.colormaps["viridis"](rows / max(rows.max(), 1e-12))[..., :3]
    light = colours @ [0.299, 0.587, 0.114] > 0.5
    for (i, j), amount in np.ndenumerate(rows):
        number = axes.text(
            j, i, signed(f"{amount:.2f}"), ha="center", va="center", fontsize=6.5,
            color="black" if light[i, j] else "white",
        )  # fmt: skip
        number.set_in_layout(False)  # it lies inside: measuring hundreds takes seconds


def _mark(
    axes: Axes, information: Float[np.ndarray, "latents factors"], rows: Sequence[int]
) -> None:
    """Frame the most informative latent of each factor, and with a broken line the second."""
    best = np.argsort(-information, axis=0, kind="stable")[:2]
    for j in range(information.shape[1]):
        for latent, line in zip(best[:, j].tolist(), ["-", (0, (2, 1.5))], strict=False):
            if latent in rows:
                axes.add_patch(
                    Rectangle(
                        (j - 0.46, rows.index(latent) - 0.42), 0.92, 0.84, fill=False,
                        edgecolor="#D55E00", linestyle=line, linewidth=1.3,
                    )
                )  # fmt: skip


@styled
def code_magnitudes(
    codes: ArrayLike,
    classes: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    most: int | None = None,
) -> Figure:
    """The mean magnitude of each latent's codes over each class (Mathieu et al. 2019, figure 5).

    A row of bars a class, all on one scale. The latents stand in one order for all classes, from
    the greatest mean of these means to the right. A latent that is tall in some rows and flat in
    others is active for those classes only; its effect is drawn with :func:`traversals`, one of
    whose blocks is then a latent and whose rows are data.

    https://arxiv.org/abs/1812.02833

    Args:
        codes: Mean or sampled codes [n, d]; divide them by their standard deviations first if the
            latents differ in scale.
        classes: A whole number per datum [n].
        class_names: Of the different classes in rising order; their numbers if not given.
        names: Of the latents; their numbers, counted from one, if not given.
        most: Draw so many latents only, from the left.

    Returns:
        A figure with a panel for each class.

    Raises:
        ArgumentError: If a shape is not as above, a code is not finite, classes are not whole
            numbers, or names are too few or too many.
    """
    arguments.annotated(code_magnitudes, locals())
    encoded = table("codes", codes)
    different, members = classes_of("classes", classes, len(encoded))
    titles = named("class_names", class_names or [str(k) for k in different], len(different))
    latents = encoded.shape[1]
    labels = named("names", names or [str(i + 1) for i in range(latents)], latents)
    means = np.stack([np.abs(encoded[members == k]).mean(0) for k in range(len(different))])
    order = falling(means.mean(0), latents, most)

    figure = new_figure(max(0.13 * len(order) + 1.2, 3.0), 0.55 * len(different) + 0.6)
    panels = figure.subplots(len(different), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    places = np.arange(len(order))
    for axes, title, mean in zip(panels, titles, means[:, order], strict=True):
        thin_ticks(axes)
        axes.bar(places, mean, width=0.8, color=DATA)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(round_ticks(2))
        axes.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=4)
        axes.set_xlim(-0.7, len(order) - 0.3)
        axes.tick_params(axis="x", length=0)
    long = len(order) > 12 or max(len(label) for label in labels) > 3
    panels[-1].set_xticks(
        places, [labels[i] for i in order], rotation=90 if long else 0, fontsize=6
    )
    panels[-1].set_xlabel("latent, by mean magnitude")
    panels[0].set_ylim(0, 1.05 * means.max() or 1.0)
    panels[0].set_title("mean magnitude of the codes")
    return figure
