"""The types of numbers in which programs take their data, found by running them on a batch."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from pyro_decomp.data.batches import Batch, Data
from pyro_decomp.data.checks import blocks, column_labels
from pyro_decomp.data.rounding import default_type, spoilt_columns
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import DataError, DecompError
from pyro_decomp.training.experiment import Experiment

Result = TypeVar("Result")
Types = tuple[torch.dtype, ...]

REFUSALS = (RuntimeError, TypeError, IndexError, ValueError)


def run_on_first(experiment: Experiment, size: int, run: Callable[..., Result]) -> Result:
    """Run programs on the first batch, and where they refuse its types, in those that they take.

    Data are floating-point numbers, and stay so where the programs can be run on them. Otherwise
    float64 is tried in torch's default type, and whole numbers as int64: those of x, such as tokens
    that look up an embedding, those of the other tensors, such as labels, or both; where that
    helps, the experiment's data are of that type from then on.

    Args:
        experiment: What is run; its data and test data are replaced if other types are needed.
        size: Data of the batch.
        run: Runs the programs on the tensors of a batch.

    Raises:
        DataError: The programs need a type in which values would be lost.
    """
    data: Data = experiment.data
    try:
        return run(*data[:size])
    except REFUSALS as error:
        if isinstance(error, DecompError):
            raise
        for types in _others(data[:size]):
            converted = _converted(data, types)
            try:
                result = run(*converted[:size])
            except REFUSALS:
                continue
            _check_lossless(data, types, "data")
            experiment.data = converted
            if experiment.test_data is not None:
                _check_lossless(experiment.test_data, types, "test_data")
                experiment.test_data = _converted(experiment.test_data, types)
            return result
        raise


def _others(batch: Batch) -> Iterator[Types]:
    own = tuple(tensor.dtype for tensor in batch)
    narrow = tuple(default_type() if dtype == torch.float64 else dtype for dtype in own)
    if narrow != own:
        yield narrow
    whole = [t.is_floating_point() and bool((t == t.round()).all()) for t in batch]
    choices = (whole[:1] + [False] * len(whole[1:]), [False, *whole[1:]], whole)
    for types in dict.fromkeys((own, narrow)):
        for chosen in choices:
            if any(chosen):
                pairs = zip(types, chosen, strict=True)
                yield tuple(torch.int64 if is_whole else dtype for dtype, is_whole in pairs)


def _converted(data: Data, types: Types) -> Data:
    return Data(
        tuple(
            tensor.astype(dtype) if isinstance(tensor, Stored) else tensor.to(dtype)
            for tensor, dtype in zip(data.tensors, types, strict=True)
        )
    )


def _check_lossless(data: Data, types: Types, name: str) -> None:
    for index, (tensor, dtype) in enumerate(zip(data.tensors, types, strict=True)):
        source = name if len(types) == 1 else f"{name}[{index}]"
        is_narrowed = tensor.dtype == torch.float64 and dtype == torch.float32
        if is_narrowed and (spoilt := spoilt_columns(tensor, dtype)):
            raise DataError(
                f"{source}: the programs compute in float32, which would take different values of "
                f"{column_labels(spoilt, tensor.shape[1:])} for equal ones: subtract the mean, as "
                "in data - data.mean(0), or call torch.set_default_dtype(torch.float64)"
            )
        if tensor.dtype.is_floating_point and not dtype.is_floating_point:
            _check_whole(tensor, source)


def _check_whole(tensor: Tensor | Stored, source: str) -> None:
    seen = 0
    for block in blocks(tensor):
        broken = (block != block.round()).reshape(len(block), -1).any(1)
        if broken.any():
            row = seen + int(broken.nonzero()[0])
            raise DataError(
                f"{source}: the programs take whole numbers, got others in row {row}: expected "
                "indices such as tokens"
            )
        seen += len(block)
