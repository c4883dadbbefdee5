"""What a person sees of a sweep: what will run, how far it is, and what became of it."""

import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pyro_decomp.cli.display import (
    BAR_NEEDS,
    BAR_WIDTH,
    LINE_FRACTION,
    LINE_INTERVAL,
    LIVE_INTERVAL,
    duration_text,
    fill_lines,
)

if TYPE_CHECKING:
    from pyro_decomp.sweep import Plan, SweepProgress


def plan_lines(plan: "Plan") -> list[str]:
    """What will run: a line for all, then one for each way in which members are trained."""
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
        key = (item.together, item.how, item.why)
        members[key] += len(item.members)
        items[key] += 1
    for key, count in members.items():
        together, how, why = key
        way = f"together in {_count(items[key], 'batch')}" if together else "one by one"
        lines.append(f"  {count} {way}{f', {how}' if together else ''}: {why}")
    return lines


def _count(number: int, word: str) -> str:
    """Write a number of things.

    >>> _count(1, "batch"), _count(2, "batch"), _count(3, "seed")
    ('1 batch', '2 batches', '3 seeds')
    """
    ending = "" if number == 1 else "es" if word.endswith(("s", "ch")) else "s"
    return f"{number} {word}{ending}"


def progress_pieces(progress: "SweepProgress") -> list[str]:
    """Write progress as pieces of text, none of which may be broken across lines."""
    failed = [f"{progress.num_failed} failed"] if progress.num_failed else []
    return [
        f"members {progress.num_ended}/{progress.num_members}",
        *failed,
        f"{math.floor(100 * progress.fraction)} % of the training",
        f"{duration_text(progress.seconds_left)} left",
    ]


class SweepReporter:
    """Draws progress in place on a terminal; elsewhere prints a line now and then.

    Args:
        console: Where to.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._due = -math.inf
        self._due_part = 0.0
        self._ended = False
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

    def __call__(self, progress: "SweepProgress") -> None:
        """Show the progress if it is due, or all members have ended."""
        now = self._clock()
        is_end = progress.num_ended == progress.num_members
        if self._ended or (not is_end and (now < self._due or progress.fraction < self._due_part)):
            return
        self._ended = is_end
        pieces = progress_pieces(progress)
        if self._live is not None:
            self._due = now + LIVE_INTERVAL
            self._live.update(self._drawing(progress, pieces), refresh=True)
        else:
            self._due = now + LINE_INTERVAL
            self._due_part = progress.fraction + LINE_FRACTION
            say(self._console, "  ".join(pieces))

    def _drawing(self, progress: "SweepProgress", pieces: list[str]) -> Table | Text:
        width = self._console.width
        room = width - (BAR_WIDTH + 2) * (width >= BAR_NEEDS)
        text = Text("\n".join(fill_lines(pieces, room)), no_wrap=True, overflow="ellipsis")
        if width < BAR_NEEDS:
            return text
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(1.0, progress.fraction, width=BAR_WIDTH), text)
        return grid


def say(console: Console, text: str) -> None:
    """Print words as they are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
