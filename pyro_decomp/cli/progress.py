"""What is shown of sweeps: what is planned, and how far they are."""

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from rich.console import Console

from pyro_decomp.training.display import Shower, Shown, display_for, duration_text

if TYPE_CHECKING:
    from pyro_decomp.sweep import Plan, SweepProgress


def of_sweep(progress: "SweepProgress") -> Shown:
    """The members that have ended, the part of the training and the time left of a sweep."""
    pieces = [
        f"members {progress.num_ended}/{progress.num_members}",
        *([f"{progress.num_failed} failed"] if progress.num_failed else []),
        f"{math.floor(100 * progress.fraction)} % of the training",
        f"{duration_text(progress.seconds_left)} left",
    ]
    return Shown(pieces, progress.fraction, 1.0)


class SweepReporter:
    """Shows how far a sweep is: in place on a terminal, elsewhere in a line now and then."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._shower = Shower(None if console.quiet else display_for(console), clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._shower.close()

    def __call__(self, progress: "SweepProgress") -> None:
        """Show the progress if it is due, or the last."""
        is_last = progress.num_ended == progress.num_members
        if is_last or self._shower.is_due(progress.fraction):
            self._shower.show(of_sweep(progress), is_last=is_last)


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
