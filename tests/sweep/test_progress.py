"""How far a sweep is, as it is shown."""

import io
import math

import pytest
from rich.console import Console

from pyro_decomp.sweep import SweepProgress
from pyro_decomp.sweep.progress import SweepReporter, of_sweep


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
    with SweepReporter(console, lambda: now[0]) as report:
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
