from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyro_decomp.data import checks
from pyro_decomp.data.stored import Rows, Stored, StoredArray, memory_mapped
from pyro_decomp.errors import DataError

VALUES = np.array([[0, 255], [7, 8], [100, 1]])


def mapped(array: NDArray[Any], folder: Path) -> StoredArray:
    np.save(folder / "x.npy", array)
    return memory_mapped(folder / "x.npy")


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8", ">f4", "i8", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_rows_of_any_type_come_out_as_float32(
    tmp_path: Path, dtype: str, order: Any, on_disk: bool
) -> None:
    array = np.asarray(VALUES, dtype, order=order)
    stored = mapped(array, tmp_path) if on_disk else StoredArray(array)
    rows = torch.tensor([2, 0, 2])
    for found, expected in ((stored[rows], VALUES[rows]), (stored[1:], VALUES[1:])):
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        assert found.tolist() == expected.tolist()
    assert stored.shape == (3, 2)
    assert len(stored) == 3
    assert stored[-1].tolist() == VALUES[-1].tolist()


def test_values_are_divided_if_that_is_asked_for(tmp_path: Path) -> None:
    array = VALUES.astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    expected = torch.from_numpy(array).float() / 255
    for stored in (
        StoredArray(array, divisor=255),
        memory_mapped(tmp_path / "x.npy", divisor=255),
    ):
        assert torch.equal(stored[:], expected)
        assert torch.equal(stored[torch.tensor([2, 1])], expected[[2, 1]])
    for divisor in (0, float("nan"), float("inf")):
        with pytest.raises(DataError, match=r"divisor: expected a finite number other than 0, got"):
            StoredArray(array, divisor=divisor)


def test_going_through_the_rows_ends() -> None:
    assert [row.tolist() for row in StoredArray(VALUES)] == VALUES.tolist()  # type: ignore[attr-defined]


def test_what_comes_out_of_a_file_can_be_changed_without_changing_the_file(tmp_path: Path) -> None:
    stored = mapped(VALUES.astype(np.float32), tmp_path)
    stored[:].zero_()
    assert stored[:].tolist() == VALUES.tolist()


class Squares(Stored):
    """Rows that are worked out on the spot."""

    def read(self, rows: Rows) -> torch.Tensor:
        return torch.arange(len(self))[rows] ** 2


def test_rows_may_be_made_on_the_spot_in_a_type_of_their_own() -> None:
    squares = Squares((5,), torch.float64)
    assert squares[torch.tensor([4, 2])].tolist() == [16.0, 4.0]
    assert squares[3].dtype == torch.float64
    moved = squares.to("meta")
    assert (moved[:].device.type, squares[:].device.type) == ("meta", "cpu")


BAD = {
    "words": (np.array(["a"]), "x: expected real numbers, got values of type <U1"),
    "number": (np.array(3.0), "x: expected a row for each datum, got a single number"),
    "empty": (np.empty((0, 2)), r"x: expected at least one value, got shape \(0, 2\)"),
    "nan": (
        np.where(np.arange(10)[:, None] % 4 == 2, np.nan, np.ones((10, 3))),
        "x: expected finite numbers in float32, got NaN or infinity in 2 of 10 rows, "
        "the first of them row 2, in columns 0, 1, 2: leave those rows",
    ),
    "too large": (
        np.array([0.0, 0.0, 0.0, 1e300]),
        "in 1 of 4 rows, the first of them row 3: leave",
    ),
}


@pytest.mark.parametrize("block", [1, 6, 10**6])
@pytest.mark.parametrize(("array", "message"), BAD.values(), ids=BAD)
def test_bad_arrays_are_one_sentence(
    array: NDArray[Any], message: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "BLOCK_ELEMENTS", block)
    with pytest.raises(DataError, match=message):
        StoredArray(array, source="x")


def test_files_that_cannot_be_mapped_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.npz: expected a \.npy file to be mapped, got '\.npz'"):
        memory_mapped(tmp_path / "x.npz")
    path = tmp_path / "x.npy"
    with pytest.raises(DataError, match=r"x\.npy: expected an existing file"):
        memory_mapped(path)
    np.save(path, np.array([{}, None]), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy: expected a readable \.npy file, got: "):
        memory_mapped(path)
    np.save(path, np.ones((100, 10)))
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(DataError, match=r"x\.npy: expected a readable \.npy file, got: "):
        memory_mapped(path)
