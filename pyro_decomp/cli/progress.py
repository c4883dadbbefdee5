"""What is shown of training and of sweeps while they run: what is planned, how far they are."""

import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pyro_decomp.cli.failures import say
from pyro_decomp.cli.tables import number_text

if TYPE_CHECKING:
    from pyro_decomp.sweep import Plan, SweepProgress
    from pyro_decomp.training.loop import Progress

P = TypeVar("P")

LIVE_INTERVAL = 0.125  # seconds between drawings on a terminal
LINE_INTERVAL = 10.0  # seconds between lines elsewhere
LINE_FRACTION = 0.1  # of the whole between lines elsewhere
BAR_WIDTH = 24
BAR_NEEDS = 80  # a terminal narrower than this has no room for a bar


class Shown(NamedTuple):
    """What is shown of some progress.

    Attributes:
        pieces: Pieces of text, none of which may be broken across lines.
        done: How much is done.
        total: Of how much.
        is_end: Whether this is the last that is shown.
    """

    pieces: list[str]
    done: float
    total: float
    is_end: bool


def of_training(progress: "Progress") -> Shown:
    """The step, the terms, the rate and the time left of a run that trains."""
    rate = progress.steps_per_second
    pieces = [
        f"step {progress.step}/{progress.total_steps}",
        *(f"{name} {number_text(value)}" for name, value in progress.values.items()),
        f"{rate:.0f} steps/s" if rate >= 10 else f"{rate:.2f} steps/s",
        f"{duration_text(progress.seconds_left)} left",
    ]
    is_end = progress.step >= progress.total_steps
    return Shown(pieces, progress.step, progress.total_steps, is_end)


def of_sweep(progress: "SweepProgress") -> Shown:
    """The members that have ended, the part of the training and the time left of a sweep."""
    pieces = [
        f"members {progress.num_ended}/{progress.num_members}",
        *([f"{progress.num_failed} failed"] if progress.num_failed else []),
        f"{math.floor(100 * progress.fraction)} % of the training",
        f"{duration_text(progress.seconds_left)} left",
    ]
    return Shown(pieces, progress.fraction, 1.0, progress.num_ended == progress.num_members)


class ProgressReporter(Generic[P]):
    """Draws progress in place on a terminal; elsewhere prints a line now and then.

    A drawing is made at most every ``LIVE_INTERVAL`` seconds. Lines are the first progress, the
    last, and between them one where both ``LINE_INTERVAL`` seconds and ``LINE_FRACTION`` of the
    whole have passed since the line before.

    Args:
        console: Where to.
        show: What is shown of some progress: :func:`of_training` or :func:`of_sweep`.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        console: Console,
        show: Callable[[P], Shown],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._show = show
        self._clock = clock
        self._due = self._due_done = -math.inf
        self._has_ended = False
        is_live = console.is_terminal and not console.is_dumb_terminal
        live = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())
        self._live = live if is_live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: P) -> None:
        """Show the progress if it is due, or the last."""
        now, shown = self._clock(), self._show(progress)
        is_due = now >= self._due and shown.done >= self._due_done
        if self._has_ended or not (is_due or shown.is_end):
            return
        self._has_ended = shown.is_end
        if self._live is not None:
            self._due = now + LIVE_INTERVAL
            self._live.update(self._drawing(shown), refresh=True)
        else:
            self._due = now + LINE_INTERVAL
            self._due_done = shown.done + LINE_FRACTION * shown.total
            say(self._console, "  ".join(shown.pieces))

    def _drawing(self, shown: Shown) -> Table | Text:
        width = self._console.width
        has_bar = width >= BAR_NEEDS
        lines = fill_lines(shown.pieces, width - (BAR_WIDTH + 2) * has_bar)
        text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        if not has_bar:
            return text
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(shown.total, shown.done, width=BAR_WIDTH), text)
        return grid


def duration_text(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds; ``-:--:--`` where it is not known yet."""
    return str(timedelta(seconds=round(seconds))) if math.isfinite(seconds) else "-:--:--"


def fill_lines(pieces: list[str], width: int) -> list[str]:
    """Set pieces of text side by side, two spaces apart, on as few lines as their width allows."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 2 + len(piece) <= width:
            lines[-1] += f"  {piece}"
        else:
            lines.append(piece)
    return lines


def plan_lines(plan: "Plan") -> list[str]:
    """The plan of a sweep: a line for all members, then one for each way in which they train."""
    grid = plan.grid
    total = grid.num_combinations * len(grid.seeds)
    lines = [
        f"{_count(total, 'member')}: {_count(grid.num_combinations, 'combination')} of arguments, "
        f"{_count(len(grid.seeds), 'seed')} each; {_count(plan.num_workers, 'worker process')} "
        "at most"
    ]
    if plan.num_done:
        lines.append(f"  {plan.num_done} done before")
    if plan.num_to_measure:
        lines.append(f"  {plan.num_to_measure} trained before, to be measured")
    members: Counter[tuple[bool, str, str]] = Counter()
    items: Counter[tuple[bool, str, str]] = Counter()
    for item in plan.items:
        key = (item.is_batched, item.backend, item.why)
        members[key] += len(item.members)
        items[key] += 1
    for key, count in members.items():
        is_batched, backend, why = key
        way = f"together in {_count(items[key], 'batch')}" if is_batched else "one by one"
        lines.append(f"  {count} {way}{f', {backend}' if is_batched else ''}: {why}")
    return lines


def _count(number: int, word: str) -> str:
    """Write a number of things.

    >>> _count(1, "batch"), _count(2, "batch"), _count(3, "seed")
    ('1 batch', '2 batches', '3 seeds')
    """
    ending = "" if number == 1 else "es" if word.endswith(("s", "ch")) else "s"
    return f"{number} {word}{ending}"
