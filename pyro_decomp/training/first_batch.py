"""Programs run on data for the first time: number types, sizes of lazy networks, why they fail."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from pyro_decomp.data.batches import Batch, Data
from pyro_decomp.data.checks import blocks, check_finite, column_labels, large_columns
from pyro_decomp.data.rounding import default_type, spoilt_columns
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import (
    DataError,
    ExperimentError,
    ModelError,
    OutOfMemoryError,
    memory,
    one_line,
)
from pyro_decomp.programs.program_state.modules import in_mode
from pyro_decomp.programs.sites import SampleTrace
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.user_code import place_raised, says_all

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
        if says_all(error):
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


def has_lazy(modules: Sequence[nn.Module]) -> bool:
    """Whether a parameter or buffer of these networks has no size yet, as of ``nn.LazyLinear``."""
    return next(_lazy_names(modules), None) is not None


def give_sizes(modules: Sequence[nn.Module], run: Callable[[], Any]) -> None:
    """Run programs once so that lazy networks, as ``nn.LazyLinear``, learn their sizes.

    The networks are in evaluation mode, without gradients. Initial values are drawn from torch's
    global generator, as those of other networks are when they are made.

    Raises:
        ExperimentError: A network is not run by them.
    """
    with in_mode(modules, training=False), torch.no_grad(), _Undeclared():
        run()
    if left := list(_lazy_names(modules)):
        raise ExperimentError(
            f"the size of {', '.join(left)} is not known, as neither the model nor the guide runs "
            "that lazy network: remove it, or make it with its sizes"
        )


def _lazy_names(modules: Sequence[nn.Module]) -> Iterator[str]:
    for module in modules:
        for name, tensor in chain(module.named_parameters(), module.named_buffers()):
            if is_lazy(tensor):
                yield name


class _Undeclared(Messenger):
    """Keeps ``pyro.module`` from registering parameters that have no size yet."""

    def _pyro_param(self, msg: Any) -> None:
        args = msg["args"]
        if len(args) > 1 and is_lazy(args[1]):
            msg["value"] = args[1]
            msg["done"] = True


_NOT_ALLOWED = re.compile(
    r"Expected (?P<kind>parameter|value argument) ?(?P<name>\w*) .*?"
    r"of distribution (?P<family>\w+).* constraint (?P<constraint>.*), but found invalid values",
    re.DOTALL,
)


@contextmanager
def explained(
    experiment: Experiment, modules: Sequence[nn.Module], size: int, *, is_last: bool = False
) -> Iterator[None]:
    """Say in one sentence why programs could not be run on the first batch, or on the last.

    Args:
        experiment: The programs and data.
        modules: The networks that are run inside.
        size: Data of a batch.
        is_last: It is the last batch, which is smaller.

    Raises:
        ModelError: They could not; it names the layer, the type of numbers, the arguments or the
            line of the experiment file that is to be mended, as far as that can be told.
        DataError: The batch has a value that is not finite.
        OutOfMemoryError: A batch takes more memory than is free.
    """
    try:
        yield
    except Exception as error:
        if says_all(error):
            raise
        data = experiment.data
        batch = data[len(data) // size * size :] if is_last else data[:size]
        if "more than 1 value per channel" in str(error):
            raise ModelError(_single_datum(error, modules, size, len(experiment.data))) from error
        if wrong := _wrong_arguments(experiment, batch):
            raise ModelError(wrong) from error
        for index, tensor in enumerate(batch):
            source = "data" if len(batch) == 1 else f"data[{index}]"
            check_finite(
                tensor, source, range(len(data) - len(tensor) if is_last else 0, len(data))
            )
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in batch)
        place = place_raised(error)
        hint = _other_types(modules, batch)
        is_short = memory.is_short(error)
        if is_short:
            hint = "a smaller batch_size takes less"
        elif _NOT_ALLOWED.match(str(error)):
            hint = large_columns(batch[0]) or hint
        raise (OutOfMemoryError if is_short else ModelError)(
            f"the programs cannot be run on {'the last' if is_last else 'a'} batch of shape "
            f"{shapes}: {_reason(error)}"
            f"{f' ({place})' if place else ''}{f'; {hint}' if hint else ''}"
        ) from error


def _reason(error: Exception) -> str:
    """What was wrong with running the programs, without the values that torch adds."""
    if found := _NOT_ALLOWED.match(str(error)):
        what = found["name"] if found["kind"] == "parameter" else "value"
        needed = {
            "Real()": "finite",
            "GreaterThan(lower_bound=0.0)": "positive and finite, as softplus(h) + 1e-3 is",
        }.get(found["constraint"], f"in {found['constraint']}")
        return f"expected the {what} of a {found['family']} to be {needed}"
    return one_line(error)


def _wrong_arguments(experiment: Experiment, batch: Batch) -> str:
    """Say which program does not take as many arguments as there are tensors, if one does not."""
    for role, program in (("model", experiment.model), ("guide", experiment.guide)):
        try:
            signature = inspect.signature(program)
        except (TypeError, ValueError):  # it has none that can be seen
            continue
        try:
            signature.bind(*batch)
        except TypeError as error:
            signature = signature.replace(return_annotation=inspect.Signature.empty)
            return (
                f"the data are {len(batch)} tensor{'' if len(batch) == 1 else 's'}, with which the "
                f"{role}{signature} cannot be called ({error}): expected as many arguments"
            )
    return ""


def _other_types(modules: Sequence[nn.Module], batch: Batch) -> str:
    """Say what to do about weights of another type than the data's, if there are any."""
    weights = {p.dtype for module in modules for p in module.parameters() if p.is_floating_point()}
    others = weights - {tensor.dtype for tensor in batch} - {torch.get_default_dtype()}
    if not others:
        return ""
    named, own = (
        ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))
        for types in (others, {batch[0].dtype})
    )
    return f"networks are {named} and the data {own}: make them the same, as network.float() does"


def _single_datum(error: Exception, modules: Sequence[nn.Module], size: int, num_data: int) -> str:
    """Say which batch normalisation has no variance, and what batch size leaves no datum over."""
    layer = _last_layer(error.__traceback__)
    names = [name for m in modules for name, part in m.named_modules() if part is layer]
    called = f"{names[0]!r} ({type(layer).__name__})" if names else "of the programs"
    other = _batch_size_without_rest(size, num_data)
    remedy = f"choose another batch_size, such as {other}" if other else "give more data"
    return (
        f"{num_data} data in batches of {size} leave a batch of 1, over which the batch "
        f"normalisation {called} has no variance: {remedy}, or a normalisation that does not look "
        "across data, such as nn.LayerNorm"
    )


def _batch_size_without_rest(size: int, num_data: int) -> int | None:
    """The nearest batch size that leaves no batch of one."""
    possible = [other for other in range(2, num_data + 1) if num_data % other != 1]
    return min(possible, key=lambda other: abs(other - size), default=None)


def _last_layer(trace: TracebackType | None) -> nn.Module | None:
    found = None
    while trace is not None:
        layer = trace.tb_frame.f_locals.get("self")
        found = layer if isinstance(layer, _NormBase) else found
        trace = trace.tb_next
    return found


def traced(experiment: Experiment, batch: Batch, rows: Tensor, name: str) -> poutine.Trace:
    """The model's trace of a batch of data.

    Raises:
        ModelError: The programs cannot be run on a row, which is named.
    """
    try:
        return _run(experiment, batch)
    except Exception as error:  # programs are the user's, and raise what they like
        if says_all(error) or memory.is_short(error):
            raise
        span: slice = slice(0, len(rows))
        reason: Exception = error
        is_safe = (
            batch[0].device.type == "cpu"
        )  # elsewhere nothing runs after an index out of range
        while is_safe and span.stop - span.start > 1:
            middle = (span.start + span.stop) // 2
            for half in (slice(span.start, middle), slice(middle, span.stop)):
                if found := _failure(experiment, tuple(tensor[half] for tensor in batch)):
                    span, reason = half, found
                    break
            else:  # it is no one row's
                break
        where = f"rows {int(rows[span.start])} to {int(rows[span.stop - 1])}"
        if span.stop - span.start == 1:
            where = f"row {int(rows[span.start])}"
        hint = "" if isinstance(reason, ValueError) else " (are all labels and indices in range?)"
        raise ModelError(
            f"the programs cannot be run on {where} of the {name}: {one_line(reason)}{hint}"
        ) from error


def _run(experiment: Experiment, batch: Batch) -> poutine.Trace:
    guide = SampleTrace()(experiment.guide).get_trace(*batch)
    return SampleTrace()(poutine.replay(experiment.model, trace=guide)).get_trace(*batch)


def _failure(experiment: Experiment, batch: Batch) -> Exception | None:
    try:
        _run(experiment, batch)
    except Exception as error:  # as above
        return error
    return None
