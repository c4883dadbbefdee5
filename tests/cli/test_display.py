import io
import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pyro_decomp.cli.display import (
    LineReporter,
    LiveReporter,
    duration_text,
    fill_lines,
    left_out_lines,
    metrics_table,
    number_text,
    progress_pieces,
    progress_reporter,
    scores_table,
)

TERMS = {"objective": -0.12341, "elbo": -1234.56, "mutual_information": 3.0, "kl": 1.5e-5}


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


def shown(renderable: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.12341, "-0.1234"),
        (0.5, "0.5000"),
        (0.0, "0.000"),
        (12.345678, "12.35"),
        (999.99, "1000."),
        (-1234.56, "-1235"),
        (123456.7, "123457"),
        (1.5e-5, "1.500e-05"),
        (2.5e9, "2.500e+09"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (400, "400"),
        (None, "-"),
    ],
)
def test_numbers(value: Any, text: str) -> None:
    assert number_text(value) == text


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


def test_a_pipe_gets_lines_and_a_terminal_a_drawing() -> None:
    assert isinstance(progress_reporter(Console(file=io.StringIO())), LineReporter)
    assert isinstance(progress_reporter(terminal()), LiveReporter)


def lines_at(seconds_per_step: float, total_steps: int = 1000) -> list[int]:
    console, clock = Console(file=io.StringIO(), width=20), Clock()
    with LineReporter(console, clock) as report:
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
    with LineReporter(console) as report:
        report(progress(1))
    assert console.file.getvalue() == (
        "step 1/1000  objective -0.1234  elbo -1235  mutual_information 3.000  kl 1.500e-05  "
        "312 steps/s  0:01:01 left\n"
    )


def test_a_terminal_is_drawn_on_no_more_often_than_eyes_follow() -> None:
    console, clock = terminal(), Clock()
    with LiveReporter(console, clock) as report:
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
    with LiveReporter(console, Clock()) as report:
        report(progress(250))
    drawn = console.file.getvalue()
    for piece in progress_pieces(progress(250)):
        assert piece in drawn
    assert max(len(line) for line in drawn.splitlines()) <= width + len("\x1b[?25l\x1b[2K" * 4)
    tables = shown(metrics_table({"train": TERMS, "test": TERMS}), width)
    for value in TERMS.values():
        assert tables.count(number_text(value)) == 2


def test_metrics_have_a_column_for_each_set_of_data() -> None:
    table = shown(metrics_table({"train": {"elbo": -1.5, "n": 400}, "test": {"log_px": -1.25}}), 80)
    rows = [line.split() for line in table.splitlines()]
    assert rows == [
        ["train", "test"],
        ["elbo", "-1.500", "-"],
        ["n", "400", "-"],
        ["log_px", "-", "-1.250"],
    ]


def test_half_an_interval_stands_behind_its_number_with_a_legend() -> None:
    metrics = {"kl": 2.0, "kl_standard_error": 0.0123, "scores": {"mig": {}}, "left_out": {}}
    lines = shown(metrics_table({"train": metrics}, "At the end"), 80).splitlines()
    half_width = 1.96 * 0.0123
    assert [line.split() for line in lines[:3]] == [
        ["At", "the", "end"],
        ["train"],
        ["kl", "2.000", "±", f"{half_width:.3f}"],
    ]
    assert lines[3:] == ["± is half of a 95 % confidence interval over data or samples of q(z)"]


def test_scores_have_intervals_and_what_an_untrained_encoder_has() -> None:
    mig = {"value": 0.5, "interval": [0.25, 0.75], "details": {"untrained": 0.125}}
    far = {"value": 3.0, "interval": None, "details": {"p_value": 0.01, "untrained": None}}
    table = shown(scores_table("codes", {"mig": mig, "far": far}), 80)
    assert [line.split() for line in table.splitlines()] == [
        ["codes"],
        ["value", "95", "%", "interval", "untrained"],
        ["mig", "0.5000", "0.2500", "to", "0.7500", "0.1250"],
        ["far", "3.000", "-", "-"],
        ["far,", "p-value", "0.01000", "-", "-"],
    ]


def test_the_interval_stands_beside_the_value_that_it_is_about() -> None:
    mig = {"value": 0.7389, "corrected": 0.7455, "interval": [0.7436, 0.7465], "details": {}}
    plain = {"value": 0.5, "corrected": None, "interval": None, "details": {}}
    plain["no_interval"] = "no code varies"
    table = shown(scores_table("codes", {"mig": mig, "irs": plain}), 80)
    assert [line.split() for line in table.splitlines()] == [
        ["codes"],
        ["value", "95", "%", "interval", "plug-in"],
        ["mig", "0.7455", "0.7436", "to", "0.7465", "0.7389"],
        ["irs", "0.5000", "-", "-"],
        ["irs", "has", "no", "interval:", "no", "code", "varies"],
    ]
    assert "has no interval" not in shown(scores_table("codes", {"irs": plain}), 80)


def test_what_is_left_out_is_said_once_for_each_reason() -> None:
    train = {"left_out": {"kl": "no density", "mig": "no density", "sap": "few rows"}}
    test = {"left_out": {"kl": "no density", "mig": "other", "sap": "few rows"}}
    assert left_out_lines({"train": train, "test": test}) == [
        "left out: kl: no density",
        "left out of train: mig: no density",
        "left out of test: mig: other",
        "left out: sap: few rows",
    ]


def test_names_are_shown_as_they_are() -> None:
    assert "kl[z]" in shown(metrics_table({"[bold]": {"kl[z]": 1.0}}), 80)
    assert "[bold]" in shown(metrics_table({"[bold]": {"kl": 1.0}}), 80)
