from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp.data import reading
from pyro_decomp.data.batches import Data
from pyro_decomp.data.reading import as_data
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError

X = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def test_a_list_of_rows_is_one_tensor_and_a_tuple_several() -> None:
    assert torch.equal(as_data(X).tensors[0], torch.tensor(X))
    assert [tuple(t.shape) for t in as_data((X, [0, 1, 2])).tensors] == [(3, 2), (3,)]
    assert len(as_data((X,)).tensors) == 1


KEPT = {
    "list": ([0, 1, 2], torch.int64),
    "truth values": ([True, False, True], torch.bool),
    "int32 array": (np.arange(3, dtype=np.int32), torch.int32),
    "bytes": (torch.arange(3, dtype=torch.uint8), torch.uint8),
    "unsigned array": (np.arange(3, dtype=np.uint32), torch.int64),
    "big-endian array": (np.arange(3, dtype=">i4"), torch.int32),
    "rows": ([torch.tensor(0), torch.tensor(1), torch.tensor(2)], torch.int64),
    "float32 array": (np.arange(3, dtype=np.float32), torch.float32),
    "float64 array": (np.arange(3.0), torch.float32),
    "float64 tensor": (torch.arange(3.0).double(), torch.float64),
}


@pytest.mark.parametrize(("value", "dtype"), KEPT.values(), ids=KEPT)
def test_beside_x_whole_numbers_and_truth_values_keep_their_type(
    value: Any, dtype: torch.dtype
) -> None:
    x, beside = as_data((np.arange(3), value)).tensors
    assert x.dtype == torch.float32
    assert beside.dtype == dtype
    assert beside[:].tolist() == (value if isinstance(value, list) else value.tolist())


def test_labels_in_a_file_keep_their_type(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array([3, 1, 2], dtype=np.int16))
    labels = as_data((X, tmp_path / "labels.npy")).tensors[1]
    assert torch.equal(labels[:], torch.tensor([3, 1, 2], dtype=torch.int16))


def test_a_large_file_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array(X))
    assert isinstance(as_data(path).tensors[0], torch.Tensor)
    monkeypatch.setattr(reading, "MAPPED_BYTES", path.stat().st_size)
    (stored,) = as_data(str(path)).tensors
    assert isinstance(stored, StoredArray)
    assert torch.equal(stored[:], torch.tensor(X))


def test_data_that_are_read_already_are_taken_as_they_are() -> None:
    several = Data((torch.tensor(X), torch.arange(3)))
    assert as_data(several) is several
    stored = StoredArray(np.array(X))
    assert as_data((stored, [0, 1, 2])).tensors[0] is stored


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((), "data: expected at least one tensor, got an empty tuple"),
        ((X, [0, 1]), r"data: expected tensors of one length, got lengths \[3, 2\]"),
        ((X, ["a", "b", "c"]), r"data\[1\]: expected real numbers, got values of type <U1"),
        ((X, [0.0, 1.0, float("nan")]), r"data\[1\]: .* in 1 of 3 rows, the first of them row 2"),
        ((X, None), r"data\[1\]: expected a tensor, .* got NoneType"),
        ((X, 3), r"data\[1\]: expected a row for each datum, got a single number"),
        ((None, X), r"data\[0\]: expected a tensor, .* got NoneType"),
    ],
)
def test_bad_data_is_one_sentence_that_names_it(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_data(data)
