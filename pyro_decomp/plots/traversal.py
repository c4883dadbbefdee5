"""What a decoder makes of codes in which one latent at a time takes other values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.labels import width_of
from pyro_decomp.plots.mosaic import draw_mosaic, gap, mosaic, mosaic_size, show
from pyro_decomp.plots.style import STYLE, new_figure, styled
from pyro_decomp.plots.traversal_panels import Arranged, arrange, draw_panels

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

    Returns:
        A figure with a row of images, or a panel, for each latent.

    Raises:
        ArgumentError: If a shape is none of the above, a value or amount is not finite, names are
            too few or too many, or ``most`` is below one.
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


Frames = UInt8[np.ndarray, "frames height width 3"]

#: Pixels per inch: a frame is looked at on a screen, and kept many times.
DPI = 110

#: Tiles side by side, inches across one at least, for a line of its label, and about all.
COLUMNS, TILE, LINE, MARGIN = 10, 0.6, 0.1, 0.05


def traversal_frames(
    decoded: ArrayLike,
    values: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    information: ArrayLike | None = None,
    components: Sequence[str] | None = None,
    headings: Sequence[str] | None = None,
    most: int | None = None,
) -> Frames:
    """The pictures of :func:`traversals` in time: every latent at once, a frame for each value.

    Args:
        decoded: As in :func:`traversals`.
        values: As in :func:`traversals`.
        names: As in :func:`traversals`.
        information: As in :func:`traversals`.
        components: As in :func:`traversals`; each begins on a row of its own.
        headings: As in :func:`traversals`; the frame's stands above it.
        most: As in :func:`traversals`.

    Returns:
        Frames in the order of the values, to be written with :func:`save_animation`.

    Raises:
        ArgumentError: As in :func:`traversals`.
    """
    arguments.annotated(traversal_frames, locals())
    traversal = arrange(
        decoded,
        values,
        names=names,
        information=information,
        components=components,
        headings=headings,
        most=most,
    )
    moving = _tiles(traversal) if traversal.of_images else _panels(traversal)
    canvas = moving.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    with mpl.rc_context(STYLE):
        for artist in moving.artists:
            artist.set_animated(True)
        canvas.draw()
        still = canvas.copy_from_bbox(moving.figure.bbox)
        frames = []
        for column in range(traversal.values.shape[-1]):
            moving.to(column)
            canvas.restore_region(still)
            for artist in moving.artists:
                moving.figure.draw_artist(artist)
            frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return np.stack(frames)


@dataclass(frozen=True)
class _Moving:
    """A figure, the artists in it that each frame draws anew, and what sets them to a column."""

    figure: Figure
    artists: list[Artist]
    to: Callable[[int], None]


def _with_heading(
    traversal: Arranged, figure: Figure, artists: list[Artist], to: Callable[[int], None]
) -> _Moving:
    """Write the column's heading above the rest, where there is one."""
    text = figure.text(0.05 / figure.get_figwidth(), 0.995, "", fontsize=8, va="top")

    def with_text(column: int) -> None:
        to(column)
        text.set_text(f"value {traversal.headings[column]}" if traversal.headings else "")

    return _Moving(figure, [*artists, text], with_text)


def _tiles(traversal: Arranged) -> _Moving:
    """A moving figure with a tile for each latent under its label."""
    count, latents, _, h, w, channels = traversal.decoded.shape
    columns = min(COLUMNS, latents)
    rows = -(-latents // columns)
    labels = [
        [
            f"{name}\n{label}" if name else label
            for label in (words.replace("  ", "\n") for words in traversal.row_labels(i))
        ]
        for i, name in enumerate(traversal.components)
    ]
    lines = max(1 + label.count("\n") for block in labels for label in block)
    inches = max(TILE, 0.9 * width_of([label for block in labels for label in block]))
    above = round((LINE * lines + 0.04) * w / inches)

    def picture(column: int) -> Float[np.ndarray, "height width c"]:
        tiles = np.full((count, rows * columns, h, w, channels), np.nan)
        tiles[:, :latents] = traversal.decoded[:, :, column]
        return mosaic(tiles.reshape(count * rows, columns, h, w, channels), above)

    start = picture(0)
    width, height = (inches / w * side for side in start.shape[1::-1])
    figure = new_figure(max(width + 2 * MARGIN, 1.2), height + 0.2 + MARGIN)
    figure.set_dpi(DPI)
    figure.set_layout_engine("none")
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((MARGIN / wide, MARGIN / high, width / wide, height / high))
    image = show(axes, start)
    step = h + above + gap(w)
    texts = [
        axes.text(
            j % columns * (w + gap(w)),
            (i * rows + j // columns) * step + above - 0.02 * w / inches,
            label,
            fontsize=6.5,
            va="bottom",
            linespacing=1.0,
        )
        for i, block in enumerate(labels)
        for j, label in enumerate(block)
    ]

    def to(column: int) -> None:
        shown = picture(column)
        image.set_data(shown if channels == 3 else shown[..., 0])

    return _with_heading(traversal, figure, [image, *texts], to)


def _panels(traversal: Arranged) -> _Moving:
    """A moving figure with a panel for each latent, in which a line moves."""
    with mpl.rc_context(STYLE):
        panels = draw_panels(traversal, moving=True)
    panels.figure.set_dpi(DPI)

    def to(column: int) -> None:
        for line, curves in zip(panels.lines, panels.curves, strict=True):
            line.set_data(*curves[column].T)

    return _with_heading(traversal, panels.figure, [*panels.lines], to)
