"""Programs that keep state between steps: never other numbers than the programs' own, silently."""

import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp import load
from pyro_decomp.acceleration import policy
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.sweep.ensemble import Member, WorkItem, train_item
from pyro_decomp.training.experiment_file import ExperimentFile
from tests.not_yet import rows
from tests.refusals import result_or_refusal
from tests.unusual.comparison import SEEDS, TRIAL, Result, assert_same, eager, flat, trained
from tests.unusual.state import HARMLESS, STATEFUL, nothing

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(library.why_not()), reason="no C compiler"),
    *(
        pytest.mark.filterwarnings(f"ignore::pyro_decomp.{told}")
        for told in (
            "training.loop.ExecutionWarning",
            "training.state.UnkeptStateWarning",
            "acceleration.capture.repeats.WrittenOnlyWarning",
        )
    ),
]

TOLERANCE = 1e-10
OFTEN = {  # of the tier full; the slow tests have all
    "buffer assigned anew",
    "beta set by the report",
}


@pytest.fixture
def as_if_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is captured or fused pays, however short the run."""
    monkeypatch.setattr(policy, "CAPTURING", (0.0, 0.0))
    monkeypatch.setattr(policy, "FUSING", (0.0, 0.0))


def change_of(name: str) -> Any:
    change = STATEFUL[name].change
    return None if change is nothing else change


@cache
def by_programs(name: str, seed: int) -> Result:
    return trained({"program": name}, "eager", seed, change_of(name))


def assert_right(name: str, found: Result, seed: int = SEEDS[0]) -> None:
    assert_same(found, by_programs(name, seed), TOLERANCE)


@pytest.mark.usefixtures("as_if_long")
@pytest.mark.parametrize("name", rows("state, auto", STATEFUL, often=OFTEN))
def test_what_auto_chooses_gives_the_programs_numbers(name: str) -> None:
    found, refusal = result_or_refusal(
        lambda: trained({"program": name}, "auto", change=change_of(name))
    )
    if found is None:
        assert STATEFUL[name].is_changed_outside, refusal
        assert re.search(STATEFUL[name].path, refusal), refusal
    else:
        assert_right(name, found)


ASKED = [f"{name}; {steps}" for name in STATEFUL for steps in ("captured", "fused")]
ASKED_OFTEN = ["counter in an attribute; captured", "encoder frozen by the report; captured"]


@pytest.mark.full(but=["counter in an attribute; captured"])
@pytest.mark.parametrize("row", rows("state, asked for", ASKED, often=ASKED_OFTEN))
def test_what_is_asked_for_gives_them_or_names_what_changes(row: str) -> None:
    name, steps = row.split("; ")
    found, refusal = result_or_refusal(
        lambda: trained({"program": name}, steps, change=change_of(name))
    )
    if found is None:
        assert re.search(STATEFUL[name].path, refusal), refusal
    else:
        assert_right(name, found)


INSIDE = [name for name, row in STATEFUL.items() if row.change is nothing]


TOGETHER = [f"{name}; {how}" for name in INSIDE for how in ("captured", "fused")]


@pytest.mark.parametrize("row", rows("state, members", TOGETHER))
def test_members_of_a_grid_keep_their_state(row: str, tmp_path: Path) -> None:
    name, how = row.split("; ")
    arguments = {"program": name}
    members = tuple(Member(f"seed{seed}", arguments, seed) for seed in SEEDS)
    item = WorkItem(members, is_batched=True, why="to see", backend=how)
    source = ExperimentFile.read(TRIAL)
    outcomes = train_item(source, item, tmp_path, device="cpu", report=lambda *_: None)
    for outcome, seed in zip(outcomes, SEEDS, strict=True):
        if outcome.status == "failed":
            assert re.search(STATEFUL[name].path, outcome.message), outcome.message
            continue
        run, refusal = result_or_refusal(partial(load, tmp_path / "members" / f"seed{seed}"))
        if run is None:  # no checkpoint can keep it, which is told by its path
            assert re.search(STATEFUL[name].path, refusal), refusal
            continue
        kept = run.folder.read_checkpoint()
        assert kept is not None
        steps = run.config["execution"]["steps"]
        assert_right(name, Result(flat(kept), dict(run.history), steps), seed)


@pytest.mark.usefixtures("as_if_long")
@pytest.mark.parametrize("name", rows("harmless state", HARMLESS, often=["written only"]))
def test_what_changes_nothing_is_no_alarm(name: str) -> None:
    found = trained({"program": name}, "auto")
    assert found.steps == "fused"
    assert_same(found, eager({"program": name}), 1e-11)
