"""What a decoder makes beside the data: reconstructions, and samples of the model."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.mosaic import (
    channels_last,
    draw_mosaic,
    intensities,
    mosaic_size,
    paired_mosaic,
)
from pyro_decomp.plots.style import (
    DATA,
    QUIET,
    RECONSTRUCTION,
    evenly_spaced,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

#: The most that is drawn of each kind; more are thinned out evenly.
POINTS, VECTORS, IMAGES = 2000, 200, 64

#: Pairs of images side by side, and rows of such pairs.
COLUMNS, ROWS = 16, 4

#: Inches about and between squares of images, and over them for their titles.
BORDER, TITLE = 0.1, 0.2

Array = Float[np.ndarray, "n *shape"]


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
        ArgumentError: If the shapes differ or are none of the above, or the data are not all
            finite.
    """
    arguments.annotated(reconstructions, locals())
    first = np.asarray(data, dtype=np.float64)
    second = np.asarray(reconstruction, dtype=np.float64)
    if first.shape != second.shape:
        raise ArgumentError(
            f"reconstruction: expected the data's shape {first.shape}, got {second.shape}"
        )
    if not np.isfinite(first).all():
        raise ArgumentError("data: expected finite numbers, got some that are not")
    match first.shape:
        case (0, *_):
            pass
        case (_, 2):
            return _joined_points(first, second)
        case (_, d) if d > 0:
            return _vector_pairs(first, second)
        case (_, h, w) if h * w > 0:
            return _image_pairs(first[..., None], second[..., None])
        case (_, 1 | 3, h, w) if h * w > 0:
            return _image_pairs(np.moveaxis(first, 1, -1), np.moveaxis(second, 1, -1))
    raise ArgumentError(
        "data: expected at least one vector (n, d) or image (n, h, w), (n, 1, h, w) or "
        f"(n, 3, h, w), got shape {first.shape}"
    )


def _joined_points(
    data: Float[np.ndarray, "n 2"], reconstruction: Float[np.ndarray, "n 2"]
) -> Figure:
    kept = evenly_spaced(len(data), POINTS)
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
    axes.set_title(_drawn_of(len(kept), len(data), "points"))
    figure.legend(loc="outside lower center", ncols=2, markerscale=1.5)
    return figure


def _vector_pairs(
    data: Float[np.ndarray, "n d"], reconstruction: Float[np.ndarray, "n d"]
) -> Figure:
    kept = evenly_spaced(len(data), VECTORS)
    figure = new_figure(5.2, 3.0)
    axes = list(figure.subplots(1, 2, sharey=True))
    both = np.stack([data[kept], reconstruction[kept]])
    finite = both[np.isfinite(both)]
    panels = dict(zip(["data", "reconstruction"], both, strict=True))
    _heat_maps(figure, axes, panels, (finite.min(), finite.max()))
    axes[0].set_ylabel(_drawn_of(len(kept), len(data), "vectors"))
    return figure


def _image_pairs(
    data: Float[np.ndarray, "n h w c"], reconstruction: Float[np.ndarray, "n h w c"]
) -> Figure:
    kept = evenly_spaced(len(data), COLUMNS * ROWS)
    rows = -(-len(kept) // COLUMNS)
    columns = -(-len(kept) // rows)
    low, high = data.min(), data.max()
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    mosaic, centres = paired_mosaic(data[kept], reconstruction[kept], rows, columns)
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
    axes.set_title(_drawn_of(len(kept), len(data), "images"))
    return figure


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
        ArgumentError: If a shape is none of the above, the two differ in more than their number, or
            a number is not finite.
    """
    arguments.annotated(prior_samples, locals())
    panels = {"prior samples": _checked("samples", samples)}
    if data is not None:
        panels["data"] = _checked("data", data)
        if panels["data"].shape[1:] != panels["prior samples"].shape[1:]:
            raise ArgumentError(
                f"data: expected the samples' shape {panels['prior samples'].shape[1:]} after the "
                f"first axis, got {panels['data'].shape[1:]}"
            )
    if panels["prior samples"].ndim > 2:
        return _images(panels)
    return _points(panels) if panels["prior samples"].shape[1] == 2 else _vectors(panels)


def _checked(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (2, 3, 4) or not array.size:
        raise ArgumentError(
            f"{name}: expected at least one vector (n, d) or image (n, h, w), (n, 1, h, w) or "
            f"(n, 3, h, w), got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name}: expected finite numbers, got some that are not")
    return channels_last(name, array, 1) if array.ndim > 2 else array


def _title(name: str, drawn: int, size: int) -> str:
    return f"{name}: {drawn} of {size}" if drawn < size else f"{size} {name}"


def _drawn_of(drawn: int, size: int, kind: str) -> str:
    return f"{drawn} of {size} {kind}" if drawn < size else f"{size} {kind}"


def _points(panels: dict[str, Array]) -> Figure:
    figure = new_figure(2.7 * len(panels) + 0.3, 3.0)
    every = np.concatenate(list(panels.values()))
    centre, half = (every.max(0) + every.min(0)) / 2, 0.52 * np.ptp(every, axis=0).max() or 1.0
    for i, (name, values) in enumerate(panels.items()):
        kept = evenly_spaced(len(values), POINTS)
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
    kept = evenly_spaced(len(images), IMAGES)
    columns = min(columns, len(kept))
    rows = -(-len(kept) // columns)
    tiles = np.full((rows * columns, *images.shape[1:]), np.nan)
    tiles[: len(kept)] = images[kept]
    return tiles.reshape(rows, columns, *images.shape[1:])


def _vectors(panels: dict[str, Array]) -> Figure:
    figure = new_figure(2.4 * len(panels) + 0.6, 3.0)
    every = np.concatenate(list(panels.values()))
    axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    shown = {
        _title(name, min(len(values), VECTORS), len(values)): values[
            evenly_spaced(len(values), VECTORS)
        ]
        for name, values in panels.items()
    }
    _heat_maps(figure, axes, shown, (every.min(), every.max()))
    return figure


def _heat_maps(
    figure: Figure,
    axes: Sequence[Axes],
    panels: Mapping[str, Float[np.ndarray, "n d"]],
    ends: tuple[float, float],
) -> None:
    """Draw vectors as rows of colours, a panel for each title, in one scale with its bar."""
    for panel, (title, values) in zip(axes, panels.items(), strict=True):
        image = panel.imshow(values, aspect="auto", vmin=ends[0], vmax=ends[1])
        thin_ticks(panel)
        panel.set_title(title)
        panel.set_xlabel("dimension")
        panel.xaxis.set_major_locator(round_ticks(6, integer=True))
        panel.yaxis.set_major_locator(round_ticks(6, integer=True))
    bar = figure.colorbar(image, ax=axes, label="value")
    bar.outline.set_linewidth(0.6)
    thin_ticks(bar.ax)
