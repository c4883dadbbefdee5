"""What is shown of a run while it trains."""

import io
import math
import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pyro_decomp.training.display import (
    Lines,
    NotebookBar,
    Shower,
    Shown,
    display_for,
    duration_text,
    fill_lines,
)
from pyro_decomp.training.progress import Progress, shown

TERMS = {"objective": -0.12341, "elbo": -1234.56, "mutual_information": 3.0, "kl": 1.5e-5}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def training(step: int, total_steps: int = 1000, **other: Any) -> Any:
    known = {
        "step": step,
        "total_steps": total_steps,
        "steps_per_epoch": 1,
        "epoch": step,
        "values": TERMS,
        "epoch_means": {},
        "evaluation": {},
        "steps_per_second": 312.4,
        "seconds_left": 61.2,
    }
    return SimpleNamespace(**known | other)


def told(
    console: Console, steps: Iterable[int], seconds_per_step: float = 0.001, total_steps: int = 1000
) -> str:
    """What is written of some steps, the last of which ends the run."""
    progress, clock = Progress(console=console), Clock()
    progress.started(training(0, total_steps))
    progress._shower = Shower(display_for(console), clock)
    for step in steps:
        clock.now += seconds_per_step
        progress.step(training(step, total_steps))
    progress.ended(training(step, total_steps))
    return console.file.getvalue()


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


def lines_at(seconds_per_step: float) -> list[int]:
    console = Console(file=io.StringIO(), width=20)
    printed = told(console, range(1, 1001), seconds_per_step).splitlines()
    return [int(re.match(r"step (\d+)/", line)[1]) for line in printed]


def test_lines_of_a_quick_run_are_its_first_and_last() -> None:
    assert lines_at(0.001) == [1, 1000]


def test_lines_of_a_slow_run_are_a_tenth_of_it_apart() -> None:
    assert lines_at(1.0) == [*range(1, 1000, 100), 1000]


def test_lines_of_a_middling_run_are_ten_seconds_apart() -> None:
    assert lines_at(0.0625) == [*range(1, 1000, 160), 1000]


def test_a_line_says_all() -> None:
    assert told(Console(file=io.StringIO(), width=20), [1]) == (
        "step 1/1000  objective -0.1234  elbo -1235  mutual_information 3.000  kl 1.500e-05  "
        "312 steps/s  0:01:01 left\n"
    )


def test_means_over_an_epoch_take_the_place_of_a_step_and_held_out_terms_stand_beside() -> None:
    within = {"steps_per_epoch": 4, "epoch_means": {"elbo": -3.0}, "evaluation": {"test_elbo": -4}}
    assert shown(training(250, epoch=63, **within)).pieces[:-2] == [
        "step 250/1000", "epoch 63", "elbo -3.000", "test_elbo -4",
    ]  # fmt: skip


def test_the_step_at_which_a_run_stops_is_shown_once() -> None:
    lines = told(Console(file=io.StringIO(), width=20), [1, 2, 700]).splitlines()
    assert [line.split("/")[0] for line in lines] == ["step 1", "step 700"]
    assert len(told(Console(file=io.StringIO(), width=20), [1]).splitlines()) == 1


def test_a_terminal_is_drawn_on_no_more_often_than_eyes_follow() -> None:
    steps = re.findall(r"step (\d+)/1000", told(terminal(), range(1, 1001)))
    assert steps[0] == "1"
    assert steps[-1] == "1000"
    assert 8 <= len(set(steps)) <= 11


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
def test_a_narrow_terminal_breaks_no_number(width: int) -> None:
    drawn = told(terminal(width), [250])
    for piece in shown(training(250)).pieces:
        assert piece in drawn
    assert max(len(line) for line in drawn.splitlines()) <= width + len("\x1b[?25l\x1b[2K" * 4)


@pytest.mark.parametrize(("width", "has_bar"), [(100, True), (60, False)])
def test_a_terminal_has_a_bar_where_there_is_room(width: int, has_bar: bool) -> None:
    drawn = told(terminal(width), [250])
    assert ("\N{BOX DRAWINGS HEAVY HORIZONTAL}" in drawn) == has_bar


class Full(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def write(self, text: str) -> int:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left"), ValueError()])
def test_what_cannot_be_shown_ends_the_showing_alone(
    error: Exception, *, is_terminal: bool
) -> None:
    stream = Full(error)
    told(Console(file=stream, force_terminal=is_terminal, width=80), range(1, 1001), 20.0)
    assert stream.calls <= 4


def test_letters_that_a_stream_has_not_are_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", write_through=True)
    Lines(stream).show(Shown(["\N{GREEK SMALL LETTER ALPHA} 1"], 1, 2))
    assert raw.getvalue() == b"? 1\n"


def test_in_a_notebook_one_output_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    drawn: list[Any] = []
    handle = SimpleNamespace(update=drawn.append)

    def display(drawing: Any, *, display_id: bool) -> Any:
        assert display_id
        assert not drawn
        drawn.append(drawing)
        return handle

    monkeypatch.setattr(IPython.display, "display", display)
    bar = NotebookBar()
    for step in (1, 2):
        bar.show(shown(training(step, values={"<b>": 1.0})))
    assert [repr(each).split("  ")[0] for each in drawn] == ["step 1/1000", "step 2/1000"]
    assert "&lt;b&gt; 1.000" in drawn[1]._repr_html_()
    assert '<progress value="2" max="1000">' in drawn[1]._repr_html_()


def test_nothing_is_written_to_a_stream_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    Lines().say("a line")
    assert capsys.readouterr().out == ""
