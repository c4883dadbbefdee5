"""Programs that count their own calls, resumed and loaded; a number that a program moves."""

from pathlib import Path

import pytest

from pyro_decomp import evaluate, load
from pyro_decomp.sweep import read_table, sweep
from pyro_decomp.training.interruption import Interrupted
from tests.callbacks import Step
from tests.cases.running import PROGRAMS, trained
from tests.not_yet import rows
from tests.refusals import result_or_refusal
from tests.training.test_training import files
from tests.training.test_training_schedules import interrupt_at

pytestmark = pytest.mark.full

KINDS = ["ramp", "stages"]


@pytest.mark.parametrize("kind", rows("counter, resumed", KINDS))
def test_a_counter_goes_on_where_it_was_or_is_refused(kind: str, tmp_path: Path) -> None:
    given = {"kind": kind, "epochs": 120, "until": 80}
    whole = trained("own_counter", tmp_path / "whole", **given)
    with pytest.raises(Interrupted):
        trained(
            "own_counter",
            tmp_path / "run",
            options={"callbacks": [Step(interrupt_at(50))]},
            **given,
        )
    resumed, refusal = result_or_refusal(
        lambda: trained("own_counter", tmp_path / "run", options={"resume": True}, **given)
    )
    if resumed is None:
        assert "step" in refusal  # where the counter is
        return
    assert files(resumed.path) == files(whole.path)


@pytest.mark.parametrize("kind", rows("counter, loaded", KINDS, often=["ramp"]))
def test_a_run_that_is_loaded_counts_on_or_is_refused(kind: str, tmp_path: Path) -> None:
    run = trained("own_counter", tmp_path / "run", kind=kind, epochs=120, until=80)
    trained_kl = run.history["kl"][-1]
    found, refusal = result_or_refusal(
        lambda: evaluate(load(tmp_path / "run"), only=["elbo", "marginal_kl"])["train"]
    )
    if found is None:
        assert "step" in refusal
        return
    assert found["kl"] == pytest.approx(trained_kl, rel=0.05)  # one step later
    assert found["marginal_kl"] > -0.05  # a divergence, within its error


@pytest.mark.slow
def test_a_learned_number_without_dimensions_trains_with_its_grid(tmp_path: Path) -> None:
    values = {"beta": [1.0, 2.0, 4.0], "epochs": [60]}
    sweep(PROGRAMS / "scalar_parameter.py", values, 2, out=tmp_path / "out", way="batched")
    table = read_table(tmp_path / "out")
    assert table["status"].to_pylist() == ["finished"] * 6
    assert set(table["way"].to_pylist()) == {"batched"}
