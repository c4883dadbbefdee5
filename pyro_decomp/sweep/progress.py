"""What a sweep says of itself while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_decomp.sweep.ensemble.members import Item
from pyro_decomp.sweep.grid import Grid


@dataclass(frozen=True)
class Plan:
    """What a sweep is about to do.

    Attributes:
        grid: All members.
        num_done: Members that are done already.
        num_to_measure: Members that are trained already and are to be measured.
        items: The work left.
        num_workers: The most processes that share it.
    """

    grid: Grid
    num_done: int
    num_to_measure: int
    items: Sequence[Item]
    num_workers: int


@dataclass(frozen=True)
class SweepProgress:
    """Where a sweep stands.

    Attributes:
        num_ended: Members that have ended, well or not, those of earlier runs of it among them.
        num_failed: How many of them did not finish.
        num_members: All members.
        fraction: Of the training of all members, the part that is done.
        seconds_left: At the rate since this call began; not a number while that is not known.
    """

    num_ended: int
    num_failed: int
    num_members: int
    fraction: float
    seconds_left: float


class SweepInterrupted(Exception):  # noqa: N818 - the user's wish, not an error
    """A sweep was stopped by Ctrl-C or SIGTERM; what was done is kept.

    Attributes:
        num_ended: Members that have ended.
        num_members: All members.
        out: The folder of the sweep.
    """

    def __init__(self, num_ended: int, num_members: int, out: Path) -> None:
        super().__init__(f"interrupted after {num_ended} of {num_members} members, in {out}")
        self.num_ended = num_ended
        self.num_members = num_members
        self.out = out
