import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from pyro_decomp.data import as_tensor
from pyro_decomp.data.factors import as_factors, read_with_factors
from pyro_decomp.data.tables import read_csv
from pyro_decomp.errors import DataError


def write(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_a_header_of_numbers_names_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "400,402,404\n0.1,0.2,0.3\n0.2,0.1,0.4\n")
    with pytest.warns(UserWarning, match=r"t\.csv: the first line, 400, 402, 404, is taken as a h"):
        assert as_tensor(path).shape == (2, 3)
    assert as_tensor(path, header=False).shape == (3, 3)
    by_name = as_tensor(path, columns=["404", "400"], header=True)
    assert torch.equal(by_name, torch.tensor([[0.3, 0.1], [0.4, 0.2]]))


@pytest.mark.parametrize("name", ['""', "Unnamed: 0"])
def test_row_numbers_without_a_name_are_left_out_and_it_is_said(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f'{name},"length","kind"\n"4",5.1,1\n"9",4.9,0\n')
    with pytest.warns(UserWarning, match="has no name and only numbers the rows; it is left out"):
        assert as_tensor(path).tolist() == torch.tensor([[5.1, 1.0], [4.9, 0.0]]).tolist()
    assert as_tensor(path, columns=[0, 1])[:, 0].tolist() == [4.0, 9.0]
    with pytest.warns(UserWarning, match="only numbers the rows"):
        x, factors = read_with_factors(path, ["kind"])
    assert (x.shape, factors.tolist()) == ((2, 1), [[1], [0]])


def test_row_numbers_are_no_factor(tmp_path: Path) -> None:
    path = write(tmp_path, ",shape\n0,3\n1,3\n")
    with pytest.warns(UserWarning, match="only numbers the rows"):
        assert as_factors(path)[1] == ("shape",)


@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_counts_is_named_and_stays(tmp_path: Path, start: int) -> None:
    rows = "".join(f"{start + i},{i * i}\n" for i in range(4))
    with pytest.warns(UserWarning, match="column 'id' merely counts the rows"):
        assert as_tensor(write(tmp_path, f"id,x\n{rows}")).shape == (4, 2)
    with pytest.warns(UserWarning, match="column 0 merely counts the rows"):
        assert as_tensor(write(tmp_path, rows)).shape == (4, 2)
    assert as_tensor(write(tmp_path, f"id,x\n{rows}"), columns=["x"]).shape == (4, 1)


def test_whole_numbers_that_no_float_keeps_apart_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, f"id,x\n{2**53},1\n{2**53 + 1},2\n")
    with pytest.raises(DataError, match=f"got {2**53 + 1} in line 3, column 'id': leave it out"):
        as_tensor(path)
    assert as_tensor(path, columns=["x"]).tolist() == [[1.0], [2.0]]


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
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
    return write_parquet(tmp_path / "t.parquet", columns)


def test_columns_of_numbers_become_a_tensor(table: Path) -> None:
    expected = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.5, 0.0], [2.0, 2.5, 1.0]])
    assert torch.equal(as_tensor(table, columns=["shape", "height", 2]), expected)


def test_a_table_of_numbers_needs_no_columns(tmp_path: Path) -> None:
    values = np.arange(10.0).reshape(5, 2)
    path = write_parquet(tmp_path / "t.parquet", {"a": values[:, 0], "b": values[:, 1]})
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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_number_is_the_one_that_python_reads(tmp_path: Path, end: str) -> None:
    draw = random.Random(0)
    odd = ["-0", "+1", ".5", "5.", "1E-3", " 7 ", '"2.5"', str(2**53), "1e-320", "0.1" + 40 * "0"]
    cells = odd + [repr(draw.gauss(0, 1) * 10.0 ** draw.randint(-300, 300)) for _ in range(290)]
    rows = [cells[start : start + 3] for start in range(0, 300, 3)]
    lines = ["a,b,c", "", *(",".join(row) for row in rows)]
    (tmp_path / "t.csv").write_bytes(("\ufeff" + end.join(lines)).encode())
    expected = [[float(cell.strip('"')) for cell in row] for row in rows]
    assert read_csv(tmp_path / "t.csv", None).values.tolist() == expected


def test_a_line_of_many_blocks_is_read(tmp_path: Path) -> None:
    row = ",".join(["0.5" + 2000 * "0"] * 2000)  # 4 MB, where pyarrow reads 1 MB at once
    path = tmp_path / "t.csv"
    path.write_text(f"{row}\n{row}\n")
    assert read_csv(path, None, has_header=False).values.tolist() == [[0.5] * 2000] * 2
