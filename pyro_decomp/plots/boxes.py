"""How a quantity spreads over runs: boxes side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.latents import width_of
from pyro_decomp.plots.style import (
    CATEGORIES,
    INK,
    add_legend,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

SPREAD = 0.8  # of the place of a group that its boxes take


@dataclass(frozen=True)
class Boxes:
    """One method's boxes in :func:`box_plots`.

    Attributes:
        name: The method.
        values: Of each group the values of the method's runs [runs]; none leaves a place empty.
    """

    name: str
    values: Sequence[ArrayLike]

    def __post_init__(self) -> None:
        arguments.annotated(Boxes, vars(self))


@styled
def box_plots(
    groups: Sequence[str], methods: Sequence[Boxes], group_label: str, value_label: str
) -> Figure:
    """Quartiles of a quantity over runs, a place for each group and in it a box a method.

    A box reaches from the first quartile to the third with a line at the median, its whiskers to
    the last value within 1.5 times its height (Tukey's); every run is a dot.

    Args:
        groups: What is written under each place, such as the value of a weight.
        methods: At most ten.
        group_label: What the groups are.
        value_label: The quantity, with its unit.

    Raises:
        ValueError: If there is no group, there is no method or more than ten, a method has not one
            array for each group, or a value is not finite.
    """
    arguments.annotated(box_plots, locals())
    if not groups:
        raise ValueError("groups: expected at least one, got none")
    if not 1 <= len(methods) <= len(CATEGORIES):
        raise ValueError(f"methods: expected from 1 to {len(CATEGORIES)}, got {len(methods)}")
    values = [_values(method, len(groups)) for method in methods]
    across = max(0.3 + 0.16 * len(methods), 0.12)
    words = width_of(groups)
    upright = words > 0.9 * across
    figure = new_figure(
        min(max(0.9 + across * len(groups), 2.6), 9.0) + 1.2 * (len(methods) > 1),
        2.6 + words * upright,
    )
    axes = figure.add_subplot()
    thin_ticks(axes)
    width = SPREAD / len(methods)
    for i, (of_method, colour) in enumerate(zip(values, CATEGORIES, strict=False)):
        places = np.arange(len(groups)) + (i - (len(methods) - 1) / 2) * width
        some = [k for k, of_group in enumerate(of_method) if len(of_group)]
        if some:
            drawn = axes.boxplot(
                [of_method[k] for k in some], positions=places[some], widths=0.72 * width,
                showfliers=False, patch_artist=True, manage_ticks=False,
                medianprops={"color": INK, "linewidth": 1.2},
                boxprops={"edgecolor": colour, "linewidth": 0.8},
                whiskerprops={"color": colour, "linewidth": 0.8},
                capprops={"color": colour, "linewidth": 0.8},
            )  # fmt: skip
            for box in drawn["boxes"]:
                box.set_facecolor((colour, 0.3))
        for k in some:
            axes.scatter(
                np.full(len(of_method[k]), places[k]), of_method[k], s=5, c=colour, linewidths=0,
                zorder=3,
            )  # fmt: skip
    axes.set_xticks(range(len(groups)), groups, rotation=90 if upright else 0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.yaxis.set_major_locator(round_ticks(6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(group_label)
    axes.set_ylabel(value_label)
    if len(methods) > 1:
        handles = [
            Patch(facecolor=(colour, 0.3), edgecolor=colour, linewidth=0.8, label=method.name)
            for method, colour in zip(methods, CATEGORIES, strict=False)
        ]
        add_legend(figure, handles)
    return figure


def _values(method: Boxes, groups: int) -> list[Float[np.ndarray, " runs"]]:
    if len(method.values) != groups:
        raise ValueError(
            f"{method.name}: values: expected one array for each of {groups} groups, "
            f"got {len(method.values)}"
        )
    arrays = [np.asarray(values, dtype=np.float64) for values in method.values]
    for array in arrays:
        if array.ndim != 1:
            raise ValueError(f"{method.name}: values: expected shape (n,), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(
                f"{method.name}: values: expected finite numbers, got some that are not"
            )
    return arrays
