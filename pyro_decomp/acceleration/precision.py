"""Networks in bfloat16, and all else as it is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

functional = nn.functional

# Round 32-bit numbers that they are given.
_PRODUCTS = {functional.linear, functional.conv1d, functional.conv2d, functional.conv3d}
_PRODUCTS |= {functional.conv_transpose1d, functional.conv_transpose2d}
_PRODUCTS |= {functional.conv_transpose3d}
# Take rounded numbers as they come, and give rounded ones.
_BETWEEN = {functional.batch_norm, functional.relu, functional.leaky_relu, functional.dropout}
_BETWEEN |= {functional.max_pool2d, functional.avg_pool2d, functional.pixel_shuffle}
_BETWEEN |= {torch.relu, torch.tanh, torch.flatten, torch.reshape, torch.unflatten}
_BETWEEN |= {Tensor.relu, Tensor.tanh, Tensor.flatten, Tensor.reshape, Tensor.view}
_BETWEEN |= {Tensor.unflatten, Tensor.permute, Tensor.transpose, Tensor.contiguous}
# Read what a tensor is, such as its shape, and not what is in it.
_BETWEEN |= {Tensor.dim, Tensor.size, Tensor.numel, Tensor.stride, Tensor.is_contiguous}


def in_precision(precision: str) -> AbstractContextManager[object]:
    """Inside, networks multiply 32-bit numbers in this precision.

    With "bfloat16" linear layers and convolutions round inputs and weights to 8 significant bits
    and add products in 32; their results are rounded again, and stay so through common activations,
    normalisation and changes of shape. Whatever else is computed of them, distributions first of
    all, is computed in 32 bits, and so is everything that no network's product comes before. With
    "float32" nothing changes.
    """
    return nullcontext() if precision == "float32" else _Rounded()


class _Rounded(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _BETWEEN or getattr(func, "__name__", "") == "__get__":  # of an attribute
            return func(*args, **kwargs)
        convert = _round if func in _PRODUCTS else _unround
        return func(*map(convert, args), **{name: convert(v) for name, v in kwargs.items()})


def _round(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.bfloat16()
    return value


def _unround(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if type(value) in (list, tuple):
        return type(value)(map(_unround, value))
    return value
