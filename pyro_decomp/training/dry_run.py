"""Programs that cannot be run on a batch of the data: why, in one sentence, before training."""

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from pyro_decomp.data.batches import Batch
from pyro_decomp.data.checks import check_finite, large_columns
from pyro_decomp.errors import DecompError, ModelError
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.user_code import one_line, place_raised

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
    """
    try:
        yield
    except DecompError:
        raise
    except Exception as error:
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
        if _NOT_ALLOWED.match(str(error)):
            hint = large_columns(batch[0]) or hint
        raise ModelError(
            f"the programs cannot be run on {'the last' if is_last else 'a'} batch of shape "
            f"{shapes}: {_reason(error)}"
            f"{f' ({place})' if place else ''}{f'; {hint}' if hint else ''}"
        ) from error


def _reason(error: Exception) -> str:
    """What was wrong, without the values that torch adds."""
    if found := _NOT_ALLOWED.match(str(error)):
        what = found["name"] if found["kind"] == "parameter" else "value"
        needed = {
            "Real()": "finite",
            "GreaterThan(lower_bound=0.0)": "positive and finite, as softplus(h) + 1e-3 is",
        }.get(found["constraint"], f"in {found['constraint']}")
        return f"expected the {what} of a {found['family']} to be {needed}"
    return one_line(error)


def _wrong_arguments(experiment: Experiment, batch: Batch) -> str:
    """Which program does not take as many arguments as there are tensors."""
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
    """What to do about weights of another type than the data's."""
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
    """Which batch normalisation has no variance, and what batch size leaves no datum over."""
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
