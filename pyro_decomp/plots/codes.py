"""Codes against the factors that made the data."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.labels import falling, labelled, named, nats, signed, table, width_of
from pyro_decomp.plots.style import CATEGORIES, DATA, new_figure, round_ticks, styled, thin_ticks

#: More different values than these cannot be told apart in a picture.
VALUES = 200


@dataclass(frozen=True)
class Levels:
    """The different values of one factor in order, and each datum's place among them."""

    values: Float[np.ndarray, " values"]
    members: Int[np.ndarray, " n"]


def levels(name: str, factor: Float[np.ndarray, " n"], most: int = VALUES) -> Levels:
    """The different values of a factor, and each datum's place among them; internal."""
    values, members = np.unique(factor, return_inverse=True)
    if len(values) > most:
        raise ArgumentError(
            f"factor {name!r}: expected at most {most} different values, got {len(values)}"
        )
    return Levels(values, members)


def mean_over(
    codes: Float[np.ndarray, "n latents"], *factors: Levels
) -> Float[np.ndarray, "latents ..."]:
    """Mean codes at every combination of the factors' values; NaN where there are no data.

    >>> factor = levels("f", np.array([3.0, 3.0, 7.0]))
    >>> mean_over(np.array([[1.0], [2.0], [5.0]]), factor)
    array([[1.5, 5. ]])
    """
    shape = tuple(len(factor.values) for factor in factors)
    cells = np.ravel_multi_index(tuple(factor.members for factor in factors), shape)
    size = int(np.prod(shape))
    counts = np.bincount(cells, minlength=size)
    sums = np.stack([np.bincount(cells, weights=code, minlength=size) for code in codes.T])
    with np.errstate(invalid="ignore"):
        return (sums / counts).reshape(len(sums), *shape)


def spread_over(
    codes: Float[np.ndarray, "n latents"], factor: Levels
) -> Float[np.ndarray, "latents values"]:
    """Standard deviation of the codes at each value of a factor."""
    centred = codes - mean_over(codes, factor)[:, factor.members].T
    return np.sqrt(mean_over(centred**2, factor))


#: A row is one unit high; what is drawn in it reaches so far from its middle.
REACH = 0.45

#: Curves of up to this many values have a mark at each.
FEW_VALUES = 12


def draw_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Draw a strip for each latent, the first at the top."""
    thin_ticks(axes)
    axes.set_yticks(range(len(labels)), list(labels))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for i in range(1, len(labels)):
        axes.axhline(i - 0.5, color="#D9D9D9", linewidth=0.5)


def draw_maps(
    panels: Sequence[Axes],
    codes: Float[np.ndarray, "n latents"],
    maps: dict[tuple[str, str], list[Levels]],
) -> AxesImage:
    """Draw the maps of each pair, all in one scale of colours, and return the last."""
    means = [mean_over(codes, up, across) for across, up in maps.values()]
    limit = max(float(np.nanmax(np.abs(mean))) for mean in means) or 1.0
    colours = mpl.colormaps["RdBu"].with_extremes(bad="#BFBFBF")
    for axes, (pair, (across, _)), mean in zip(panels, maps.items(), means, strict=False):
        for i, cells in enumerate(mean):
            image = axes.imshow(
                cells,
                cmap=colours,
                vmin=-limit,
                vmax=limit,
                origin="lower",
                extent=(-0.5, len(across.values) - 0.5, i + REACH, i - REACH),
                aspect="auto",
            )
        axes.set_xlim(-0.5, len(across.values) - 0.5)
        axes.set_ylim(len(mean) - 0.5, -0.5)
        ends = [0, len(across.values) - 1]
        axes.set_xticks(ends, [f"{across.values[i]:g}" for i in ends])
        axes.set_title(f"{pair[0]} \N{RIGHTWARDS ARROW}\n{pair[1]} \N{UPWARDS ARROW}")
        axes.spines["bottom"].set_visible(False)
    return image


def draw_curves(
    panels: Sequence[Axes],
    codes: Float[np.ndarray, "n latents"],
    curves: dict[str, Levels],
    split: Levels | None,
) -> float:
    """Draw the curves, and return the code at the upper edge of every row."""
    lines = {
        name: mean_over(codes, factor)[:, None]
        if split is None
        else mean_over(codes, split, factor)
        for name, factor in curves.items()
    }
    bands = {
        name: np.zeros(()) if split is not None else spread_over(codes, factor)[:, None]
        for name, factor in curves.items()
    }
    limit = max(float(np.nanmax(np.abs(lines[name]) + bands[name])) for name in curves) or 1.0
    colours = [DATA] if split is None else CATEGORIES
    for axes, (name, factor) in zip(panels, curves.items(), strict=True):
        for i, latent in enumerate(lines[name]):
            axes.axhline(i, color="#BFBFBF", linewidth=0.5, linestyle=":")
            if split is None:
                edges = latent[0] + np.multiply([[-1], [1]], bands[name][i, 0])
                low, high = i - REACH * edges / limit
                axes.fill_between(factor.values, low, high, color=DATA, alpha=0.2, linewidth=0)
            for line, colour in zip(latent, colours, strict=False):
                mark = "." if len(factor.values) <= FEW_VALUES else ""
                axes.plot(
                    factor.values, i - REACH * line / limit, color=colour, linewidth=1.1,
                    marker=mark, markersize=3,
                )  # fmt: skip
        axes.set_ylim(len(lines[name]) - 0.5, -0.5)
        axes.xaxis.set_major_locator(round_ticks(4))
        axes.set_title(name)
    return limit


#: Rows up to this many are tall.
FEW_ROWS = 12


@styled
def codes_against_factors(
    codes: ArrayLike,
    factors: ArrayLike,
    factor_names: Sequence[str],
    *,
    pairs: Sequence[tuple[str, str]] = (),
    by: str | None = None,
    names: Sequence[str] | None = None,
    information: ArrayLike | None = None,
    most: int | None = None,
) -> Figure:
    """The mean code of each latent against each factor, in the manner of Chen et al. 2018.

    A row is a latent. A column is a pair of factors, as a map whose colours run from red (negative)
    over white to blue, the first factor to the right and the second upwards; or one factor, as the
    curve of the mean code, with a band of one standard deviation of the codes at each value. All
    rows have one scale, so that an inactive latent is flat. Combinations without data are grey.

    https://arxiv.org/abs/1802.04942

    Args:
        codes: Mean or sampled codes [n, d].
        factors: Values of the factors [n, k], each with at most 200 different ones.
        factor_names: Names of the factors [k].
        pairs: Factors, by name, that share a map instead of a curve each, such as the positions.
        by: A factor of at most ten values for each of which the curves have a line, without bands;
            it has no column of its own.
        names: Of the latents; z_1, z_2, ... if not given.
        information: Nats that each latent has about the data [d], written beside its name; the rows
            then stand from the most informative down.
        most: Draw so many rows only, from the top.

    Returns:
        A figure with a row a latent and a column a factor or pair of factors.

    Raises:
        ArgumentError: If a shape is not as above, a number is not finite, a factor named is none of
            ``factor_names``, has too many values or would leave no column.
    """
    arguments.annotated(codes_against_factors, locals())
    encoded, known = table("codes", codes), table("factors", factors)
    if len(encoded) != len(known):
        raise ArgumentError(f"factors: expected {len(encoded)} rows as in codes, got {len(known)}")
    columns = dict(zip(named("factor_names", factor_names, known.shape[1]), known.T, strict=True))
    for name in [*(name for pair in pairs for name in pair), *([] if by is None else [by])]:
        if name not in columns:
            raise ArgumentError(f"pairs, by: expected names among {list(columns)}, got {name!r}")
    apart = {by, *(name for pair in pairs for name in pair)}
    single = [name for name in columns if name not in apart]
    if not single and not pairs:
        raise ArgumentError(f"factor_names: expected a factor beside {by!r}, got none")
    amounts = nats(information, encoded.shape[1])
    order = falling(amounts, encoded.shape[1], most)
    labels = labelled(named("names", names, encoded.shape[1]), amounts, order, "\n")
    encoded = encoded[:, order]
    split = None if by is None else levels(by, columns[by], len(CATEGORIES))

    height = 0.62 if len(order) <= FEW_ROWS else 0.38
    widths = [max(height, 0.75)] * len(pairs) + [1.25] * len(single)
    figure = new_figure(
        max(sum(widths) + 0.12 * len(widths) + width_of(labels) + 0.15 + 0.5 * bool(pairs), 2.6),
        height * len(order) + 0.95,
    )
    panels: list[Axes] = list(
        figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    )
    for axes in panels:
        draw_rows(axes, labels)
    if pairs:
        maps = {pair: [levels(name, columns[name]) for name in pair] for pair in pairs}
        image = draw_maps(panels, encoded, maps)
        high = min(1.0, 4 / len(order))
        beside = panels[-1].inset_axes((1.0 + 0.08 / widths[-1], 1 - high, 0.09 / widths[-1], high))
        bar = figure.colorbar(image, cax=beside, label="mean code")
        bar.outline.set_linewidth(0.6)
        thin_ticks(bar.ax)
    if single:
        curves = {name: levels(name, columns[name]) for name in single}
        limit = signed(f"{draw_curves(panels[len(pairs) :], encoded, curves, split):.2g}")
        figure.supxlabel(f"curves: a row from \N{MINUS SIGN}{limit} to {limit}", fontsize=8)
    for axes in panels:
        for artist in (*axes.lines, *axes.collections, *axes.images):
            artist.set_in_layout(False)  # all lie inside: measuring hundreds takes seconds
    if single and split is not None:
        handles = [
            Line2D([], [], color=colour, label=f"{by} {value:g}")
            for value, colour in zip(split.values, CATEGORIES, strict=False)
        ]
        wide = 0.45 + width_of([str(handle.get_label()) for handle in handles])
        columns_of_legend = max(1, int(figure.get_figwidth() / wide))
        figure.legend(handles=handles, ncols=columns_of_legend, loc="outside upper center")
    return figure
