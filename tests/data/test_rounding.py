from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from pyro_decomp.data import Stored, as_tensor
from pyro_decomp.data.rounding import spoilt_columns
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError

SECONDS = 1.7e9 + np.random.default_rng(0).random((200, 1)) * 600.0
VALUES = np.concatenate([np.random.default_rng(1).normal(size=(200, 1)), SECONDS], axis=1)


class Items(Dataset):
    def __len__(self) -> int:
        return len(VALUES)

    def __getitem__(self, index: int) -> np.ndarray:
        return VALUES[index]


def csv(folder: Path) -> Path:
    path = folder / "x.csv"
    np.savetxt(path, VALUES, delimiter=",", header="a,time", comments="", fmt="%.17g")
    return path


def npy(folder: Path) -> Path:
    np.save(folder / "x.npy", VALUES)
    return folder / "x.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "x.npz", only=VALUES)
    return folder / "x.npz"


def parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    written = pytest.importorskip("pyarrow.parquet")
    written.write_table(
        pyarrow.table({"a": VALUES[:, 0], "time": VALUES[:, 1]}), folder / "x.parquet"
    )
    return folder / "x.parquet"


READ: dict[str, tuple[Callable[[Path], Any], str]] = {
    "csv": (csv, "'time'"),
    "parquet": (parquet, "'time'"),
    "npy": (npy, "1"),
    "npz": (npz, "1"),
    "array": (lambda folder: VALUES, "1"),
    "big-endian array": (lambda folder: VALUES.astype(">f8"), "1"),
    "lists": (lambda folder: VALUES.tolist(), "1"),
    "data set": (lambda folder: Items(), "1"),
    "list of tensors": (lambda folder: list(torch.from_numpy(VALUES)), "1"),
}


@pytest.mark.parametrize(("make", "name"), READ.values(), ids=READ)
def test_seconds_since_1970_lose_nothing(
    tmp_path: Path, make: Callable[[Path], Any], name: str
) -> None:
    with pytest.warns(UserWarning, match=f"float32 would take different values of column {name} "):
        read = as_tensor(make(tmp_path))
    assert torch.equal(read, torch.from_numpy(VALUES))
    standardised = (read - read.mean(0)) / read.std(0)
    assert spoilt_columns(standardised, torch.float32) == []


def test_mapped_seconds_lose_nothing() -> None:
    with pytest.warns(UserWarning, match="float32 would take different values of column 1 "):
        stored = StoredArray(VALUES)
    assert isinstance(stored, Stored)
    assert torch.equal(stored[:], torch.from_numpy(VALUES))


SPOILT = {
    "ids above 2**24": np.arange(2**24, 2**24 + 100),
    "ids of 12 digits": 123456780000 + np.arange(50) * 7,
    "the same as int32": np.arange(2**24, 2**24 + 100).astype(np.int32),
    "a small difference on a large offset": 1e6 + np.arange(100) * 1e-3,
    "dates as numbers": 20260101000000 + np.arange(100.0),
}
KEPT = {
    "counts that stay apart": np.arange(1, 100) * 10**7,
    "even numbers above 2**24": 2**24 + 2 * np.arange(100),
    "temperatures in kelvin": 300 + np.random.default_rng(0).normal(size=10_000),
    "levels": np.random.default_rng(0).random(1000),
    "a constant": np.full(100, 0.1),
    "a constant but for rounding": np.array([0.1 + 0.2, 0.3] * 9),
    "constant seconds": np.full(100, 1700000001.643),
}


@pytest.mark.parametrize("column", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize(
    "form", [lambda x: x, torch.from_numpy, StoredArray], ids=["array", "tensor", "stored"]
)
def test_columns_that_would_be_spoilt_are_float64(column: np.ndarray, form: Any) -> None:
    if form is torch.from_numpy and column.dtype == np.float64:
        assert torch.equal(as_tensor(torch.from_numpy(column)), torch.from_numpy(column))
        return
    with pytest.warns(UserWarning, match="kept in float64"):
        read = form(column)[:] if form is StoredArray else as_tensor(form(column))
    assert torch.equal(read, torch.from_numpy(column).double())


@pytest.mark.parametrize("column", KEPT.values(), ids=KEPT)
def test_what_is_only_rounded_becomes_float32(column: np.ndarray) -> None:
    assert as_tensor(column).dtype == torch.float32
    assert StoredArray(column).dtype == torch.float32


@pytest.mark.parametrize("column", [np.array([2**53, 2**53 + 1]), torch.tensor([2**60, 2**60 + 1])])
def test_whole_numbers_that_no_float_keeps_apart_are_refused(column: Any) -> None:
    with pytest.raises(DataError, match=r"at most 2\*\*53, .* larger ones in column 0"):
        as_tensor(torch.as_tensor(column)[:, None])


def test_labels_beyond_int64_are_refused() -> None:
    with pytest.raises(DataError, match=r"below 2\*\*63"):
        as_tensor(np.array([2**63], dtype=np.uint64))
