"""Many small images in one: contact sheets, and the tiles of other pictures."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.labels import named, width_of
from pyro_decomp.plots.style import new_figure, styled, thin_ticks

Tiles = Float[np.ndarray, "rows columns h w c"]

#: Inches across one tile.
TILE = 0.45

#: The gap between tiles, as a share of their width.
GAP = 0.05

#: Pixels between images of data and reconstructions.
PAIR_GAP = 2


def channels_last(
    name: str, values: ArrayLike, leading: int
) -> Float[np.ndarray, "*leading h w c"]:
    """Images [..., h, w], [..., 1, h, w] or [..., 3, h, w] with their channels put last."""
    images = np.asarray(values, dtype=np.float64)
    if images.size and images.ndim == leading + 2:
        return images[..., None]
    if images.size and images.ndim == leading + 3 and images.shape[leading] in (1, 3):
        return np.moveaxis(images, leading, -1)
    raise ArgumentError(
        f"{name}: expected at least one image (h, w), (1, h, w) or (3, h, w) after {leading} "
        f"leading axes, got shape {images.shape}"
    )


def intensities(images: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Images scaled to [0, 1] unless they lie within already; NaN and infinity stay as they are."""
    shown = images[np.isfinite(images)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return images
    return (images - low) / ((high - low) or 1.0)


def gap(size: int) -> int:
    """The number of pixels between tiles of this width."""
    return max(1, round(GAP * size))


def mosaic(tiles: Tiles, above: int = 0) -> Float[np.ndarray, "height width c"]:
    """All tiles in one image; gaps, and ``above`` more pixels over every row, are white."""
    rows, columns, h, w, channels = tiles.shape
    between = gap(w)
    whole = np.ones((rows, above + h + between, columns, w + between, channels))
    whole[:, above : above + h, :, :w] = np.where(
        np.isfinite(tiles), np.clip(tiles, 0.0, 1.0), 1.0
    ).swapaxes(1, 2)
    flat = whole.reshape(rows * (above + h + between), columns * (w + between), channels)
    return flat[:-between, :-between]


def paired_mosaic(
    data: Float[np.ndarray, "n h w c"],
    reconstruction: Float[np.ndarray, "n h w c"],
    rows: int,
    columns: int,
) -> tuple[Float[np.ndarray, "height width c"], list[float]]:
    """Rows of data over rows of their reconstructions, with gaps of NaN, and each row's centre."""
    n, h, w, channels = data.shape
    pair = 2 * h + 3 * PAIR_GAP
    mosaic = np.full(
        (rows * pair - 2 * PAIR_GAP, columns * (w + PAIR_GAP) - PAIR_GAP, channels), np.nan
    )
    for i in range(n):
        row, column = divmod(i, columns)
        left = column * (w + PAIR_GAP)
        for top, image in ((row * pair, data[i]), (row * pair + h + PAIR_GAP, reconstruction[i])):
            mosaic[top : top + h, left : left + w] = image
    centres = [row * pair + (h - 1) / 2 + k * (h + PAIR_GAP) for row in range(rows) for k in (0, 1)]
    return mosaic, centres


def mosaic_size(rows: int, columns: int, h: int, w: int) -> tuple[float, float]:
    """Width and height in inches of a mosaic whose tiles are :data:`TILE` wide."""
    pixel = TILE / w
    return pixel * (columns * (w + gap(w)) - gap(w)), pixel * (rows * (h + gap(w)) - gap(w))


def draw_mosaic(
    axes: Axes, tiles: Tiles, rows: Sequence[str] = (), headings: Sequence[str] = ()
) -> AxesImage:
    """Draw tiles in [0, 1] with a label left of each row and a heading over each column.

    The labels may be fewer than the rows and columns: the rest have none.
    """
    image = show(axes, mosaic(tiles))
    h, w = tiles.shape[2:4]
    axes.set_yticks([(h - 1) / 2 + i * (h + gap(w)) for i in range(len(rows))], list(rows))
    axes.set_xticks([(w - 1) / 2 + i * (w + gap(w)) for i in range(len(headings))], list(headings))
    axes.tick_params(length=0, bottom=False, labelbottom=False, labeltop=True)
    return image


def show(axes: Axes, picture: Float[np.ndarray, "height width c"]) -> AxesImage:
    """Show an image in [0, 1] without a frame or ticks."""
    thin_ticks(axes)
    shown = picture if picture.shape[-1] == 3 else picture[..., 0]
    image = axes.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return image


@styled
def contact_sheet(
    rows: Sequence[ArrayLike], captions: Sequence[str], *, headings: Sequence[str] | None = None
) -> Figure:
    """Rows of images with a caption left of each: what a data set, or a renderer, looks like.

    Intensities are shown from 0 to 1 if all lie within, else from the least of all to the greatest.

    Args:
        rows: Of each row its images [n, h, w], [n, 1, h, w] or [n, 3, h, w]; n may differ between
            rows, the images' size may not.
        captions: A caption a row.
        headings: A heading over each column of the longest row.

    Returns:
        A figure with one mosaic of images.

    Raises:
        ArgumentError: If there is no row, a shape is none of the above or another row's, or the
            captions or headings are too few or too many.
    """
    arguments.annotated(contact_sheet, locals())
    images = [channels_last(f"rows[{i}]", row, 1) for i, row in enumerate(rows)]
    if not images:
        raise ArgumentError("rows: expected at least one row of images, got none")
    for i, row in enumerate(images):
        if row.shape[1:] != images[0].shape[1:]:
            raise ArgumentError(
                f"rows[{i}]: expected images (h, w, c) = {images[0].shape[1:]}, got {row.shape[1:]}"
            )
    labels = named("captions", captions, len(images))
    columns = max(len(row) for row in images)
    over = named("headings", headings, columns) if headings is not None else []
    tiles = np.full((len(images), columns, *images[0].shape[1:]), np.nan)
    for i, row in enumerate(images):
        tiles[i, : len(row)] = row
    width, height = mosaic_size(*tiles.shape[:4])
    figure = new_figure(width + width_of(labels) + 0.25, height + (0.35 if over else 0.15))
    draw_mosaic(figure.add_subplot(), intensities(tiles), labels, over)
    return figure
