import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp.data import as_tensor
from pyro_decomp.data.factors import as_factors, read_with_factors
from pyro_decomp.errors import DataError


def write(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    columns = {
        "height": [0.5, 1.5, 2.5],
        "shape": np.array([0, 1, 2], np.int8),
        "seen": [True, False, True],
        "who": ["ann", "bob", "cy"],
        "gap": [1.0, None, 3.0],
    }
    return write(tmp_path / "t.parquet", columns)


def test_columns_of_numbers_become_a_tensor(table: Path) -> None:
    expected = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.5, 0.0], [2.0, 2.5, 1.0]])
    assert torch.equal(as_tensor(table, columns=["shape", "height", 2]), expected)


def test_a_table_of_numbers_needs_no_columns(tmp_path: Path) -> None:
    values = np.arange(10.0).reshape(5, 2)
    path = write(tmp_path / "t.parquet", {"a": values[:, 0], "b": values[:, 1]})
    assert torch.equal(as_tensor(path), torch.tensor(values).float())
    assert as_factors(path)[1] == ("a", "b")


def test_factors_are_columns_by_name(table: Path) -> None:
    x, factors = read_with_factors(table, ["shape", "seen"], columns=["height"])
    assert x.tolist() == [[0.5], [1.5], [2.5]]
    assert factors.tolist() == [[0, 1], [1, 0], [2, 1]]


def test_bad_tables_are_one_sentence(table: Path, tmp_path: Path) -> None:
    cases = {
        "who": r"t\.parquet: expected numbers in column 'who', got string",
        "gap": r"t\.parquet: .* column 'gap', got 1 missing, the first of them in row 1: leave ",
        "nose": r"t\.parquet: expected columns among 0 to 4, or among height, .* got 'nose'",
    }
    for column, message in cases.items():
        with pytest.raises(DataError, match=message):
            as_tensor(table, columns=[column])
    (tmp_path / "cut.parquet").write_bytes(table.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut\.parquet: expected a readable \.parquet file, got: "):
        as_tensor(tmp_path / "cut.parquet")


def test_without_pyarrow_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    path = tmp_path / "t.parquet"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"package pyarrow, .* pip install pyarrow"):
        as_tensor(path)
