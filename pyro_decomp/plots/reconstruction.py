"""Data beside their reconstructions."""

import numpy as np
from jaxtyping import Float
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.style import (
    DATA,
    QUIET,
    RECONSTRUCTION,
    evenly,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

#: The most that is drawn of each kind; more are thinned out evenly.
POINTS, VECTORS = 2000, 200
COLUMNS, ROWS = 16, 4
GAP = 2


@styled
def reconstructions(data: ArrayLike, reconstruction: ArrayLike) -> Figure:
    """Data and their reconstructions, drawn by what the data are.

    - Points [n, 2]: both in one plane, each pair joined by a line; at most 2000 pairs.
    - Images [n, h, w], [n, 1, h, w] or [n, 3, h, w]: a row of data over a row of their
      reconstructions, up to 16 columns and 4 such pairs of rows. Intensities are shown from 0 to 1
      if all the data lie within, else from their least to their greatest; reconstructions
      beyond are cut off.
    - Other vectors [n, d]: two heat maps with one colour scale; at most 200 rows.

    Where there are more data they are thinned out evenly, and the title says so.

    Args:
        data: The data.
        reconstruction: Their reconstructions in the same order and shape.

    Returns:
        A figure of points, vectors or images.

    Raises:
        ValueError: If the shapes differ or are none of the above, or the data are not all finite.
    """
    arguments.annotated(reconstructions, locals())
    first = np.asarray(data, dtype=np.float64)
    second = np.asarray(reconstruction, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"reconstruction: expected the data's shape {first.shape}, got {second.shape}"
        )
    if not np.isfinite(first).all():
        raise ValueError("data: expected finite numbers, got some that are not")
    match first.shape:
        case (0, *_):
            pass
        case (_, 2):
            return _points(first, second)
        case (_, d) if d > 0:
            return _vectors(first, second)
        case (_, h, w) if h * w > 0:
            return _images(first[..., None], second[..., None])
        case (_, 1 | 3, h, w) if h * w > 0:
            return _images(np.moveaxis(first, 1, -1), np.moveaxis(second, 1, -1))
    raise ValueError(
        "data: expected at least one vector (n, d) or image (n, h, w), (n, 1, h, w) or "
        f"(n, 3, h, w), got shape {first.shape}"
    )


def _points(data: Float[np.ndarray, "n 2"], reconstruction: Float[np.ndarray, "n 2"]) -> Figure:
    kept = evenly(len(data), POINTS)
    figure = new_figure(3.4, 3.4)
    axes = figure.add_subplot(aspect="equal")
    thin_ticks(axes)
    pairs = np.stack([data[kept], reconstruction[kept]], axis=1)
    axes.add_collection(LineCollection(list(pairs), colors=QUIET, linewidths=0.5, alpha=0.7))
    for i, (name, colour) in enumerate([("data", DATA), ("reconstruction", RECONSTRUCTION)]):
        axes.scatter(
            pairs[:, i, 0], pairs[:, i, 1], s=4, c=colour, linewidths=0, label=name, zorder=3
        )
    axes.xaxis.set_major_locator(round_ticks(5))
    axes.yaxis.set_major_locator(round_ticks(5))
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    axes.set_title(_title(len(kept), len(data), "points"))
    figure.legend(loc="outside lower center", ncols=2, markerscale=1.5)
    return figure


def _vectors(data: Float[np.ndarray, "n d"], reconstruction: Float[np.ndarray, "n d"]) -> Figure:
    kept = evenly(len(data), VECTORS)
    figure = new_figure(5.2, 3.0)
    axes = figure.subplots(1, 2, sharey=True)
    both = np.stack([data[kept], reconstruction[kept]])
    finite = both[np.isfinite(both)]
    for panel, values, name in zip(axes, both, ["data", "reconstruction"], strict=True):
        image = panel.imshow(values, aspect="auto", vmin=finite.min(), vmax=finite.max())
        thin_ticks(panel)
        panel.set_title(name)
        panel.set_xlabel("dimension")
        panel.xaxis.set_major_locator(round_ticks(6, integer=True))
        panel.yaxis.set_major_locator(round_ticks(6, integer=True))
    axes[0].set_ylabel(_title(len(kept), len(data), "vectors"))
    bar = figure.colorbar(image, ax=axes, label="value")
    bar.outline.set_linewidth(0.6)
    thin_ticks(bar.ax)
    return figure


def _images(
    data: Float[np.ndarray, "n h w c"], reconstruction: Float[np.ndarray, "n h w c"]
) -> Figure:
    kept = evenly(len(data), COLUMNS * ROWS)
    rows = -(-len(kept) // COLUMNS)
    columns = -(-len(kept) // rows)
    low, high = data.min(), data.max()
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    mosaic, centres = _mosaic(data[kept], reconstruction[kept], rows, columns)
    mosaic = np.clip((mosaic - low) / ((high - low) or 1.0), 0.0, 1.0)
    mosaic = np.where(np.isnan(mosaic), 1.0, mosaic)

    height, width = mosaic.shape[:2]
    across = max(0.45 * columns, 1.6)
    up = across * height / width
    left, top, margin = 0.85, 0.25, 0.05
    figure = new_figure(left + across + margin, margin + up + top)
    figure.set_layout_engine("none")
    figure_width, figure_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / figure_width, margin / figure_height, across / figure_width, up / figure_height)
    )
    thin_ticks(axes)
    axes.imshow(mosaic if mosaic.shape[-1] == 3 else mosaic[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks(centres, ["data", "reconstruction"] * rows)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    axes.set_title(_title(len(kept), len(data), "images"))
    return figure


def _mosaic(
    data: Float[np.ndarray, "n h w c"],
    reconstruction: Float[np.ndarray, "n h w c"],
    rows: int,
    columns: int,
) -> tuple[Float[np.ndarray, "height width c"], list[float]]:
    """All images in one, with gaps of NaN, and the vertical centre of each row."""
    n, h, w, channels = data.shape
    pair = 2 * h + 3 * GAP
    mosaic = np.full((rows * pair - 2 * GAP, columns * (w + GAP) - GAP, channels), np.nan)
    for i in range(n):
        row, column = divmod(i, columns)
        left = column * (w + GAP)
        for top, image in ((row * pair, data[i]), (row * pair + h + GAP, reconstruction[i])):
            mosaic[top : top + h, left : left + w] = image
    centres = [row * pair + (h - 1) / 2 + k * (h + GAP) for row in range(rows) for k in (0, 1)]
    return mosaic, centres


def _title(drawn: int, size: int, kind: str) -> str:
    return f"{drawn} of {size} {kind}" if drawn < size else f"{size} {kind}"
