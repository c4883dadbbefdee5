import pytest
import torch

from pyro_decomp.data.batches import Data
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError

X = torch.arange(14.0).view(7, 2)
LABELS = torch.arange(7) * 10


def data() -> Data:
    """The same rows three times: floats, whole numbers, and bytes stored as they are."""
    return Data((X, LABELS, StoredArray(X.byte().numpy())))


@pytest.mark.parametrize("rows", [slice(0, 3), slice(-2, None), slice(None), slice(5, 99)])
def test_a_slice_takes_the_same_rows_of_every_tensor(rows: slice) -> None:
    x, labels, stored = data()[rows]
    assert torch.equal(x, X[rows])
    assert torch.equal(labels, LABELS[rows])
    assert torch.equal(stored, X[rows])


def test_indices_take_rows_in_their_order_and_again() -> None:
    rows = torch.tensor([6, 0, 6, 3])
    x, labels, stored = data()[rows]
    assert torch.equal(x, X[rows])
    assert labels.tolist() == [60, 0, 60, 30]
    assert torch.equal(stored, x)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_in_order_make_up_the_whole(size: int) -> None:
    batches = list(data().split(size))
    assert max(len(x) for x, *_ in batches) == min(size, 7)
    for whole, parts in zip((X, LABELS, X), zip(*batches, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_an_order_is_a_permutation_by_its_seed_that_can_be_entered_anywhere(size: int) -> None:
    several = data()
    batches = list(several.shuffled(size, seed=4))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(4))
    for whole, parts in zip((X, LABELS, X), zip(*batches, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), whole[order])
    for first in range(len(batches)):
        rest = several.shuffled(size, seed=4, first=first)
        for found, expected in zip(rest, batches[first:], strict=True):
            assert torch.equal(found[1], expected[1])
    assert any(
        not torch.equal(a[1], b[1])
        for a, b in zip(several.shuffled(size, seed=5), batches, strict=True)
    )


def test_sizes_are_those_of_a_datum() -> None:
    several = data()
    assert len(several) == 7
    assert several.shapes == [(2,), (), (2,)]
    assert several.datum_size == 2 + 1 + 2


def test_tensors_are_kept_as_they_were() -> None:
    assert Data.of(X).x is X
    several = data()
    assert several.x is several.tensors[0]
    assert Data.of(several) is several
    assert Data.of((X, LABELS)).tensors == (X, LABELS)


def test_batches_come_out_on_the_device_that_was_asked_for() -> None:
    moved = data().to("meta")
    assert moved.device == torch.device("meta")
    assert [tensor.device.type for tensor in moved[:2]] == ["meta"] * 3
    assert data()[:2][0].device.type == "cpu"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ((), "data: expected at least one tensor, got an empty tuple"),
        ((X, LABELS[:6]), r"data: expected tensors of one length, got lengths \[7, 6\]"),
    ],
)
def test_what_is_not_aligned_is_refused(tensors: tuple[torch.Tensor, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Data(tensors)
