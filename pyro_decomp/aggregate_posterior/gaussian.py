"""Log densities of a mixture of factorised Gaussians, differentiable once."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior import gaussian_operator as operator
from pyro_decomp.aggregate_posterior.estimators import PairWeights


def log_densities(
    z: Float[Tensor, "*k d s"],
    loc: Float[Tensor, "*k d m"],
    scale: Float[Tensor, "*k d m"],
    weights: PairWeights,
    ranges: tuple[slice, ...] = (),
    *,
    split: bool = False,
) -> Float[Tensor, "*k j s"]:
    r"""L_Js = log \sum_m w_sm \prod_{d in J} Normal(z_ds; loc_dm, scale_dm), in nats.

    Differentiable once, by z, loc and scale. With r = (z_s - loc_m)/scale_m and
    v_sm = w_sm Normal_sm / exp(L_s): dL/dz_s = -\sum_m v r/scale, dL/dloc_m = \sum_s v r/scale and
    dL/dscale_m = \sum_s v (r^2 - 1)/scale. Pairs are formed a block at a time, and formed again
    for the gradient. The same inputs on the same number of threads give the same bits.

    Args:
        z: S samples in D dimensions; leading dimensions are mixtures of their own.
        loc: Location of the M components.
        scale: Their scale.
        weights: w_sm; those that set a datum's own encoding apart take S to be M.
        ranges: Sets J of neighbouring dimensions to be scored too, if ``split``.
        split: Whether to score, after the set of all dimensions, each of ``ranges`` and each
            dimension by itself: a row of the result each. If not, there is one row.
    """
    three = [
        weights.other if given is None else given
        for given in (weights.other, weights.own, weights.following)
    ]
    ends = [end for joint in ranges for end in (joint.start, joint.stop)] if split else []
    rows = None if weights.rows is None else weights.rows.detach().to(loc.dtype)
    inputs = (z, loc, scale, rows, three, ends, split)
    call = operator.forward if torch.compiler.is_compiling() else _LogDensities.apply
    scores: Tensor = call(*inputs)
    return scores


class _Gradients(torch.autograd.Function):
    """The gradient, whose own gradient is refused instead of taken to be zero."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        return operator.backward(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError(
            "log q(z) over pairs: expected to be differentiated once, got a gradient of a gradient"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[Any, Any]:
        tensors = operator.members_first(info, in_dims[:6], args[:6])
        return _Gradients.apply(*tensors, *args[6:]), (0, 0, 0)


class _LogDensities(torch.autograd.Function):
    """The operator with its gradient, for ``torch.func.grad`` too, which custom operators lack."""

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return operator.forward(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.weights, ctx.ranges, ctx.split = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with_z = ctx.needs_input_grad[0]
        rest = ctx.weights, ctx.ranges, ctx.split, with_z
        grad_z, *others = _Gradients.apply(*ctx.saved_tensors, grad, *rest)
        return grad_z if with_z else None, *others, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[Tensor, int]:
        tensors = operator.members_first(info, in_dims[:4], args[:4])
        return _LogDensities.apply(*tensors, *args[4:]), 0


torch.library.register_autograd(
    operator.NAME, _LogDensities.backward, setup_context=_LogDensities.setup_context
)
torch.library.register_autograd(operator.BACKWARD, _Gradients.backward)
