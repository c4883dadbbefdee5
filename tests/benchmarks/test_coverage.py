"""The table of coverages: a row at a time, and rows that are there stay."""

from pathlib import Path

import coverage
import numpy as np
import pytest
from scipy.stats import binomtest


@pytest.mark.full
def test_only_rows_that_are_missing_are_computed(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    command = ["--write", str(file), "--only", "active_units,hoyer_sparsity", "--repeats", "20"]
    coverage.main(command)
    whole = file.read_text()
    rows = [line for line in whole.splitlines() if line.startswith("| `")]
    assert len(rows) == 2 * len(coverage.POPULATIONS) * len(coverage.NUM_ROWS)
    assert "| `active_units` | noisy | 500 | 5.0000 | 5.0000 | 5.0000 | 1.000 | 20 |" in rows[2]
    file.write_text(whole.replace(rows[2] + "\n", "").replace(rows[0], rows[0] + " kept"))
    coverage.main(command)
    again = file.read_text().splitlines()
    assert again[-1] == rows[2]
    assert rows[0] + " kept" in again
    assert len(again) == len(whole.splitlines())


def test_what_is_said_of_a_coverage() -> None:
    ends = np.array([[0.2, 0.9], [0.3, 0.8]])

    def remark(hits: int, ends: np.ndarray) -> str:
        return coverage.remark(binomtest(hits, 400).proportion_ci(0.95), ends, (0.0, 1.0))

    assert remark(340, ends) == "**too low**"
    assert remark(380, ends) == remark(396, ends) == ""
    assert remark(400, ends) == "**too wide**"
    assert remark(400, np.array([[0.2, 1.0]])) == "at a bound"
    assert remark(400, np.array([[3.0, 3.0]])) == "no noise"
    assert remark(0, np.array([[1.0, 1.0]])) == "**too low**"
