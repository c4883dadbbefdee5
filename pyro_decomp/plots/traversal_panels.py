"""A traversal, checked and put in order, and its panels where data are no images. Internal."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.labels import falling, labelled, named, nats, rounded, width_of
from pyro_decomp.plots.mosaic import channels_last, intensities
from pyro_decomp.plots.style import QUIET, RECONSTRUCTION, new_figure, round_ticks, thin_ticks

Values = Float[np.ndarray, "components latents columns"]


@dataclass(frozen=True)
class Arranged:
    """A traversal in the order in which it is drawn; internal.

    Attributes:
        decoded: Images in [0, 1], channels last [components, latents, columns, h, w, c], or vectors
            [components, latents, columns, d].
        values: The value that the latent takes [components, latents, columns].
        labels: Of each latent its name, and information where known.
        headings: Over each column; empty if the rows' values differ.
        components: Their names; one empty one if there are none.
        size: Of how many latents these are.
    """

    decoded: Float[np.ndarray, "components latents columns *shape"]
    values: Values
    labels: list[str]
    headings: list[str]
    components: list[str]
    size: int

    @property
    def of_images(self) -> bool:
        """Whether what was decoded are images."""
        return self.decoded.ndim > 4

    @property
    def title(self) -> str:
        """How many latents are drawn, in words; empty where all are."""
        drawn = len(self.labels)
        return f"{drawn} of {self.size} latents" if drawn < self.size else ""

    def row_labels(self, component: int) -> list[str]:
        """Labels of the rows of one component, with each row's range where no heading has it."""
        if self.headings:
            return self.labels
        ends = [rounded(row[[0, -1]]) for row in self.values[component]]
        return [f"{label}\n{a} to {b}" for label, (a, b) in zip(self.labels, ends, strict=True)]


def arrange(
    decoded: ArrayLike,
    values: ArrayLike,
    *,
    names: Sequence[str] | None,
    information: ArrayLike | None,
    components: Sequence[str] | None,
    headings: Sequence[str] | None,
    most: int | None,
) -> Arranged:
    """Check what :func:`traversals` was given, and put the most informative latents first."""
    outputs = np.asarray(decoded, dtype=np.float64)
    if components is None:
        outputs = outputs[None]
    if outputs.ndim not in (4, 5, 6) or not outputs.size:
        lead = "(latents, columns" if components is None else "(components, latents, columns"
        got = outputs.shape[components is None :]
        raise ArgumentError(
            f"decoded: expected shape {lead}, d), {lead}, h, w) or {lead}, c, h, w), got {got}"
        )
    if np.isinf(outputs).any():
        raise ArgumentError("decoded: expected finite numbers, got some that are not")
    if outputs.ndim > 4:
        outputs = intensities(channels_last("decoded", outputs, 3))
    count, latents, columns = outputs.shape[:3]

    taken = np.asarray(values, dtype=np.float64)
    full = (count, latents, columns)
    if taken.ndim not in (1, 2, 3) or taken.shape != full[3 - taken.ndim :]:
        raise ArgumentError(
            f"values: expected shape {full[2:]}, {full[1:]} or {full}, got {taken.shape}"
        )
    if not np.isfinite(taken).all():
        raise ArgumentError("values: expected finite numbers, got some that are not")
    over = rounded(taken) if taken.ndim == 1 else []
    amounts = nats(information, latents)
    order = falling(amounts, latents, most)
    return Arranged(
        decoded=outputs[:, order],
        values=np.broadcast_to(taken, full)[:, order],
        labels=labelled(named("names", names, latents), amounts, order),
        headings=over if headings is None else named("headings", headings, columns),
        components=[""] if components is None else named("components", components, count),
        size=latents,
    )


#: Panels side by side.
COLUMNS = 5

#: Vectors up to this long are drawn with a mark at each entry.
FEW = 12

#: Inches: a panel, the space left of all, below a block and right of all, between two, for a line
#: of a title.
PANEL, LEFT, BOTTOM, RIGHT, BETWEEN, LINE = (1.2, 0.95), 0.62, 0.42, 0.75, 0.1, 0.13


@dataclass(frozen=True)
class Panels:
    """A figure of panels, with the line and the curves of each; internal."""

    figure: Figure
    lines: list[Line2D]
    curves: Float[np.ndarray, "panels columns points 2"]


def draw_panels(traversal: Arranged, *, moving: bool = False) -> Panels:
    """Draw a panel for each latent of each component; the components begin on a row each.

    Args:
        traversal: Of vectors.
        moving: All is drawn pale, under one line in each panel that runs through the values.
    """
    latents, _, d = traversal.decoded.shape[1:]
    titles = [
        [f"{name}\n{label}" if name else label for label in traversal.row_labels(i)]
        for i, name in enumerate(traversal.components)
    ]
    top = 0.2 if moving or traversal.title else 0.03
    figure, axes = _grid(titles, latents, top, square=d == 2)
    curves = _curves(traversal.decoded)
    panels = curves.reshape(-1, *curves.shape[2:])
    lowest, highest = np.nanmin(panels, axis=(0, 1, 2)), np.nanmax(panels, axis=(0, 1, 2))
    middle = (lowest + highest) / 2
    half = 0.55 * np.where(highest > lowest, highest - lowest, 1.0)
    if d == 2:
        half[:] = half.max()
    lines = []
    for panel, shown in zip(axes, panels, strict=True):
        lines.append(_draw(panel, shown, d, moving=moving))
        panel.set_xlim(middle[0] - half[0], middle[0] + half[0])
        panel.set_ylim(middle[1] - half[1], middle[1] + half[1])
    for panel in axes:
        panel.set_xlabel(("$x_1$" if d == 2 else "dimension") if panel.get_xlabel() else "")
        panel.set_ylabel(("$x_2$" if d == 2 else "value") if panel.get_ylabel() else "")
    if traversal.title:
        figure.suptitle(traversal.title, fontsize=8)
    if not moving:
        _colour_bar(figure, traversal)
    return Panels(figure, lines, panels)


def _grid(
    titles: Sequence[Sequence[str]], latents: int, top: float, *, square: bool
) -> tuple[Figure, list[Axes]]:
    """A figure with empty panels under their titles; the outer ones have a mark for a label.

    Placed by inches, since laying out fifty panels by their words takes half a minute.
    """
    columns = min(COLUMNS, latents)
    rows = -(-latents // columns)
    words = [title for block in titles for title in block]
    wide = max(PANEL[0], width_of(words))
    high = wide if square else PANEL[1]
    over = LINE * max(1 + title.count("\n") for title in words) + 0.08
    block = rows * (high + over) + BOTTOM
    width = LEFT + columns * (wide + BETWEEN) + RIGHT
    height = len(titles) * block + top
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = []
    for i, of_component in enumerate(titles):
        for j, title in enumerate(of_component):
            row, column = divmod(j, columns)
            left = LEFT + column * (wide + BETWEEN)
            low = height - top - i * block - (row + 1) * (high + over)
            panel = figure.add_axes((left / width, low / height, wide / width, high / height))
            thin_ticks(panel)
            panel.set_title(title)
            below = j + columns >= latents
            panel.tick_params(labelbottom=below, labelleft=not column)
            panel.set_xlabel("x" if below else "")
            panel.set_ylabel("" if column else "y")
            axes.append(panel)
    return figure, axes


def _curves(
    decoded: Float[np.ndarray, "components latents columns d"],
) -> Float[np.ndarray, "components latents columns points 2"]:
    """The curve that each value is drawn as: a point in the plane, or entries over dimensions."""
    if decoded.shape[-1] == 2:
        return decoded[..., None, :]
    dimension = np.arange(1.0, decoded.shape[-1] + 1)
    return np.stack(np.broadcast_arrays(dimension, decoded), axis=-1)


def _draw(
    axes: Axes, curves: Float[np.ndarray, "columns points 2"], d: int, *, moving: bool
) -> Line2D:
    """Draw all curves of one panel, and return the line that moves, which is empty at first."""
    colours = _gradient(len(curves))
    axes.xaxis.set_major_locator(round_ticks(4, integer=d != 2))
    axes.yaxis.set_major_locator(round_ticks(4))
    if d == 2:
        path = curves[:, 0]
        axes.plot(path[:, 0], path[:, 1], color=QUIET, linewidth=0.6, zorder=1)
        shades = [QUIET] * len(path) if moving else list(colours)
        axes.scatter(path[:, 0], path[:, 1], s=9, c=shades, linewidths=0, zorder=2)
    else:
        shades = [QUIET] * len(curves) if moving else list(colours)
        width, alpha = (0.4, 0.5) if moving else (0.9, 1.0)
        axes.add_collection(
            LineCollection(list(curves), colors=shades, linewidths=width, alpha=alpha)
        )
        if d <= FEW and not moving:
            axes.scatter(
                curves[..., 0], curves[..., 1], s=5, c=np.repeat(colours, d, 0), linewidths=0
            )
    marker = "o" if d <= FEW else ""
    (line,) = axes.plot([], [], color=RECONSTRUCTION, marker=marker, markersize=4, linewidth=1.4)
    return line


def _gradient(size: int) -> Float[np.ndarray, "n 4"]:
    """Colours from the first value to the last, all dark enough on white."""
    return np.asarray(mpl.colormaps["viridis"](np.linspace(0.0, 0.88, size)), dtype=np.float64)


def _colour_bar(figure: Figure, traversal: Arranged) -> None:
    """Draw a bar that tells which colour is which value."""
    columns = traversal.values.shape[-1]
    scale = ScalarMappable(cmap=ListedColormap(_gradient(columns)))
    scale.set_clim(-0.5, columns - 0.5)
    width, height = figure.get_size_inches()
    long = min(height - 0.75, 2.5)
    beside = figure.add_axes(
        ((width - RIGHT + 0.1) / width, 1 - (0.3 + long) / height, 0.09 / width, long / height)
    )
    bar = figure.colorbar(scale, cax=beside, label="value of the latent")
    thin_ticks(beside)
    bar.outline.set_linewidth(0.6)
    every = max(1, -(-len(traversal.headings) // 10))
    if traversal.headings:
        bar.set_ticks(list(range(0, columns, every)), labels=traversal.headings[::every])
    else:
        bar.set_ticks([0, columns - 1], labels=["first", "last"])
