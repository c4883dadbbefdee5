"""How far a sweep is, as it is shown."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from pyro_decomp.sweep.supervisor import SweepProgress
from pyro_decomp.training.display import Shower, Shown, display_for, duration_text

if TYPE_CHECKING:
    from rich.console import Console


def of_sweep(progress: SweepProgress) -> Shown:
    """The members that have ended, the part of the training and the time left of a sweep."""
    pieces = [
        f"members {progress.num_ended}/{progress.num_members}",
        *([f"{progress.num_failed} failed"] if progress.num_failed else []),
        f"{math.floor(100 * progress.fraction)} % of the training",
        f"{duration_text(progress.seconds_left)} left",
    ]
    return Shown(pieces, progress.fraction, 1.0)


class SweepReporter:
    """Shows how far a sweep is: in place on a terminal, elsewhere in a line now and then.

    Args:
        console: Where to; by default a notebook's cell, or the standard error stream.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self, console: "Console | None" = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        is_quiet = console is not None and console.quiet
        self._shower = Shower(None if is_quiet else display_for(console), clock)

    def say(self, sentence: str) -> None:
        """Write a line that stays."""
        self._shower.say(sentence)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._shower.close()

    def __call__(self, progress: SweepProgress) -> None:
        """Show the progress if it is due, or the last."""
        is_last = progress.num_ended == progress.num_members
        if is_last or self._shower.is_due(progress.fraction):
            self._shower.show(of_sweep(progress), is_last=is_last)
