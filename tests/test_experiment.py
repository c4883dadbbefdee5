from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.errors import DataError, ExperimentError


def program(x: Any) -> None:
    """Stand in for a model and a guide, which are not run here."""


def build(**options: Any) -> Experiment:
    defaults = {"data": torch.zeros(10, 2), "elbo": AggregateELBO()}
    return Experiment(program, program, **defaults | options)


@pytest.mark.parametrize(
    ("batch_size", "epochs", "steps_per_epoch", "total"),
    [(None, 7, 1, 7), (10, 7, 1, 7), (5, 2, 2, 4), (4, 2, 3, 6), (1, 1, 10, 10), (99, 3, 1, 3)],
)
def test_steps(batch_size: int | None, epochs: int, steps_per_epoch: int, total: int) -> None:
    trial = build(batch_size=batch_size, epochs=epochs)
    assert trial.steps_per_epoch == steps_per_epoch
    assert trial.total_steps == total


def test_data_of_any_kind_become_a_tensor(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.ones((3, 2)))
    for data in (np.ones((3, 2)), [[1, 1]] * 3, tmp_path / "data.npy"):
        trial = build(data=data, test_data=data)
        assert torch.equal(trial.data, torch.ones(3, 2))
        assert torch.equal(trial.test_data, torch.ones(3, 2))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": torch.zeros(0, 2)}, DataError, "expected at least one value"),
        ({"data": torch.tensor([0.0, torch.nan])}, DataError, r"NaN or infinity in 1 of 2 rows"),
        ({"test_data": torch.zeros(3, 1)}, ExperimentError, r"shape \(2,\) like .* got \(1,\)"),
        ({"test_data": torch.zeros(0, 2)}, DataError, "expected at least one value"),
        ({"model": None}, ExperimentError, "model: expected a callable, got NoneType"),
        ({"guide": 3}, ExperimentError, "guide: expected a callable, got int"),
        ({"optimizer": "adam"}, ExperimentError, "optimizer: expected a callable, got str"),
        ({"elbo": Trace_ELBO()}, ExperimentError, r"such as AggregateELBO\(\), got Trace_ELBO"),
        ({"elbo": AggregateELBO}, ExperimentError, r"elbo: expected an objective of pyro_decomp"),
        ({"epochs": 0}, ExperimentError, "epochs: expected a positive whole number, got 0"),
        ({"epochs": 2.5}, ExperimentError, "epochs: expected a positive whole number, got 2.5"),
        ({"epochs": True}, ExperimentError, "epochs: expected a positive whole number, got True"),
        ({"epochs": None}, ExperimentError, "epochs: expected a positive whole number, got None"),
        ({"batch_size": 0}, ExperimentError, "batch_size: expected a positive whole number"),
        ({"batch_size": -5}, ExperimentError, "batch_size: expected a positive whole number"),
        ({"clip_grad_norm": 0.0}, ExperimentError, "clip_grad_norm: expected a positive number"),
        (
            {"clip_grad_norm": float("nan")},
            ExperimentError,
            "clip_grad_norm: expected a positive number, got nan",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    settings = {"model": program, "guide": program, "data": torch.zeros(10, 2)}
    settings |= {"elbo": AggregateELBO()} | options
    with pytest.raises(error, match=message):
        Experiment(**settings)
