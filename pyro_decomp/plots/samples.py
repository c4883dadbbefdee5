"""Samples of the model beside the data."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.mosaic import channels_last, draw_mosaic, intensities, mosaic_size
from pyro_decomp.plots.style import (
    DATA,
    RECONSTRUCTION,
    evenly,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

#: The most that is drawn of each kind; more are thinned out evenly.
POINTS, VECTORS, IMAGES = 2000, 200, 64

#: Inches about and between squares of images, and over them for their titles.
BORDER, TITLE = 0.1, 0.2

Array = Float[np.ndarray, "n *shape"]


@styled
def prior_samples(samples: ArrayLike, data: ArrayLike | None = None) -> Figure:
    """What is decoded from codes that the prior draws, and data beside it on the same scale.

    - Points [n, 2]: a scatter plot each, with common axes; at most 2000.
    - Images [n, h, w], [n, 1, h, w] or [n, 3, h, w]: a square of up to 64 each. Intensities are
      shown from 0 to 1 if all lie within, else from the least of the data to their greatest (of the
      samples where there are no data); samples beyond are cut off.
    - Other vectors [n, d]: a heat map each, with one colour scale; at most 200 rows.

    Where there are more they are thinned out evenly, and the title says so.

    Args:
        samples: Samples of the model.
        data: Data of the same shape, in any number.

    Returns:
        A figure with a panel of samples and, if data are given, one of data.

    Raises:
        ValueError: If a shape is none of the above, the two differ in more than their number, or
            a number is not finite.
    """
    arguments.annotated(prior_samples, locals())
    panels = {"prior samples": _checked("samples", samples)}
    if data is not None:
        panels["data"] = _checked("data", data)
        if panels["data"].shape[1:] != panels["prior samples"].shape[1:]:
            raise ValueError(
                f"data: expected the samples' shape {panels['prior samples'].shape[1:]} after the "
                f"first axis, got {panels['data'].shape[1:]}"
            )
    if panels["prior samples"].ndim > 2:
        return _images(panels)
    return _points(panels) if panels["prior samples"].shape[1] == 2 else _vectors(panels)


def _checked(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (2, 3, 4) or not array.size:
        raise ValueError(
            f"{name}: expected at least one vector (n, d) or image (n, h, w), (n, 1, h, w) or "
            f"(n, 3, h, w), got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got some that are not")
    return channels_last(name, array, 1) if array.ndim > 2 else array


def _title(name: str, drawn: int, size: int) -> str:
    return f"{name}: {drawn} of {size}" if drawn < size else f"{size} {name}"


def _points(panels: dict[str, Array]) -> Figure:
    figure = new_figure(2.7 * len(panels) + 0.3, 3.0)
    every = np.concatenate(list(panels.values()))
    centre, half = (every.max(0) + every.min(0)) / 2, 0.52 * np.ptp(every, axis=0).max() or 1.0
    for i, (name, values) in enumerate(panels.items()):
        kept = evenly(len(values), POINTS)
        axes = figure.add_subplot(1, len(panels), i + 1, aspect="equal")
        thin_ticks(axes)
        colour = RECONSTRUCTION if i == 0 else DATA
        x, y = values[kept].T
        axes.scatter(x, y, s=3, c=colour, alpha=0.6, linewidths=0)
        axes.set_xlim(centre[0] - half, centre[0] + half)
        axes.set_ylim(centre[1] - half, centre[1] + half)
        axes.xaxis.set_major_locator(round_ticks(5))
        axes.yaxis.set_major_locator(round_ticks(5))
        axes.set_xlabel("$x_1$")
        axes.set_ylabel("" if i else "$x_2$")
        axes.tick_params(labelleft=not i)
        axes.set_title(_title(name, len(kept), len(values)))
    return figure


def _images(panels: dict[str, Array]) -> Figure:
    scale = panels.get("data", panels["prior samples"])
    joined = np.concatenate([scale.ravel(), [0.0, 1.0]])
    within = np.array_equal(intensities(joined), joined)
    low, high = (0.0, 1.0) if within else (scale.min(), scale.max())
    columns = int(np.ceil(np.sqrt(min(max(map(len, panels.values())), IMAGES))))
    grids = {k: _grid((a - low) / ((high - low) or 1.0), columns) for k, a in panels.items()}
    sizes = [mosaic_size(*grid.shape[:4]) for grid in grids.values()]
    widths = [max(width, 1.3) for width, _ in sizes]
    high = max(height for _, height in sizes)
    figure = new_figure(sum(widths) + BORDER * (len(widths) + 1), high + BORDER + TITLE)
    figure.set_layout_engine("none")
    whole_width, whole_height = figure.get_size_inches()
    left = BORDER
    for (name, grid), (width, height), room in zip(grids.items(), sizes, widths, strict=True):
        low = BORDER + high - height
        axes = figure.add_axes(
            (
                (left + (room - width) / 2) / whole_width,
                low / whole_height,
                width / whole_width,
                height / whole_height,
            )
        )
        draw_mosaic(axes, grid)
        size = len(panels[name])
        axes.set_title(_title(name, min(size, IMAGES), size))
        left += room + BORDER
    return figure


def _grid(
    images: Float[np.ndarray, "n h w c"], columns: int
) -> Float[np.ndarray, "rows columns h w c"]:
    """Up to 64 images as tiles, in rows from the top left."""
    kept = evenly(len(images), IMAGES)
    columns = min(columns, len(kept))
    rows = -(-len(kept) // columns)
    tiles = np.full((rows * columns, *images.shape[1:]), np.nan)
    tiles[: len(kept)] = images[kept]
    return tiles.reshape(rows, columns, *images.shape[1:])


def _vectors(panels: dict[str, Array]) -> Figure:
    figure = new_figure(2.4 * len(panels) + 0.6, 3.0)
    every = np.concatenate(list(panels.values()))
    drawn: list[Axes] = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for axes, (name, values) in zip(drawn, panels.items(), strict=True):
        kept = evenly(len(values), VECTORS)
        image = axes.imshow(values[kept], aspect="auto", vmin=every.min(), vmax=every.max())
        thin_ticks(axes)
        axes.set_title(_title(name, len(kept), len(values)))
        axes.set_xlabel("dimension")
        axes.xaxis.set_major_locator(round_ticks(6, integer=True))
        axes.yaxis.set_major_locator(round_ticks(6, integer=True))
    bar = figure.colorbar(image, ax=drawn, label="value")
    bar.outline.set_linewidth(0.6)
    thin_ticks(bar.ax)
    return figure
