"""The job states of a sweep: what is left to do, tried again, counted and recorded."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp.sweep.ensemble.members import Member, WorkItem
from pyro_decomp.sweep.jobs import Advance, Job
from pyro_decomp.sweep.journal import Journal, Record, journal, read_journal
from pyro_decomp.sweep.supervisor import Supervisor, SweepProgress, jobs_left

A, B, C = (Member(name, {}, 0) for name in "abc")


def record(name: str, status: str = "finished", **others: Any) -> Record:
    return Record(name, status, "", 3, 0.1, "single", **others)


def job(*members: Member, **others: Any) -> Job:
    return Job(WorkItem(members, len(members) > 1, ""), **others)


class Sheet:
    """A supervisor of a, b and c with all that he writes and reports."""

    def __init__(self, path: Path, lines: Journal) -> None:
        self.path, self.lines = path, lines
        self.queue: deque[Job] = deque()
        self.reports: list[SweepProgress] = []

    def open(
        self, *jobs: Job, before: dict[str, Record] | None = None, metrics: Sequence[str] = ()
    ) -> Supervisor:
        self.queue.extend(jobs)
        supervisor = Supervisor(
            self.queue,
            [A, B, C],
            before or {},
            metrics=metrics,
            journal=self.lines,
            report=self.reports.append,
        )
        self.queue.clear()
        return supervisor

    @property
    def written(self) -> dict[str, Record]:
        return read_journal(self.path)


@pytest.fixture
def sheet(tmp_path: Path) -> Iterator[Sheet]:
    with journal(tmp_path / "members.jsonl") as lines:
        yield Sheet(tmp_path / "members.jsonl", lines)


def test_what_is_left_to_do() -> None:
    records = {
        "a": record("a", asked=("mig",)),
        "b": record("b", "failed"),
        "c": record("c", "not finite"),
    }
    members = [A, B, C, Member("d", {}, 0)]
    new, measure = jobs_left(members, records, ["mig"])
    assert [member.name for member in new] == ["b", "d"]
    assert measure == []
    _, (again,) = jobs_left(members, records, ["mig", "elbo"])
    assert again.item.members == (A,)
    assert again.trained == records["a"]


def test_records_are_written_as_they_come_and_progress_is_counted(sheet: Sheet) -> None:
    whole = job(B, C)
    supervisor = sheet.open(whole, before={"a": record("a")})
    supervisor.told(whole, Advance(1, 4))
    last = sheet.reports[-1]
    assert (last.num_ended, last.num_members) == (1, 3)
    assert last.fraction == pytest.approx((1 + 2 / 4) / 3)
    assert last.seconds_left > 0
    supervisor.told(whole, record("b"))
    assert sheet.written.keys() == {"b"}
    supervisor.told(whole, record("c", "not finite"))
    supervisor.ended(whole, None, died=False)
    last = sheet.reports[-1]
    assert (last.num_ended, last.num_failed, last.fraction) == (3, 1, 1.0)
    assert last.seconds_left == 0.0


def test_a_rate_is_not_known_before_anything_is_gained(sheet: Sheet) -> None:
    one = job(A)
    sheet.open(one).told(one, Advance(0, 4))
    assert math.isnan(sheet.reports[-1].seconds_left)


def test_members_of_a_batch_that_raised_are_tried_alone_once(sheet: Sheet) -> None:
    batch = job(A, B, C)
    supervisor = sheet.open(batch)
    supervisor.told(batch, record("a"))
    supervisor.ended(batch, "no way", died=False)
    assert [one.item.members for one in sheet.queue] == [(B,), (C,)]
    assert all(one.is_second_try and not one.item.is_batched for one in sheet.queue)
    assert sheet.queue[0].item.why == "tried again alone: no way"
    supervisor.ended(sheet.queue[0], "no way at all", died=True)
    assert len(sheet.queue) == 2
    b = sheet.written["b"]
    assert (b.status, b.message) == ("failed", "no way at all")


def test_a_member_alone_is_tried_again_if_its_process_died_only(sheet: Sheet) -> None:
    first, second = job(A), job(B)
    supervisor = sheet.open(first, second)
    supervisor.ended(first, "no way", died=False)
    supervisor.ended(second, "killed", died=True)
    assert [one.item.members for one in sheet.queue] == [(B,)]
    assert sheet.written.keys() == {"a"}


def test_a_member_of_whom_nothing_was_told_is_not_lost(sheet: Sheet) -> None:
    one = job(A, is_second_try=True)
    sheet.open(one).ended(one, None, died=False)
    assert sheet.written["a"].status == "failed"


def test_a_trained_member_that_cannot_be_measured_stays_trained(sheet: Sheet) -> None:
    trained = record("a", asked=("elbo",), terms={"elbo": -1.0})
    one = job(A, trained=trained, is_second_try=True)
    before = {"a": trained}
    sheet.open(one, before=before, metrics=["mig"]).ended(one, "killed", died=True)
    left = sheet.written["a"]
    assert (left.status, left.message, left.terms) == (
        "finished", "not measured: killed", {"elbo": -1.0}
    )  # fmt: skip
    assert jobs_left([A], {"a": left}, ["mig"])[1]


def test_what_was_trained_is_not_trained_again_when_measuring_fails(sheet: Sheet) -> None:
    batch = job(A, B, C)
    supervisor = sheet.open(batch, metrics=["mig"])
    supervisor.told(batch, record("a"))
    supervisor.told(batch, record("b"))
    supervisor.told(batch, record("a", asked=("mig",)))
    last = sheet.reports[-1]
    assert (last.num_ended, last.fraction) == (1, pytest.approx(1.0))  # c still counts as running
    supervisor.ended(batch, "killed", died=True)
    b, c = sheet.queue
    assert (b.item.members, b.trained) == ((B,), record("b"))
    assert (c.item.members, c.trained) == ((C,), None)
    assert b.is_second_try
    assert c.is_second_try


def test_a_warning_is_given_once(sheet: Sheet) -> None:
    supervisor = sheet.open()
    with pytest.warns(UserWarning, match="take care"):
        supervisor.warned("take care")
    supervisor.warned("take care")  # a warning is an error in tests
