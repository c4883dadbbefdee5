"""The objective and its terms on held-out data: right, comparable, and no change of the run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp import Execution, Experiment, evaluate, train
from pyro_decomp.callbacks import HeldOut
from pyro_decomp.errors import ExperimentError
from pyro_decomp.seeds import seeded
from pyro_decomp.training import loop
from tests.callbacks.test_protocol import STEPS, TEST_DATA, experiment, trained
from tests.elbo.objectives import OBJECTIVES
from tests.example_programs import D, N

pytestmark = pytest.mark.full


def rows_with(history: dict[str, Any], name: str) -> list[int]:
    return history["step"][~np.isnan(history[name])].astype(int).tolist()


@pytest.mark.full(but=["several"])
@pytest.mark.parametrize("size", [8, 3], ids=["one batch", "several"])
def test_the_last_evaluation_is_the_objective_of_the_run(tmp_path: Path, size: int) -> None:
    run = trained(tmp_path / "run", HeldOut(2, seed=3), batch_size=size)
    trial, totals = run.experiment, dict[str, float]()
    with seeded(3), torch.no_grad():
        order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
        for rows in order.tensor_split(1 if size == 8 else 3):
            logged = trial.elbo.evaluate(run.model, run.guide, TEST_DATA[rows]).logged
            for name, value in logged.items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(rows) / 7
    for name, value in totals.items():
        assert run.history[f"test_{name}"][-1] == pytest.approx(value, rel=1e-12), name


def test_it_estimates_what_evaluate_does(tmp_path: Path) -> None:
    """Means over 7 data of one draw each and of evaluate's: within 4.3 of its standard errors."""
    run = trained(tmp_path / "run", HeldOut())
    expected = evaluate(run, only=["elbo"])["test"]
    error = expected["elbo_standard_error"]
    assert abs(run.history["test_elbo"][-1] - expected["elbo"]) < 4.3 * error


@pytest.mark.parametrize(
    ("every", "steps"),
    [(1, [3, 6, 9, 12]), (3, [9, 12]), (0.25, [3, 6, 9, 12]), (0.4, [5, 10, 12]), (9, [12])],
)
def test_it_evaluates_so_often_and_at_the_end(
    tmp_path: Path, every: float, steps: list[int]
) -> None:
    history = trained(tmp_path / "run", HeldOut(every)).history
    assert {n for n in history if n.startswith("test_")} == {
        f"test_{name}" for name in ("objective", "elbo", "log_likelihood", "kl", "divergence")
    }
    assert rows_with(history, "test_elbo") == steps


def test_it_waits_for_a_row_of_a_long_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_HISTORY_ROWS", 8)
    history = trained(tmp_path / "run", HeldOut(0.4)).history
    assert history["step"].tolist() == [1, 2, 3, 5, 6, 8, 9, 11, 12]
    assert rows_with(history, "test_elbo") == [5, 11, 12]


def test_every_evaluation_takes_the_same_draws(tmp_path: Path) -> None:
    still = experiment(optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    values = train(still, tmp_path / "run", callbacks=[HeldOut(1)]).history["test_elbo"]
    assert len(set(values[~np.isnan(values)])) == 1


def test_no_test_data_is_said_and_no_folder_made(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"HeldOut: expected an experiment with test_data"):
        trained(tmp_path / "run", HeldOut(), test_data=None)
    assert not (tmp_path / "run").exists()
    assert trained(tmp_path / "run", HeldOut()).step == STEPS


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_objective_is_trained_otherwise(tmp_path: Path, name: str) -> None:
    row = OBJECTIVES[name]
    programs = row.program(size=N)
    data, test_data = torch.randn(N, D).double(), torch.randn(7, D).double()
    trial = Experiment(
        programs.model, programs.guide, data, row(), test_data=test_data, epochs=4, batch_size=8
    )
    plain = train(trial, tmp_path / "plain", execution=Execution("eager"))
    told = train(trial, tmp_path / "told", execution=Execution("eager"), callbacks=[HeldOut(1)])
    assert np.isfinite(told.history["test_objective"][-1])
    for column, values in plain.history.items():
        np.testing.assert_array_equal(told.history[column], values)
    for one, other in zip(plain.state.modules, told.state.modules, strict=True):
        for key, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[key]), key
