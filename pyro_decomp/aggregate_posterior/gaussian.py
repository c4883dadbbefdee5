"""Log densities of a mixture of factorised Gaussians, differentiable once (internal).

Behind them are operators that are opaque to torch's tools: one node of a traced or compiled graph,
whatever does the work inside, the C code on a CPU or torch's own operations in blocks elsewhere.
Leading dimensions are mixtures of their own, and so are the members that ``vmap`` adds.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior import gaussian_native, gaussian_torch
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

    Returns:
        The log densities, a row for each set J.
    """
    three = [
        weights.other if given is None else given
        for given in (weights.other, weights.own, weights.following)
    ]
    ends = [end for joint in ranges for end in (joint.start, joint.stop)] if split else []
    rows = None if weights.rows is None else weights.rows.detach().to(loc.dtype)
    inputs = (z, loc, scale, rows, three, ends, split)
    call = forward if torch.compiler.is_compiling() else _LogDensities.apply
    scores: Tensor = call(*inputs)
    return scores


class _Gradients(torch.autograd.Function):
    """The gradient, whose own gradient is refused instead of taken to be zero."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        return backward(*inputs)

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
        tensors = _members_first(info, in_dims[:6], args[:6])
        return _Gradients.apply(*tensors, *args[6:]), (0, 0, 0)


class _LogDensities(torch.autograd.Function):
    """The operator with its gradient, for ``torch.func.grad`` too, which custom operators lack."""

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return forward(*inputs)

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
        tensors = _members_first(info, in_dims[:4], args[:4])
        return _LogDensities.apply(*tensors, *args[4:]), 0


def _forward(*arguments: Any) -> Tensor:
    inputs, asked = arguments[:4], arguments[4:]
    code = gaussian_native.compiled(inputs)
    if code is not None:
        return gaussian_native.forward(code, inputs, asked)
    if inputs[0].dim() > 2:
        return torch.stack([_forward(*member, *asked) for member in _by_member(inputs)])
    three, ends, split = asked
    given = inputs[:3], _pair_weights(three, inputs[3])
    if split:
        return gaussian_torch.marginals(*given, _slices(ends))
    return gaussian_torch.joint(*given)


def _backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    inputs, (out, grad), asked, with_z = arguments[:4], arguments[4:6], arguments[6:9], arguments[9]
    code = gaussian_native.compiled(inputs)
    if code is not None:
        return gaussian_native.backward(code, inputs, asked, out, grad, with_z=with_z)
    if inputs[0].dim() > 2:
        members = _by_member(arguments[:6])
        each = zip(*(_backward(*member, *asked, with_z) for member in members), strict=True)
        grad_z, grad_loc, grad_scale = map(torch.stack, each)
        return grad_z, grad_loc, grad_scale
    three, ends, split = asked
    given = inputs[:3], out, grad, _pair_weights(three, inputs[3])
    if split:
        return gaussian_torch.marginals_gradients(*given, ranges=_slices(ends), with_z=with_z)
    return gaussian_torch.joint_gradients(*given, with_z=with_z)


def _by_member(tensors: Sequence[Tensor | None]) -> Iterator[tuple[Tensor | None, ...]]:
    """The tensors of one mixture after the other's."""
    size = next(len(x) for x in tensors if x is not None)
    return zip(*([None] * size if x is None else x for x in tensors), strict=True)


def _pair_weights(three: list[float], rows: Tensor | None) -> PairWeights:
    other, *apart = three
    own, following = (None if weight == other else weight for weight in apart)
    return PairWeights(other, own, following, rows)


def _slices(ends: list[int]) -> tuple[slice, ...]:
    return tuple(map(slice, ends[::2], ends[1::2]))


_ASKED = "float[] weights, int[] ranges, bool split"
NAME = "pyro_decomp::gaussian_log_densities"
BACKWARD = "pyro_decomp::gaussian_log_densities_backward"
torch.library.define(
    NAME, f"(Tensor z, Tensor loc, Tensor scale, Tensor? rows, {_ASKED}) -> Tensor"
)
torch.library.define(
    BACKWARD,
    "(Tensor z, Tensor loc, Tensor scale, Tensor? rows, Tensor out, Tensor grad, "
    f"{_ASKED}, bool with_z)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.impl(NAME, "default", _forward)
torch.library.impl(BACKWARD, "default", _backward)
forward = torch.ops.pyro_decomp.gaussian_log_densities.default
backward = torch.ops.pyro_decomp.gaussian_log_densities_backward.default


@torch.library.register_fake(NAME)
def _(z: Tensor, loc: Tensor, scale: Tensor, *rest: Any) -> Tensor:
    _, _, ranges, split = rest
    num_sets = 1 + len(ranges) // 2 + z.shape[-2] if split else 1
    return z.new_empty(*z.shape[:-2], num_sets, z.shape[-1])


@torch.library.register_fake(BACKWARD)
def _(z: Tensor, loc: Tensor, scale: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    num_samples = z.shape[-1] if rest[-1] else 0
    shapes = (*z.shape[:-1], num_samples), loc.shape, scale.shape
    grad_z, grad_loc, grad_scale = (z.new_empty(shape) for shape in shapes)
    return grad_z, grad_loc, grad_scale


def _members_first(info: Any, in_dims: Sequence[Any], tensors: Sequence[Any]) -> list[Any]:
    """The dimension of ``vmap`` as a leading one; what all members share is not copied."""
    return [
        x
        if x is None
        else x.expand(info.batch_size, *x.shape)
        if dim is None
        else x.movedim(dim, 0)
        for x, dim in zip(tensors, in_dims, strict=True)
    ]


@torch.library.register_vmap(NAME)
def _(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[Tensor, int]:
    return forward(*_members_first(info, in_dims[:4], args[:4]), *args[4:]), 0


@torch.library.register_vmap(BACKWARD)
def _(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
    return backward(*_members_first(info, in_dims[:6], args[:6]), *args[6:]), (0, 0, 0)


torch.library.register_autograd(
    NAME, _LogDensities.backward, setup_context=_LogDensities.setup_context
)
torch.library.register_autograd(BACKWARD, _Gradients.backward)
