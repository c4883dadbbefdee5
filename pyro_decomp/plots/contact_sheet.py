"""Rows of images, each with a caption."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.latents import named, width_of
from pyro_decomp.plots.mosaic import channels_last, draw_mosaic, intensities, mosaic_size
from pyro_decomp.plots.style import new_figure, styled


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

    Raises:
        ValueError: If there is no row, a shape is none of the above or another row's, or the
            captions or headings are too few or too many.
    """
    arguments.annotated(contact_sheet, locals())
    images = [channels_last(f"rows[{i}]", row, 1) for i, row in enumerate(rows)]
    if not images:
        raise ValueError("rows: expected at least one row of images, got none")
    for i, row in enumerate(images):
        if row.shape[1:] != images[0].shape[1:]:
            raise ValueError(
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
