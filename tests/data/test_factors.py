from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp.data.factors import as_factors, read_with_factors
from pyro_decomp.errors import DataError

FACTORS = [[0, 5], [1, 3], [2, 4]]
X = [[0.5, -1.0], [1.5, 2.0], [2.5, 7.0]]
TABLE = "height,shape,width,scale\n.5,0,-1,5\n1.5,1,2,3\n2.5,2,7,4\n"


def frame(values: Any, columns: list[str]) -> Any:
    return SimpleNamespace(to_numpy=lambda: np.array(values), columns=columns)


@pytest.mark.parametrize(
    "values",
    [FACTORS, np.array(FACTORS, np.uint8), torch.tensor(FACTORS), torch.tensor(FACTORS).double()],
    ids=["lists", "bytes", "tensor", "whole floats"],
)
def test_factors_of_any_kind_become_int64(values: Any) -> None:
    factors, names = as_factors(values)
    assert torch.equal(factors, torch.tensor(FACTORS))
    assert names == ("factor 0", "factor 1")


def test_names_are_those_given_or_those_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("shape,scale\n0,5\n1,3\n2,4\n")
    for table in (tmp_path / "f.csv", str(tmp_path / "f.csv"), frame(FACTORS, ["shape", "scale"])):
        factors, names = as_factors(table)
        assert torch.equal(factors, torch.tensor(FACTORS))
        assert names == ("shape", "scale")
        assert as_factors(table, ["a", "b"])[1] == ("a", "b")


def test_large_whole_numbers_in_a_table_are_exact(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("identity\n16777217\n20150101003\n")
    assert as_factors(tmp_path / "f.csv")[0].tolist() == [[16777217], [20150101003]]


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (X, None, "factors: expected whole numbers, got 0.5 for factor 0 in row 0"),
        ([[1, 2], [3, 4.5]], ["a", "b"], "whole numbers, got 4.5 for b in row 1"),
        (FACTORS, ["a"], "factor_names: expected a name for each of 2 factors, got 1: a"),
        (np.zeros((3, 2, 2)), None, r"a column for each factor, got shape \(3, 2, 2\)"),
        ([["a"], ["b"]], None, "factors: expected real numbers, got values of type <U1"),
    ],
)
def test_bad_factors_are_one_sentence(values: Any, names: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_factors(values, names)


@pytest.mark.parametrize("columns", [["shape", "scale"], [1, 3], ["shape", 3]])
def test_a_table_is_divided_into_data_and_factors(tmp_path: Path, columns: Any) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    x, factors = read_with_factors(tmp_path / "t.csv", columns)
    assert torch.equal(x, torch.tensor(X))
    assert torch.equal(factors, torch.tensor(FACTORS))


def test_columns_may_be_left_out_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE.replace("2.5,", "2.5,").replace("-1", "none"))
    x, factors = read_with_factors(str(tmp_path / "t.csv"), ["scale"], columns=["height"])
    assert x.tolist() == [[0.5], [1.5], [2.5]]
    assert factors.tolist() == [[5], [3], [4]]


def test_an_archive_is_divided_into_data_and_factors(tmp_path: Path) -> None:
    both, path = np.array(FACTORS), tmp_path / "a.npz"
    np.savez(path, images=np.array(X), shape=both[:, 0], scale=both[:, 1:], both=both)
    x, factors = read_with_factors(path, ["shape", "scale"], key="images")
    assert torch.equal(x, torch.tensor(X))
    assert torch.equal(factors, torch.tensor(FACTORS))
    x, factors = read_with_factors(path, ["both", "scale", "shape"])
    assert torch.equal(x, torch.tensor(X))
    assert torch.equal(factors, torch.tensor(FACTORS)[:, [0, 1, 1, 0]])


def test_what_a_file_does_not_hold_is_said(tmp_path: Path) -> None:
    table, archive = tmp_path / "t.csv", tmp_path / "a.npz"
    table.write_text(TABLE)
    np.savez(archive, x=X, more=X, shape=np.zeros(2, int))
    cases: list[tuple[Path, list[str | int], str]] = [
        (table, [], "expected at least one factor to be named, got none"),
        (table, ["colour"], "expected columns among 0 to 3, or among height, .* got 'colour'"),
        (table, ["height"], "expected whole numbers, got 0.5 for height in row 0"),
        (table, [0, 1, 2, 3], "expected a column of data beside the factors, got none"),
        (archive, ["shape"], "one array beside the factors, .* got keys: x, more"),
        (archive, ["shape", "more"], r"expected whole numbers, got 0.5"),
        (
            tmp_path / "x.npy",
            ["shape"],
            r"expected a table ending in \.csv, \.parquet, got '\.npy'",
        ),
        (tmp_path / "no.csv", ["shape"], "expected an existing file"),
    ]
    for path, factors, message in cases:
        with pytest.raises(DataError, match=message):
            read_with_factors(path, factors)
    with pytest.raises(DataError, match=r"expected arrays of one length, got lengths \[3, 2\]"):
        read_with_factors(archive, ["shape"], key="x")
