"""Codes against the factors that made the data."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.factor_columns import draw_curves, draw_maps, draw_rows
from pyro_decomp.plots.factor_means import levels
from pyro_decomp.plots.latents import falling, labelled, named, nats, signed, width_of
from pyro_decomp.plots.style import CATEGORIES, new_figure, styled, thin_ticks

#: Rows up to this many are tall.
FEW = 12


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

    Raises:
        ValueError: If a shape is not as above, a number is not finite, a factor named is none of
            ``factor_names``, has too many values or would leave no column.
    """
    arguments.annotated(codes_against_factors, locals())
    encoded, known = _table("codes", codes), _table("factors", factors)
    if len(encoded) != len(known):
        raise ValueError(f"factors: expected {len(encoded)} rows as in codes, got {len(known)}")
    columns = dict(zip(named("factor_names", factor_names, known.shape[1]), known.T, strict=True))
    for name in [*(name for pair in pairs for name in pair), *([] if by is None else [by])]:
        if name not in columns:
            raise ValueError(f"pairs, by: expected names among {list(columns)}, got {name!r}")
    apart = {by, *(name for pair in pairs for name in pair)}
    single = [name for name in columns if name not in apart]
    if not single and not pairs:
        raise ValueError(f"factor_names: expected a factor beside {by!r}, got none")
    amounts = nats(information, encoded.shape[1])
    order = falling(amounts, encoded.shape[1], most)
    labels = labelled(named("names", names, encoded.shape[1]), amounts, order, "\n")
    encoded = encoded[:, order]
    split = None if by is None else levels(by, columns[by], len(CATEGORIES))

    height = 0.62 if len(order) <= FEW else 0.38
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


def _table(name: str, values: ArrayLike) -> Float[np.ndarray, "n columns"]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"{name}: expected shape (n, d) with n, d >= 1, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{name}: expected finite numbers, got some that are not")
    return table
