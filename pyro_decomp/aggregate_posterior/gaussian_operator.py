"""The operators behind the densities of a mixture of factorised Gaussians, opaque to torch's tools.

As an operator it is one node of a captured or compiled graph, whatever does the work inside: the
C code on a CPU, torch's own operations in blocks elsewhere. Leading dimensions are mixtures of
their own, and so are the members that ``vmap`` adds.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import gaussian_blocks, gaussian_marginals, gaussian_native
from pyro_decomp.aggregate_posterior.estimators import PairWeights


def _forward(*arguments: Any) -> Tensor:
    inputs, asked = arguments[:4], arguments[4:]
    code = gaussian_native.compiled(inputs)
    if code is not None:
        return gaussian_native.forward(code, inputs, asked)
    if inputs[0].dim() > 2:
        return torch.stack([_forward(*member, *asked) for member in _by_member(inputs)])
    three, ends, split = asked
    given = inputs[:3], _pair_weights(three, inputs[3])
    return (
        gaussian_marginals.forward(*given, _slices(ends))
        if split
        else gaussian_blocks.forward(*given)
    )


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
        return gaussian_marginals.backward(*given, ranges=_slices(ends), with_z=with_z)
    return gaussian_blocks.backward(*given, with_z=with_z)


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


def members_first(info: Any, in_dims: Sequence[Any], tensors: Sequence[Any]) -> list[Any]:
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
    return forward(*members_first(info, in_dims[:4], args[:4]), *args[4:]), 0


@torch.library.register_vmap(BACKWARD)
def _(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
    return backward(*members_first(info, in_dims[:6], args[:6]), *args[6:]), (0, 0, 0)
