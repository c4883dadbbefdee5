import io
import math
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pyro_decomp.cli.tables import (
    left_out_lines,
    metrics_table,
    number_text,
    scores_table,
)

TERMS = {"objective": -0.12341, "elbo": -1234.56, "mutual_information": 3.0, "kl": 1.5e-5}


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


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 200])
def test_a_narrow_terminal_breaks_no_number_of_a_table(width: int) -> None:
    tables = shown(metrics_table({"train": TERMS, "test": TERMS}), width)
    for value in TERMS.values():
        assert tables.count(number_text(value)) == 2
