from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from pyro_decomp.data import as_tensor, reading
from pyro_decomp.data.batches import Data
from pyro_decomp.data.reading import as_data
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


class Items(Dataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[list[float]]:
        yield from ROWS


GOOD = {
    "float32 tensor": torch.tensor(ROWS),
    "int tensor": torch.tensor(ROWS).long(),
    "half tensor": torch.tensor(ROWS).half(),
    "transposed tensor": torch.tensor(ROWS).T.contiguous().T,
    "parameter": torch.nn.Parameter(torch.tensor(ROWS)),
    "float64 array": np.array(ROWS),
    "byte array": np.array(ROWS, dtype=np.uint8),
    "big-endian array": np.array(ROWS, dtype=">f4"),
    "reversed array": np.array(ROWS[::-1])[::-1],
    "lists": ROWS,
    "list of tensors": [torch.tensor(row, dtype=torch.float64) for row in ROWS],
    "table": SimpleNamespace(to_numpy=lambda: np.array(ROWS)),
    "data set": Items([torch.tensor(row) for row in ROWS]),
    "data set of arrays": Items([np.array(row) for row in ROWS]),
    "data set with labels": Items([(torch.tensor(row), 7) for row in ROWS]),
    "tensor data set": TensorDataset(torch.tensor(ROWS), torch.arange(3)),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_every_kind_of_data_becomes_the_same_tensor(data: object) -> None:
    tensor = as_tensor(data)
    torch.testing.assert_close(tensor, torch.tensor(ROWS), rtol=0, atol=0)
    assert tensor.is_contiguous()
    assert not tensor.requires_grad


def test_float64_is_kept_for_tensors_alone() -> None:
    assert as_tensor(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert as_tensor(np.ones(2)).dtype == torch.float32


def test_images_keep_their_shape_and_are_not_rescaled() -> None:
    images = np.full((2, 3, 4, 4), 255, dtype=np.uint8)
    torch.testing.assert_close(as_tensor(images), torch.full((2, 3, 4, 4), 255.0))


def test_nothing_is_copied_without_need() -> None:
    tensor = torch.tensor(ROWS)
    assert as_tensor(tensor).data_ptr() == tensor.data_ptr()


def test_a_read_only_array_is_left_as_it_was() -> None:
    array = np.array(ROWS, dtype=np.float32)
    array.setflags(write=False)
    as_tensor(array).zero_()
    assert array.tolist() == ROWS


NAN = float("nan")
BAD = {
    "nothing": (None, "data: expected a tensor, an array, .* or a path, got NoneType"),
    "stream": (Stream(), "expected .* a map-style Dataset .* got Stream"),
    "number": (3.0, "data: expected a row for each datum, got a single number"),
    "scalar tensor": (torch.tensor(3.0), "got a single number"),
    "no rows": (torch.empty(0, 2), r"data: expected at least one value, got shape \(0, 2\)"),
    "no columns": (np.empty((3, 0)), r"expected at least one value, got shape \(3, 0\)"),
    "empty list": ([], r"got shape \(0,\)"),
    "empty data set": (Items([]), "data: expected at least one datum, got an empty data set"),
    "words": (np.array(["a", "b"]), "data: expected real numbers, got values of type <U1"),
    "objects": (np.array([{}, {}]), "expected real numbers, got values of type object"),
    "complex array": (np.array([1j]), "expected real numbers, got values of type complex128"),
    "complex tensor": (torch.tensor([1j]), "expected real numbers, got values of type torch.comp"),
    "dates": (np.array(["2020-01-01"], dtype="M8[D]"), "expected real numbers, .* datetime64"),
    "ragged lists": ([[1, 2], [3]], "data: expected rows of one shape, got a ragged list"),
    "ragged tensors": (
        [torch.ones(2), torch.ones(3)],
        r"data: expected rows of one shape, got \[\(2,\), \(3,\)\]",
    ),
    "ragged data set": (
        Items([torch.ones(2), torch.ones(2), torch.ones(3)]),
        r"item 2 of the data set: expected shape \(2,\), got \(3,\)",
    ),
    "data set of dictionaries": (Items([{"x": 1}]), "item 0 of the data set: .* got dict"),
    "nan": (
        torch.tensor([[1.0, 2.0], [NAN, 0.0], [0.0, 1.0], [NAN, NAN]]),
        "data: expected finite numbers in float32, got NaN or infinity in 2 of 4 rows, "
        "the first of them row 1, in columns 0, 1: leave those rows out, or fill",
    ),
    "infinity": ([1.0, 2.0, -np.inf], "in 1 of 3 rows, the first of them row 2"),
    "too large": (np.array([1.0, 1e300]), "finite numbers in float32, .* 1 of 2 rows, .* row 1"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_bad_data_is_one_sentence_that_names_it(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_tensor(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", [{"key": "x"}, {"columns": [0]}])
def test_options_of_files_are_refused_for_arrays(option: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="expected a path with key or columns, got ndarray"):
        as_tensor(np.ones(3), **option)


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
def test_bad_data_of_several_tensors_is_one_sentence_that_names_it(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_data(data)
