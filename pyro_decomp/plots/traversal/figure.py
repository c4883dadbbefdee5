"""Latent traversals as one picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.latents import width_of
from pyro_decomp.plots.mosaic import draw_mosaic, mosaic_size
from pyro_decomp.plots.style import new_figure, styled
from pyro_decomp.plots.traversal.arranged import Arranged, arrange
from pyro_decomp.plots.traversal.panels import draw_panels

#: More rows than these continue in a block beside the first.
ROWS = 25

#: Blocks stand side by side up to this many inches.
WIDTH = 11.0


@styled
def traversals(
    decoded: ArrayLike,
    values: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    information: ArrayLike | None = None,
    components: Sequence[str] | None = None,
    headings: Sequence[str] | None = None,
    most: int | None = None,
) -> Figure:
    """What is decoded as one latent at a time runs through its values.

    Images stand in a row a latent, a column a value; more than 25 rows continue beside. Of vectors
    each latent has a panel with a line a value, of points [d = 2] a panel with a path; there the
    colour runs from the first value to the last. With ``components`` each has a block of its own,
    all in one order: the components of a mixture prior, or the active dimensions of a sparse one
    (Mathieu et al. 2019, figure 5, https://arxiv.org/abs/1812.02833: then the rows are data).

    Args:
        decoded: Means of the likelihood: images [latents, columns, h, w] or
            [latents, columns, c, h, w] with c = 1 or 3, shown from 0 to 1 if all lie within, else
            from the least of all to the greatest; or vectors [latents, columns, d]. With
            ``components`` one more axis comes first.
        values: What the latent is set to: for all rows [columns], written over the columns; or for
            each [latents, columns] or [components, latents, columns], such as the quantiles of its
            own q(z); then the first and last stand beside the row.
        names: Of the rows; z_1, z_2, ... if not given.
        information: Nats that each latent has about the data [latents], written beside its name;
            the rows then stand from the most informative down.
        components: Of each block its name.
        headings: Over the columns instead of ``values``, such as "5 %".
        most: Draw so many rows only, from the top; the title says of how many.

    Raises:
        ValueError: If a shape is none of the above, a value or amount is not finite, names are too
            few or too many, or ``most`` is below one.
    """
    arguments.annotated(traversals, locals())
    traversal = arrange(
        decoded,
        values,
        names=names,
        information=information,
        components=components,
        headings=headings,
        most=most,
    )
    return _mosaics(traversal) if traversal.of_images else draw_panels(traversal).figure


def _mosaics(traversal: Arranged) -> Figure:
    latents, columns, h, w = traversal.decoded.shape[1:5]
    folds = -(-latents // ROWS)
    rows = -(-latents // folds)
    missing = np.full((folds * rows - latents, *traversal.decoded.shape[2:]), np.nan)
    labels = [traversal.row_labels(i) for i in range(len(traversal.components))]
    block_width, block_height = mosaic_size(rows, columns, h, w)
    block_width += max(width_of(rows_of) for rows_of in labels) + 0.2
    block_height += 0.15 + 0.15 * bool(traversal.headings) + 0.2 * any(traversal.components)
    blocks = folds * len(traversal.components)
    across = min(max(int(WIDTH / block_width), folds), blocks)
    down = -(-blocks // across)
    figure = new_figure(
        across * block_width, down * block_height + (0.25 if traversal.title else 0.0)
    )
    if traversal.title:
        figure.suptitle(traversal.title, fontsize=8)
    for i, (name, of_rows) in enumerate(zip(traversal.components, labels, strict=True)):
        tiles = np.concatenate([traversal.decoded[i], missing])
        for fold in range(folds):
            axes = figure.add_subplot(down, across, i * folds + fold + 1)
            kept = slice(fold * rows, (fold + 1) * rows)
            draw_mosaic(axes, tiles[kept], of_rows[kept], traversal.headings)
            if name:
                axes.set_title(name, loc="left", fontweight="bold")
    return figure
