"""Times of things that take turns, so that other work on the machine meets all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Action = Callable[[], object]


def in_turns(
    actions: Mapping[str, Action],
    turns: int,
    *,
    calls: int = 1,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of a call of each action, A B C A B C ...

    Args:
        actions: What to time, by name.
        turns: How many numbers to give for each.
        calls: Of the action in one turn.
        warm_up: Turns before these, which are not counted.
        clock: ``time.process_time`` counts this process's work alone.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(warm_up + turns):
        for name, action in actions.items():
            start = clock()
            for _ in range(calls):
                action()
            seconds[name].append((clock() - start) / calls)
    return {name: found[warm_up:] for name, found in seconds.items()}


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: median(found) for name, found in seconds.items()}


@dataclass(frozen=True)
class Comparison:
    """One thing against another, timed in turns.

    Attributes:
        what: The work that both do.
        ours: How the first does it.
        other: How the second does it.
        seconds: Of the first, a number a turn.
        others: Of the second.
    """

    what: str
    ours: str
    other: str
    seconds: Sequence[float]
    others: Sequence[float]

    def ratios(self) -> list[float]:
        """The first over the second of each turn, from the least to the largest."""
        return sorted(a / b for a, b in zip(self.seconds, self.others, strict=True))

    def row(self) -> str:
        """A row of the table."""
        ratios = self.ratios()
        cells = [self.what, self.ours, _milliseconds(self.seconds)]
        cells += [self.other, _milliseconds(self.others)]
        cells += [f"{ratio:.3g}" for ratio in (median(ratios), ratios[0], ratios[-1])]
        return f"| {' | '.join(cells)} |"


HEADER = "| what | A | A, ms | B | B, ms | A/B | least | most |\n|---|---|---|---|---|---|---|---|"


def _milliseconds(seconds: Sequence[float]) -> str:
    value = 1e3 * median(seconds)
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
