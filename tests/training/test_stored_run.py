"""A run folder of an earlier version is loaded, measured and resumed.

``tests/fixtures/run_folder`` holds the text of its experiment, with the import paths of its day: a
change to a public name or to a key of a file that breaks this test breaks the runs of users.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_decomp import load, train
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run
from tests.fixtures.write_run_folder import ARGUMENTS, STOPPED_AT, TOTAL

FOLDER = Path(__file__).parents[1] / "fixtures" / "run_folder"
# Cluster and code of the first three data, as the version that wrote the folder gave them.
CODES = [[0.0, 0.143350, 0.388333], [0.0, 0.155864, 0.378428], [0.0, 0.118715, 0.407831]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    shutil.copytree(FOLDER, tmp_path / "run")
    return load(tmp_path / "run")


def test_it_is_loaded(run: Run) -> None:
    assert run.step == STOPPED_AT
    assert run.config["arguments"] == ARGUMENTS
    assert run.history["step"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(run.history["beta"], [0.625, 0.75, 0.875, 1.0, 1.0])
    torch.testing.assert_close(run.codes(run.data[:3]), torch.tensor(CODES), rtol=1e-4, atol=1e-5)


def test_it_is_measured(run: Run) -> None:
    metrics = run.evaluate(only=["elbo", "mig"], num_importance_samples=2)["train"]
    assert np.isfinite(metrics["elbo"])
    assert 0 <= metrics["scores"]["mig"]["value"] <= 1


def test_it_is_resumed(run: Run) -> None:
    config = run.config
    source = ExperimentFile.from_source(config["source"], config["source_file"], seed=0)
    resumed = train(
        source,
        run.path,
        seed=config["seed"],
        arguments=config["arguments"],
        resume=True,
    )
    assert resumed.step == TOTAL
    assert resumed.history["step"].tolist() == list(range(1, TOTAL + 1))
    for name, column in run.history.items():
        np.testing.assert_array_equal(resumed.history[name][:STOPPED_AT], column)
    assert np.isfinite(resumed.history["elbo"]).all()
