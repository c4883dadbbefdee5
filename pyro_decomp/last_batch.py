"""A last batch of a single datum, over which a batch normalisation has no variance."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from pyro_decomp.errors import ModelError


@contextmanager
def batch_norm_named(modules: Sequence[nn.Module], size: int, num_data: int) -> Iterator[None]:
    """Say which layer could not be run on a single datum, and what batch size leaves none over.

    Args:
        modules: The networks that are run inside.
        size: Data of a batch.
        num_data: N, the number of data.

    Raises:
        ModelError: A batch normalisation was given one value a channel in training.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        layer = _last_layer(error.__traceback__)
        names = [name for m in modules for name, part in m.named_modules() if part is layer]
        called = f"{names[0]!r} ({type(layer).__name__})" if names else "of the programs"
        other = _batch_size_without_rest(size, num_data)
        remedy = f"choose another batch_size, such as {other}" if other else "give more data"
        left = f"{num_data} data in batches of {size} leave a batch of 1"
        raise ModelError(
            f"{left}, over which the batch normalisation {called} has no variance: {remedy}, or a "
            "normalisation that does not look across data, such as nn.LayerNorm"
        ) from error


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
