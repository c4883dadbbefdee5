from pathlib import Path

import pytest
import torch

from pyro_decomp.data import as_tensor
from pyro_decomp.data.factors import as_factors, read_with_factors
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
