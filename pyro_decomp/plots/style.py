"""The one look that all figures share; internal but for what examples draw with it."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from jaxtyping import Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

P = ParamSpec("P")

STYLE: dict[Any, Any] = {
    "axes.formatter.limits": (-4, 5),
    "axes.labelpad": 2.0,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.titlepad": 4.0,
    "axes.titlesize": 8,
    "figure.autolayout": False,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.use": False,
    "figure.constrained_layout.w_pad": 0.04,
    "figure.facecolor": "white",
    "font.size": 8,
    "image.cmap": "viridis",
    "legend.borderaxespad": 0.2,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "savefig.bbox": None,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
}

#: Figures are laid out at the resolution in which they are saved unless told otherwise: the
#: width of words depends on it.
DPI = 150

LONGEST_BESIDE = 32  # letters of a name in a legend beside axes
INCHES_A_LETTER, INCHES_A_LINE = 0.07, 0.15  # of a legend

DATA = "#0072B2"
RECONSTRUCTION = "#D55E00"
QUIET = "#7F7F7F"
INK = "#404040"

#: Ten colours that stay apart in the common colour-vision deficiencies (Petroff 2021,
#: https://arxiv.org/abs/2107.02270).
CATEGORIES = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadf",
)  # fmt: skip


def styled(make: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that makes a figure: in the style, and laid out once and for all.

    Laying out again would move things by fractions of a pixel: a figure saved twice would differ.
    """

    @wraps(make)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = make(*args, **kwargs)
            if engine := figure.get_layout_engine():
                before = _ticks(figure)
                engine.execute(figure)
                if _ticks(figure) != before:  # labels of other sizes need other room
                    engine.execute(figure)
            figure.set_layout_engine(None)  # with "none" all would be drawn once more to be saved
        return figure

    return in_style


def _ticks(figure: Figure) -> list[list[float]]:
    """Where the ticks are that the axes have at their present sizes."""
    both = (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))
    return [[float(place) for place in axis.get_majorticklocs()] for axis in both]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches, drawn by Agg and unknown to pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="compressed")
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Figure, handles: Sequence[Artist], *, title: str | None = None) -> None:
    """Add a legend beside the axes, or below them where the names are long; none of no names."""
    if not handles:  # Matplotlib passes over names that are empty or begin with "_"
        return
    longest = max(len(str(handle.get_label())) for handle in handles)
    is_beside = longest <= LONGEST_BESIDE
    if not is_beside:
        width, height = figure.get_size_inches()
        figure.set_size_inches(
            max(width, INCHES_A_LETTER * longest), height + INCHES_A_LINE * (len(handles) + 1)
        )
    figure.legend(
        handles=handles, loc="outside right upper" if is_beside else "outside lower center",
        title=title, title_fontsize=7, alignment="left",
    )  # fmt: skip


def thin_ticks(axes: Axes) -> None:
    """Make ticks and their labels small; here since ticks are made after the style has ended."""
    axes.tick_params(labelsize=7, length=2.5, width=0.6, pad=2)


def round_ticks(count: int, *, integer: bool = False) -> MaxNLocator:
    """Up to ``count`` intervals between ticks at round numbers."""
    return MaxNLocator(count, integer=integer, steps=[1, 2, 5, 10])


def evenly_spaced(size: int, maximum: int) -> Int[np.ndarray, " n"]:
    """At most ``maximum`` indices into ``size`` data, evenly spaced, in order and without repeats.

    >>> evenly_spaced(10, 4).tolist()
    [0, 2, 5, 7]
    >>> evenly_spaced(3, 4).tolist()
    [0, 1, 2]
    """
    kept = min(size, maximum)
    return np.arange(kept) * size // max(kept, 1)
