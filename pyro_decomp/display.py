"""What a person sees of a run: its progress, and tables of its numbers."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pyro_decomp.training import Progress

LIVE_INTERVAL = 0.125  # seconds between drawings on a terminal
LINE_INTERVAL = 10.0  # seconds between lines elsewhere
LINE_FRACTION = 0.1  # of the run between lines elsewhere
BAR_WIDTH = 24
BAR_NEEDS = 80  # a terminal narrower than this has no room for a bar


def number_text(value: Any) -> str:
    """Write a number with four significant digits, and what is left of the point up to a million.

    >>> number_text(-0.12), number_text(12345.678), number_text(400), number_text(None)
    ('-0.1200', '12346', '400', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool | int | str):
        return str(value)
    if 1e3 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.4g}"


def duration_text(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds; ``-:--:--`` where it is not known yet."""
    return str(timedelta(seconds=round(seconds))) if math.isfinite(seconds) else "-:--:--"


def progress_pieces(progress: "Progress") -> list[str]:
    """Write progress as pieces of text, none of which may be broken across lines."""
    rate = progress.steps_per_second
    return [
        f"step {progress.step}/{progress.total_steps}",
        *(f"{name} {number_text(value)}" for name, value in progress.values.items()),
        f"{rate:.0f} steps/s" if rate >= 10 else f"{rate:.2f} steps/s",
        f"{duration_text(progress.seconds_left)} left",
    ]


def fill_lines(pieces: list[str], width: int) -> list[str]:
    """Set pieces of text side by side, two spaces apart, on as few lines as their width allows."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 2 + len(piece) <= width:
            lines[-1] += f"  {piece}"
        else:
            lines.append(piece)
    return lines


class LiveReporter:
    """Draws progress in place on a terminal, at most every ``LIVE_INTERVAL`` seconds.

    Args:
        console: Where to.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._due = -math.inf
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, progress: "Progress") -> None:
        """Draw the progress if the last drawing is old enough, or the run is at its end."""
        now = self._clock()
        if now < self._due and progress.step < progress.total_steps:
            return
        self._due = now + LIVE_INTERVAL
        self._live.update(self._drawing(progress), refresh=True)

    def _drawing(self, progress: "Progress") -> Table | Text:
        width = self._console.width
        has_bar = width >= BAR_NEEDS
        room = width - (BAR_WIDTH + 2) * has_bar
        lines = "\n".join(fill_lines(progress_pieces(progress), room))
        text = Text(lines, no_wrap=True, overflow="ellipsis")
        if not has_bar:
            return text
        grid = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(progress.total_steps, progress.step, width=BAR_WIDTH)
        grid.add_row(bar, text)
        return grid


class LineReporter:
    """Prints progress as lines, for a file or a pipe.

    The first step, the last, and between them one where both ``LINE_INTERVAL`` seconds and
    ``LINE_FRACTION`` of the run have passed since the line before.

    Args:
        console: Where to.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._due = -math.inf
        self._due_step = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, progress: "Progress") -> None:
        """Print the progress if a line is due."""
        is_last = progress.step >= progress.total_steps
        if progress.step < self._due_step and not is_last:
            return
        now = self._clock()
        if now < self._due and not is_last:
            return
        self._due = now + LINE_INTERVAL
        self._due_step = progress.step + LINE_FRACTION * progress.total_steps
        line = "  ".join(progress_pieces(progress))
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def progress_reporter(console: Console) -> LiveReporter | LineReporter:
    """Choose how to report progress: drawn in place on a terminal, as lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveReporter(console)
    return LineReporter(console)


def terms_table(title: str, terms: Mapping[str, Any]) -> Table:
    """Set out named numbers, in nats per datum, a row each."""
    return _table(title, {"nats per datum": terms})


def metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Set out metrics, a row each, with a column for each set of data that they were taken on."""
    return _table("", metrics)


def _table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Set out columns of named numbers; where it is narrow, names are broken before numbers."""
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False
    )
    table.add_column("", overflow="fold")
    for heading in columns:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        table.add_row(Text(name), *(number_text(column.get(name)) for column in columns.values()))
    return table
