"""What is shown of runs and of sweeps while they go on."""

import io
import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pyro_decomp.cli.progress import (
    ProgressReporter,
    duration_text,
    fill_lines,
    of_sweep,
    of_training,
    plan_lines,
)
from pyro_decomp.sweep import Plan, SweepProgress
from pyro_decomp.sweep.ensemble.members import Member, WorkItem
from pyro_decomp.sweep.grid import Grid

GRID = Grid({"beta": (1.0, 2.0), "alpha": (0.0, 1.0)}, (0, 1, 2), ("alpha", "beta"))
TERMS = {"objective": -0.12341, "elbo": -1234.56, "mutual_information": 3.0, "kl": 1.5e-5}
A, B, C = (Member(name, {}, 0) for name in "abc")


def test_a_plan_is_a_line_for_each_way_and_reason() -> None:
    items = [
        WorkItem((A, B), is_batched=True, why="one program", backend="compiled"),
        WorkItem((C,), is_batched=True, why="one program", backend="compiled"),
        WorkItem((A,), is_batched=False, why="its loss branches"),
        WorkItem((B,), is_batched=False, why="its loss branches"),
        WorkItem((C,), is_batched=False, why="as was asked for"),
    ]
    assert plan_lines(Plan(GRID, 5, 1, items, 2)) == [
        "12 members: 4 combinations of arguments, 3 seeds each; 2 worker processes at most",
        "  5 done before",
        "  1 trained before, to be measured",
        "  3 together in 2 batches, compiled: one program",
        "  2 one by one: its loss branches",
        "  1 one by one: as was asked for",
    ]


def test_progress_in_words() -> None:
    assert of_sweep(SweepProgress(3, 0, 12, 0.256, 61.0)).pieces == [
        "members 3/12", "25 % of the training", "0:01:01 left",
    ]  # fmt: skip
    assert of_sweep(SweepProgress(3, 2, 12, 0.5, math.nan)).pieces[1:] == [
        "2 failed", "50 % of the training", "-:--:-- left",
    ]  # fmt: skip


def shown(reports: list[tuple[float, int, float]], *, terminal: bool, width: int = 100) -> str:
    """What is written of reports at some times, of so many of 4 members and such a fraction."""
    now = [0.0]
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width)
    with ProgressReporter(console, of_sweep, lambda: now[0]) as report:
        for time, ended, fraction in reports:
            now[0] = time
            report(SweepProgress(ended, 0, 4, fraction, 1.0))
    return file.getvalue()


REPORTS = [(0.0, 0, 0.0), (1.0, 1, 0.25), (10.0, 1, 0.3), (11.0, 2, 0.35), (12.0, 4, 1.0)]


def test_elsewhere_than_on_a_terminal_a_line_now_and_then_and_one_at_the_end() -> None:
    lines = shown([*REPORTS, (13.0, 4, 1.0)], terminal=False).splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "0 % of the training", "30 % of the training", "100 % of the training",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "has_bar"), [(100, True), (60, False)])
def test_a_terminal_has_a_bar_where_there_is_room(width: int, has_bar: bool) -> None:
    text = shown(REPORTS, terminal=True, width=width)
    assert "members 4/4" in text
    assert ("\N{BOX DRAWINGS HEAVY HORIZONTAL}" in text) == has_bar


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(step: int, total_steps: int = 1000, seconds_left: float = 61.2) -> Any:
    return SimpleNamespace(
        step=step,
        total_steps=total_steps,
        epoch=1,
        values=TERMS,
        steps_per_second=312.4,
        seconds_left=seconds_left,
    )


def terminal(width: int = 120) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.6, "0:00:01"), (3725, "1:02:05"), (math.inf, "-:--:--"), (math.nan, "-:--:--")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_pieces_fill_lines_whole() -> None:
    assert fill_lines(["a 1", "b 2", "c 3"], 8) == ["a 1  b 2", "c 3"]
    assert fill_lines(["a 1", "b 2", "c 3"], 13) == ["a 1  b 2  c 3"]
    assert fill_lines(["a 1", "b 2"], 1) == ["a 1", "b 2"]


def lines_at(seconds_per_step: float, total_steps: int = 1000) -> list[int]:
    console, clock = Console(file=io.StringIO(), width=20), Clock()
    with ProgressReporter(console, of_training, clock) as report:
        for step in range(1, total_steps + 1):
            clock.now += seconds_per_step
            report(progress(step, total_steps))
    printed = console.file.getvalue().splitlines()
    return [int(re.match(r"step (\d+)/", line)[1]) for line in printed]


def test_lines_of_a_quick_run_are_its_first_and_last() -> None:
    assert lines_at(0.001) == [1, 1000]


def test_lines_of_a_slow_run_are_a_tenth_of_it_apart() -> None:
    assert lines_at(1.0) == [*range(1, 1000, 100), 1000]


def test_lines_of_a_middling_run_are_ten_seconds_apart() -> None:
    assert lines_at(0.0625) == [*range(1, 1000, 160), 1000]


def test_a_line_says_all() -> None:
    console = Console(file=io.StringIO(), width=20)
    with ProgressReporter(console, of_training) as report:
        report(progress(1))
    assert console.file.getvalue() == (
        "step 1/1000  objective -0.1234  elbo -1235  mutual_information 3.000  kl 1.500e-05  "
        "312 steps/s  0:01:01 left\n"
    )


def test_a_terminal_is_drawn_on_no_more_often_than_eyes_follow() -> None:
    console, clock = terminal(), Clock()
    with ProgressReporter(console, of_training, clock) as report:
        for step in range(1, 1001):
            clock.now += 0.001
            report(progress(step))
    steps = re.findall(r"step (\d+)/1000", console.file.getvalue())
    assert steps[0] == "1"
    assert steps[-1] == "1000"
    assert 8 <= len(set(steps)) <= 11


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
def test_a_narrow_terminal_breaks_no_number(width: int) -> None:
    console = terminal(width)
    with ProgressReporter(console, of_training) as report:
        report(progress(250))
    drawn = console.file.getvalue()
    for piece in of_training(progress(250)).pieces:
        assert piece in drawn
    assert max(len(line) for line in drawn.splitlines()) <= width + len("\x1b[?25l\x1b[2K" * 4)
