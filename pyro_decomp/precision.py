"""Products of networks in bfloat16, and all else as it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_PRODUCTS = frozenset(
    {
        nn.functional.linear,
        nn.functional.conv1d,
        nn.functional.conv2d,
        nn.functional.conv3d,
        nn.functional.conv_transpose1d,
        nn.functional.conv_transpose2d,
        nn.functional.conv_transpose3d,
    }
)


@contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Inside, linear layers and convolutions multiply 32-bit numbers in this precision.

    With "bfloat16" their inputs and weights are rounded to 8 significant bits, products are added
    in 32 bits, and the result is 32-bit again. Parameters, normalisation, activations, densities
    and everything over pairs of data stay in 32 bits. With "float32" nothing changes.
    """
    if precision == "float32":
        yield
        return
    with _Products():
        yield


class _Products(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS:
            return func(*args, **kwargs)
        kwargs = {name: _rounded(value) for name, value in kwargs.items()}
        result = func(*map(_rounded, args), **kwargs)
        return result.float() if result.dtype == torch.bfloat16 else result


def _rounded(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.bfloat16()
    return value
