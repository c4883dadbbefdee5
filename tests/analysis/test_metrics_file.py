from typing import Any

import pytest
import torch

from pyro_decomp.analysis.metrics_file import BY_NAME, checkpoint_of, merged
from tests.example_programs import PROGRAMS
from tests.runs import run_of

NOW = {"step": 3, "blake2b": "a"}


def part(numbers: dict[str, Any], checkpoint: Any = NOW, seed: int = 0, **more: Any) -> Any:
    names = {*numbers, *more.get("scores", {}), *more.get("left_out", {})}
    seeds = {name: seed for name in names if name in {"elbo", "divergence", "mig", "sap"}}
    empty: dict[str, Any] = {"scores": {}, "left_out": {}, "versions": {}}
    return numbers | empty | more | {"checkpoint": checkpoint, "seeds": seeds}


def test_what_is_not_measured_stays_and_what_is_replaces_its_own_names_only() -> None:
    before = {
        "train": part(
            {"elbo": -2.0, "elbo_standard_error": 0.1, "kl": 1.0, "divergence": 0.5},
            scores={"mig": {"value": 0.1}},
            left_out={"sap": "few rows"},
        ),
        "test": part({"elbo": -3.0}),
    }
    now = {"train": part({"elbo": -1.0}, seed=1, scores={"sap": {"value": 0.2}})}
    found = merged(before, now)
    assert found["test"] == before["test"]
    train = found["train"]
    assert train == {
        "elbo": -1.0,
        "divergence": 0.5,
        "scores": {"mig": {"value": 0.1}, "sap": {"value": 0.2}},
        "left_out": {},
        "checkpoint": NOW,
        "seeds": {"elbo": 1, "divergence": 0, "mig": 0, "sap": 1},
        "versions": {},
    }


def test_what_fails_now_loses_its_old_number() -> None:
    before = {"train": part({"elbo": -2.0, "elbo_standard_error": 0.1, "divergence": 0.5})}
    found = merged(before, {"train": part({}, left_out={"elbo": "no density"})})["train"]
    assert "elbo" not in found
    assert "elbo_standard_error" not in found
    assert found["left_out"] == {"elbo": "no density"}
    assert found["divergence"] == 0.5


@pytest.mark.parametrize("checkpoint", [{"step": 2, "blake2b": "a"}, {"step": 3, "blake2b": "b"}])
def test_nothing_of_another_checkpoint_stays(checkpoint: Any) -> None:
    before = {"train": part({"divergence": 0.5}, checkpoint)}
    now = {"train": part({"elbo": -1.0})}
    with pytest.warns(UserWarning, match=r"another checkpoint .* that of step 3"):
        assert merged(before, now) == now


@pytest.mark.parametrize("broken", [None, [1], "x", 3])
def test_parts_that_are_not_what_they_should_be_are_replaced(broken: Any) -> None:
    before = {"train": part({"divergence": 0.5}) | dict.fromkeys(BY_NAME, broken)}
    found = merged(before, {"train": part({"elbo": -1.0})})["train"]
    assert found == part({"elbo": -1.0}) | {"divergence": 0.5}


@pytest.mark.parametrize("before", [{}, {"train": 3}, {"train": None, "other": [1]}])
def test_what_is_no_measurement_is_replaced(before: Any) -> None:
    now = {"train": part({"elbo": -1.0})}
    assert merged(before, now) == now


def test_a_checkpoint_is_told_by_its_step_and_all_that_is_trained() -> None:
    run = run_of(PROGRAMS["functions with pyro.param"]())
    before = checkpoint_of(run)
    assert checkpoint_of(run) == before
    parameter = next(iter(run.state.parameters.values()))
    with torch.no_grad():
        parameter += 1
    assert checkpoint_of(run)["blake2b"] != before["blake2b"]
