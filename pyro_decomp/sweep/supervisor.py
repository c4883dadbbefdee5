"""Tracks what became of each member of a sweep, has some tried again, and reports progress."""

import math
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyro_decomp.descriptions import constructor_call
from pyro_decomp.sweep.ensemble.members import Member, WorkItem
from pyro_decomp.sweep.grid import Grid
from pyro_decomp.sweep.jobs import Advance, Job
from pyro_decomp.sweep.journal import Journal, Record
from pyro_decomp.training.interruption import Stopped


@dataclass(frozen=True, repr=False)
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
    items: Sequence[WorkItem]
    num_workers: int

    __repr__ = constructor_call


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


class SweepInterrupted(Stopped):
    """A sweep was stopped by Ctrl-C, SIGTERM or SIGHUP; what was done is kept.

    Attributes:
        signal: The number of the signal.
        num_ended: Members that have ended.
        num_members: All members.
        out: The folder of the sweep.
    """

    def __init__(
        self, num_ended: int, num_members: int, out: Path, number: int = signal.SIGINT
    ) -> None:
        super().__init__(
            f"interrupted after {num_ended} of {num_members} members, in {out}", number
        )
        self.num_ended = num_ended
        self.num_members = num_members
        self.out = out


LEAST_GAIN = 0.005  # of the whole, from which the time that is left is told
FAILED = "failed"
FINISHED = "finished"


def is_done(record: Record | None, metrics: Iterable[str]) -> bool:
    """Whether nothing is left to do for a member; one that was not finite would not do better."""
    if record is None or record.status == FAILED:
        return False
    return record.status != FINISHED or set(metrics) <= set(record.asked)


def jobs_left(
    members: Iterable[Member], records: Mapping[str, Record], metrics: Iterable[str]
) -> tuple[list[Member], list[Job]]:
    """Members that are to be trained, and jobs that only measure one that is trained.

    A member that failed is to be trained again; one whose loss was not finite would only do the
    same.
    """
    new: list[Member] = []
    measure: list[Job] = []
    for member in members:
        record = records.get(member.name)
        if record is None or record.status == FAILED:
            new.append(member)
        elif not is_done(record, metrics):
            measure.append(_measuring(member, record))
    return new, measure


def _measuring(member: Member, record: Record, *, is_second_try: bool = False) -> Job:
    item = WorkItem((member,), is_batched=False, why="trained before, to be measured")
    return Job(item, record, is_second_try)


class Supervisor:
    """Tracks the states of jobs: writes the journal, reports progress, has members tried again.

    The members of a job that raised or took its process with it are tried once more, each by
    itself; what fails by itself is recorded as failed, except that a process that died alone is
    also tried once more, since it may have been killed for the memory of its neighbours. What is
    trained is not trained again.
    """

    def __init__(
        self,
        queue: deque[Job],
        members: Sequence[Member],
        records: Mapping[str, Record],
        *,
        metrics: Sequence[str],
        journal: Journal,
        report: Callable[[SweepProgress], None] | None = None,
    ) -> None:
        names = {member.name for member in members}
        self._queue = queue
        self._metrics = metrics
        self._journal = journal
        self._report = report
        self._num_members = len(members)
        self._records = {n: r for n, r in records.items() if n in names and r.status != FAILED}
        self._ended = {n for n, record in self._records.items() if is_done(record, metrics)}
        self._running: dict[int, float] = {}
        self._warned: set[str] = set()
        self._began = time.monotonic()
        self._fraction_before = self._fraction()

    @property
    def num_ended(self) -> int:
        """How many members have ended, well or not."""
        return len(self._ended)

    def told(self, job: Job, message: Advance | Record) -> None:
        """Take note of how far a job is, or of what became of a member."""
        if isinstance(message, Record):
            self._note(message)
            trained = sum(member.name in self._records for member in job.item.members)
            self._running[id(job)] = float(len(job.item.members) - trained)
        else:
            self._running[id(job)] = message.fraction * len(job.item.members)
        self._tell()

    def warned(self, sentence: str) -> None:
        """Warn of what a job warned of, once for each sentence."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            warnings.warn(sentence, stacklevel=2)

    def ended(self, job: Job, failure: str | None, *, died: bool) -> None:
        """Take note of the end of a job, and have its members tried again if there is a chance."""
        self._running.pop(id(job), None)
        left = [member for member in job.item.members if member.name not in self._ended]
        if failure is None and left:
            failure = "it came to no end, and no error was told"
        for member in left:
            record = self._records.get(member.name)
            if not job.is_second_try and (died or len(job.item.members) > 1):
                self._queue.append(_second_try(member, record, str(failure)))
            elif record is None:
                self._note(Record(member.name, FAILED, str(failure), 0, None, "single"))
            else:
                self._note(replace(record, message=f"not measured: {failure}"))
        self._tell()

    def _note(self, record: Record) -> None:
        self._journal.append(record)
        self._records[record.member] = record
        if record.message or is_done(record, self._metrics):
            self._ended.add(record.member)

    def _fraction(self) -> float:
        return (len(self._records) + sum(self._running.values())) / self._num_members

    def _tell(self) -> None:
        if self._report is None:
            return
        fraction = self._fraction()
        gained = fraction - self._fraction_before
        seconds = time.monotonic() - self._began
        left = seconds * (1 - fraction) / gained if gained >= LEAST_GAIN else math.nan
        num_failed = sum(self._records[name].status != FINISHED for name in self._ended)
        self._report(SweepProgress(self.num_ended, num_failed, self._num_members, fraction, left))


def _second_try(member: Member, record: Record | None, failure: str) -> Job:
    if record is not None:
        return _measuring(member, record, is_second_try=True)
    why = f"tried again alone: {failure}"
    return Job(WorkItem((member,), is_batched=False, why=why), is_second_try=True)
