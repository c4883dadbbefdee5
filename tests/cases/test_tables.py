"""Files and arrays, as users have them."""

import csv
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp import evaluate
from pyro_decomp.data import as_tensor
from pyro_decomp.errors import DecompError
from tests.cases.running import TABLES, trained
from tests.not_yet import rows
from tests.refusals import result_or_refusal

ONE = ["right"]


@pytest.mark.parametrize("_", rows("time stamps", ONE, often=ONE))
def test_a_column_of_unix_seconds_keeps_its_values(_: str) -> None:
    lines = (TABLES / "timestamps.csv").read_text().splitlines()
    times = [float(row["time"]) for row in csv.DictReader(lines)]
    with pytest.warns(UserWarning, match="column 'time'"):
        found = as_tensor(TABLES / "timestamps.csv")[:, 0]
    assert len(set(found.tolist())) == len(set(times)) == 200
    assert found.double().std().item() == pytest.approx(statistics.stdev(times), rel=1e-4)
    standardised = (found - found.mean()) / found.std()
    mean, std = statistics.fmean(times), statistics.stdev(times)
    wanted = [(time - mean) / std for time in times]
    np.testing.assert_allclose(standardised.tolist(), wanted, atol=1e-3)


@pytest.mark.parametrize("_", rows("masked array", ONE, often=ONE))
def test_what_is_behind_a_mask_is_no_data(_: str) -> None:
    mask = [[0, 0], [0, 1], [0, 0]]
    array = np.ma.masked_array([[1.0, 2.0], [3.0, -9999.0], [5.0, 6.0]], mask=mask)
    found, refusal = result_or_refusal(lambda: as_tensor(array))
    if found is None:
        assert "mask" in refusal
        return
    assert torch.equal(found.isnan(), torch.tensor(mask).bool())


@pytest.mark.parametrize("_", rows("header of numbers", ONE, often=ONE))
def test_a_header_of_numbers_is_no_row(_: str) -> None:
    with pytest.warns(UserWarning, match="taken as a header"):
        found = as_tensor(TABLES / "spectra.csv")
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.2, 0.3], [0.2, 0.1, 0.4]]))


@pytest.mark.parametrize("_", rows("row numbers", ONE, often=ONE))
def test_a_column_that_merely_counts_is_told_of(_: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, refusal = result_or_refusal(lambda: as_tensor(TABLES / "row_numbers.csv"))
    sentences = [refusal, *(str(each.message) for each in told)]
    assert any("count" in each or "numbers the rows" in each for each in sentences)


@pytest.mark.parametrize("_", rows("constant columns", ONE, often=ONE))
def test_constant_columns_that_are_standardised_are_named(_: str, tmp_path: Path) -> None:
    with pytest.raises(DecompError, match=r"\b0, 32,? (and )?39\b") as caught:
        trained("table", tmp_path / "run", path=str(TABLES / "digits.csv"))
    assert "constant" in str(caught.value)


WORKING: dict[str, dict[str, Any]] = {
    "digits": {"path": str(TABLES / "digits.csv"), "standardise": False},
    "breast cancer": {"path": str(TABLES / "breast_cancer.csv")},
    "two columns": {
        "path": str(TABLES / "breast_cancer.csv"),
        "columns": "mean_radius,worst_texture",
    },
}


@pytest.mark.full
@pytest.mark.parametrize("name", rows("tables", WORKING, often=["breast cancer"]))
def test_tables_are_trained_on_and_evaluated(name: str, tmp_path: Path) -> None:
    run = trained("table", tmp_path / "run", epochs=2, **WORKING[name])
    found = evaluate(run, only=["elbo", "divergence", "mutual_information"])["train"]
    assert np.isfinite([found[k] for k in ("elbo", "divergence", "mutual_information")]).all()
