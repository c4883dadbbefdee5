import json
import pickle
import sys
from dataclasses import replace
from typing import Any

import pytest

from pyro_decomp import evaluate
from pyro_decomp.analysis.evaluated import Evaluation, Quantity
from pyro_decomp.errors import DataError
from tests.descriptions.test_cards import Page
from tests.example_programs import PROGRAMS
from tests.runs import run_of

MIG = {"value": 0.4, "interval": [0.3, 0.35], "corrected": 0.325, "variant": {}, "details": {}}
FOUND: dict[str, Any] = {
    "train": {
        "elbo": -2.0,
        "elbo_standard_error": 0.1,
        "effective_sharing": 3.5,
        "components": {"occupancy": [1.0], "empty": [], "merged": []},
        "scores": {
            "mig": MIG,
            "active_units": MIG | {"value": 2.0, "interval": None, "corrected": None},
        },
        "left_out": {"kl": "no <density>", "sap": "no <density>"},
        "findings": {"overfit": "the run overfits"},
        "checkpoint": {"step": 7, "blake2b": "a"},
        "seeds": {"elbo": 0},
    },
    "test": {"elbo": -3.0, "scores": {}, "left_out": {"sap": "few rows"}},
}
ROWS = [
    Quantity("train", "elbo", -2.0, -2.196, -1.804, "nats"),
    Quantity("train", "effective_sharing", 3.5, unit="data"),
    Quantity("train", "mig", 0.325, 0.3, 0.35),
    Quantity("train", "active_units", 2.0, unit="dimensions"),
    Quantity("train", "kl", None, reason="no <density>"),
    Quantity("train", "sap", None, reason="no <density>"),
    Quantity("test", "elbo", -3.0, unit="nats"),
    Quantity("test", "sap", None, reason="few rows"),
]


def test_it_is_the_dictionary_that_it_was_made_of() -> None:
    found = Evaluation(FOUND)
    assert found == FOUND
    assert json.loads(json.dumps(found)) == FOUND
    assert pickle.loads(pickle.dumps(found)) == found
    assert found["train"]["scores"]["mig"]["value"] == 0.4


def test_quantities_are_numbers_scores_and_reasons() -> None:
    found = Evaluation(FOUND).quantities()
    without = {"low": None, "high": None}
    assert [replace(each, **without) for each in found] == [replace(row, **without) for row in ROWS]
    for each, row in zip(found, ROWS, strict=True):
        assert (each.low, each.high) == pytest.approx((row.low, row.high))


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (ROWS[0], "-2 ± 0.2"),
        (ROWS[1], "3.5"),
        (ROWS[2], "0.325 ± 0.025"),
        (ROWS[4], "-"),
        (Quantity("train", "mig", 0.3, 0.2, 0.35), "0.3 [0.2, 0.35]"),
    ],
)
def test_a_quantity_is_written_with_its_interval(quantity: Quantity, text: str) -> None:
    assert quantity.text == text


def test_one_line_tells_the_elbo_and_counts_the_rest() -> None:
    line = "Evaluation(train elbo -2 ± 0.2, test elbo -3, 3 other numbers, 3 left out)"
    assert repr(Evaluation(FOUND)) == line
    assert repr(Evaluation()) == "Evaluation()"
    assert repr(Evaluation(train={"kl": 1.0})) == "Evaluation(train kl 1)"


def test_the_card_has_numbers_reasons_and_findings() -> None:
    text = Page(Evaluation(FOUND)._repr_html_()).text
    assert text[:2] == ["Evaluation", "the run overfits"]
    for said in ("step 7", "left out: kl, sap", "no <density>", "left out: sap", "few rows"):
        assert said in text
    at = text.index("elbo (nats)")
    assert text[at : at + 3] == ["elbo (nats)", "-2 ± 0.2", "-3"]


def test_a_frame_has_a_row_for_each_quantity() -> None:
    frame = pytest.importorskip("pandas") and Evaluation(FOUND).to_frame()
    assert [*frame.columns] == ["set", "name", "value", "low", "high", "unit", "reason"]
    assert [*frame["name"]] == [row.name for row in ROWS]
    assert frame["value"].isna().sum() == 3
    assert frame.loc[frame["name"] == "elbo", "high"].iloc[0] == pytest.approx(-1.804)
    assert [str(frame[name].dtype) for name in ("value", "low", "high")] == ["float64"] * 3
    assert len(Evaluation().to_frame()) == 0


def test_without_pandas_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"pandas: expected it .* pip install pandas"):
        Evaluation(FOUND).to_frame()


def test_what_evaluate_gives_is_one() -> None:
    found = evaluate(run_of(PROGRAMS["functions with pyro.param"]()), only=["elbo"])
    assert isinstance(found, Evaluation)
    names = [each.name for each in found.quantities()]
    assert names == ["elbo", "log_likelihood", "kl"]
    elbo, error = found.quantities()[0], found["train"]["elbo_standard_error"]
    assert elbo.high - elbo.low == pytest.approx(2 * 1.96 * error)
    assert elbo.value == found["train"]["elbo"]


def test_numbers_of_several_seeds_are_told_apart() -> None:
    found = Evaluation(
        train={"kl": 1.0, "seeds": {"elbo": 1, "mig": 0}}, test={"seeds": {"sap": 1}}
    )
    assert found.of_seeds() == {1: ["elbo", "sap"], 0: ["mig"]}
    text = Page(found._repr_html_()).text
    assert text[text.index("of seed 1") + 1] == "elbo, sap"
    assert "of seed 0" not in Page(Evaluation(FOUND)._repr_html_()).text
