from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import JitTrace_ELBO, ReweightedWakeSleep

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.data import Data, memory_mapped
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


def test_data_of_any_kind_become_data(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.ones((3, 2)))
    for data in (np.ones((3, 2)), [[1, 1]] * 3, tmp_path / "data.npy"):
        trial = build(data=data, test_data=data)
        assert isinstance(trial.data, Data)
        assert isinstance(trial.test_data, Data)
        assert torch.equal(trial.data.x, torch.ones(3, 2))
        assert torch.equal(trial.test_data.x, torch.ones(3, 2))


def test_several_tensors_are_one_set_of_data() -> None:
    labels = np.arange(10)
    trial = build(data=(np.ones((10, 2)), labels), test_data=([[0, 1]], [3]), batch_size=4)
    assert len(trial.data) == 10
    assert trial.steps_per_epoch == 3
    assert torch.equal(trial.data[:][1], torch.arange(10))
    assert trial.test_data[:][1].tolist() == [3]
    again = replace(trial, epochs=3)
    assert again.data is trial.data


def test_data_keep_their_tensors_and_types(tmp_path: Path) -> None:
    tensor = torch.ones(10, 2)
    assert build(data=tensor).data.x.data_ptr() == tensor.data_ptr()
    np.save(tmp_path / "x.npy", np.ones((10, 2), dtype=np.float32))
    stored = memory_mapped(tmp_path / "x.npy")
    assert build(data=stored).data.x is stored
    data = Data((tensor, torch.arange(10)))
    assert build(data=data).data is data


def test_factors_are_kept_beside_the_data() -> None:
    factors = np.stack([np.arange(10), np.arange(10) % 3], axis=1)
    trial = build(factors=factors, factor_names=["row", "third"], test_data=[[0, 1]])
    assert torch.equal(trial.factors, torch.from_numpy(factors))
    assert trial.factor_names == ("row", "third")
    assert trial.test_factors is None
    trial = build(factors=range(10), test_data=[[0, 1]], test_factors=[4])
    assert trial.factors.shape == (10, 1)
    assert trial.test_factors.tolist() == [[4]]
    assert replace(trial, epochs=3).factor_names == ("factor 0",)
    assert (build().factors, build().factor_names) == (None, None)


def test_factors_are_columns_of_the_tables_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,shape,b\n.5,0,1\n1.5,2,3\n")
    (tmp_path / "test.csv").write_text("a,shape,b\n2.5,1,5\n")
    trial = build(data=tmp_path / "train.csv", test_data=tmp_path / "test.csv", factors=["shape"])
    assert trial.data.x.tolist() == [[0.5, 1.0], [1.5, 3.0]]
    assert trial.factors.tolist() == [[0], [2]]
    assert trial.factor_names == ("shape",)
    assert trial.test_data.x.tolist() == [[2.5, 5.0]]
    assert trial.test_factors.tolist() == [[1]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": torch.zeros(0, 2)}, DataError, "expected at least one value"),
        ({"data": torch.tensor([0.0, torch.nan])}, DataError, r"NaN or infinity in 1 of 2 rows"),
        ({"test_data": torch.zeros(3, 1)}, ExperimentError, r"shape \(2,\) like .* got \(1,\)"),
        ({"test_data": torch.zeros(0, 2)}, DataError, "expected at least one value"),
        (
            {"data": (torch.zeros(3, 1), torch.zeros(3)), "test_data": torch.zeros(3, 1)},
            ExperimentError,
            r"test_data: expected data of shape \(1,\), \(\) like .* got \(1,\)",
        ),
        ({"data": (torch.zeros(3), torch.zeros(2))}, DataError, r"one length, got .* \[3, 2\]"),
        (
            {"factors": range(9)},
            ExperimentError,
            "factors: expected a row for each of the 10 data, got 9",
        ),
        (
            {"factors": range(10), "test_data": torch.zeros(3, 2), "test_factors": range(4)},
            ExperimentError,
            "test_factors: expected a row for each of the 3 test_data, got 4",
        ),
        (
            {"factors": range(10), "test_factors": range(4)},
            ExperimentError,
            "test_factors: expected test_data too, got none",
        ),
        ({"test_factors": [1]}, ExperimentError, "test_factors: expected factors too, got none"),
        ({"factor_names": ["a"]}, ExperimentError, "factor_names: expected factors too, got none"),
        ({"factors": [0.5] * 10}, DataError, "factors: expected whole numbers, got 0.5 for"),
        (
            {
                "factors": range(10),
                "test_data": torch.zeros(1, 2),
                "test_factors": [[1, 2]],
            },
            DataError,
            "factor_names: expected a name for each of 2 factors, got 1: factor 0",
        ),
        (
            {"factors": ["shape"]},
            ExperimentError,
            "factors: expected data to be the path of a table .* with shape, got Tensor",
        ),
        ({"model": None}, ExperimentError, "model: expected a callable, got NoneType"),
        ({"guide": 3}, ExperimentError, "guide: expected a callable, got int"),
        ({"optimizer": "adam"}, ExperimentError, "optimizer: expected a function that builds one"),
        (
            {"elbo": JitTrace_ELBO()},
            ExperimentError,
            r"elbo: expected Trace_ELBO\(\), .*got 'Jit",
        ),
        ({"elbo": ReweightedWakeSleep()}, ExperimentError, "elbo: .* whose loss is a number, such"),
        ({"elbo": AggregateELBO}, ExperimentError, r"elbo: expected an objective such as Aggreg"),
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
