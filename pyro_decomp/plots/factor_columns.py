"""The columns of codes against factors: a strip a latent, maps and curves in it."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from pyro_decomp.plots.factor_means import Levels, mean_over, spread_over
from pyro_decomp.plots.style import CATEGORIES, DATA, round_ticks, thin_ticks

#: A row is one unit high; what is drawn in it reaches so far from its middle.
REACH = 0.45

#: Curves of up to this many values have a mark at each.
FEW = 12


def draw_rows(axes: Axes, labels: Sequence[str]) -> None:
    """A strip for each latent, the first at the top."""
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
                mark = "." if len(factor.values) <= FEW else ""
                axes.plot(
                    factor.values, i - REACH * line / limit, color=colour, linewidth=1.1,
                    marker=mark, markersize=3,
                )  # fmt: skip
        axes.set_ylim(len(lines[name]) - 0.5, -0.5)
        axes.xaxis.set_major_locator(round_ticks(4))
        axes.set_title(name)
    return limit
