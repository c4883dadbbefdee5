"""U-statistics of a kernel on lines, on a grid or by pairs, as values tell (internal).

Inside transforms that hide values (``vmap``, ``make_fx``, ``torch.compile``) an operator stands for
the whole, value and gradients, and decides when it is run.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyro_decomp.divergences import nufft, pairs
from pyro_decomp.divergences.kernels import AnyKernel, Kernel, fitted
from pyro_decomp.divergences.pairs import wanted


def u_statistic(
    x: Float[Tensor, "d b 1"],
    y: Float[Tensor, "d s 1"],
    kernel: AnyKernel,
    *,
    is_paired: bool = False,
) -> Float[Tensor, ""]:
    """Compute :func:`pyro_decomp.divergences.pairs.u_statistic` of D lines, summed over them."""
    radial = fitted(kernel, x, y)
    try:
        nodes = nufft.grid_for(x, y, radial)
    except nufft.HiddenValuesError:
        if isinstance(kernel, Kernel):
            inputs = (x[..., 0], y[..., 0], _handle(kernel), wanted(x), wanted(y), is_paired)
            call = _op if torch.compiler.is_compiling() else _LineUStatistic.apply
            value: Tensor = call(*inputs)[0]
            return value
        nodes = None
    if nodes is None:
        return pairs.u_statistic(x, y, radial, is_paired=is_paired)
    return nufft.u_statistic(nodes, x, y, radial, is_paired=is_paired)


_KERNELS: list[Kernel] = []  # of captured graphs, which name a kernel by its place here


def _handle(kernel: Kernel) -> int:
    """A number that stands for a kernel as long as this process lives; equal ones share it."""
    for handle, known in enumerate(_KERNELS):
        if known is kernel or known == kernel:
            return handle
    _KERNELS.append(kernel)
    return len(_KERNELS) - 1


def _forward(  # noqa: PLR0917
    x: Tensor, y: Tensor, kernel: int, wants_x: bool, wants_y: bool, is_paired: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    wants = (wants_x, wants_y)
    if x.dim() > 2:
        each = [_forward(*member, kernel, *wants, is_paired) for member in zip(x, y, strict=True)]
        value, grad_x, grad_y = map(torch.stack, zip(*each, strict=True))
        return value, grad_x, grad_y
    points = x[..., None], y[..., None]
    radial = _KERNELS[kernel].fitted(*points)
    nodes = nufft.grid_for(*points, radial)
    if nodes is None:
        value, *grads = pairs.value_and_gradients(*points, radial, wants, is_paired)
    else:
        value, *grads = nufft.value_and_gradients(*points, radial, wants, nodes, is_paired)
    grad_x, grad_y = (x.new_empty(len(x), 0) if grad is None else grad[..., 0] for grad in grads)
    return value, grad_x, grad_y


_NAME = "pyro_decomp::line_u_statistic"
torch.library.define(
    _NAME,
    "(Tensor x, Tensor y, int kernel, bool wants_x, bool wants_y, bool is_paired=False)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.impl(_NAME, "default", _forward)
_op = torch.ops.pyro_decomp.line_u_statistic.default


@torch.library.register_fake(_NAME)
def _(  # noqa: PLR0917
    x: Tensor, y: Tensor, kernel: int, wants_x: bool, wants_y: bool, is_paired: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape[:-2]),
        x.new_empty(x.shape if wants_x else (*x.shape[:-1], 0)),
        y.new_empty(y.shape if wants_y else (*y.shape[:-1], 0)),
    )


class _LineUStatistic(torch.autograd.Function):
    """The operator with its gradient, for ``torch.func.grad`` too, which custom operators lack."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _op(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.wants = inputs[3:5]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        kept = zip(ctx.saved_tensors, ctx.wants, strict=True)
        scaled = [grad[..., None, None] * each if want else None for each, want in kept]
        return *scaled, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[Any, Any]:
        return _LineUStatistic.apply(*_members_first(info, in_dims, args)), (0, 0, 0)


@torch.library.register_vmap(_NAME)
def _(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[Any, Any]:
    return _op(*_members_first(info, in_dims, args)), (0, 0, 0)


def _members_first(info: Any, in_dims: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    tensors = [
        z.expand(info.batch_size, *z.shape) if dim is None else z.movedim(dim, 0)
        for z, dim in zip(args[:2], in_dims[:2], strict=True)
    ]
    return [*tensors, *args[2:]]


torch.library.register_autograd(
    _NAME, _LineUStatistic.backward, setup_context=_LineUStatistic.setup_context
)
