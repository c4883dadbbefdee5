"""A mixture of factorised Gaussians and its marginals, from one pass over pairs, by torch."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior.blocks import BLOCK, exp_, log_sum_exp, workspace
from pyro_decomp.aggregate_posterior.estimators import PairWeights
from pyro_decomp.aggregate_posterior.gaussian_blocks import Inputs


def forward(
    inputs: Inputs,
    weights: PairWeights,
    ranges: tuple[slice, ...],
) -> Float[Tensor, "j s"]:
    r"""L_Js = log \sum_j w_sj \prod_{d in J} Normal(z_ds; loc_dj, scale_dj) for several J.

    The sets J are all dimensions, each of ``ranges``, and each dimension by itself, a row each.
    """
    joints = (slice(None), *ranges)
    z, loc, scale = inputs
    out = z.new_empty(len(joints) + len(z), z.shape[1])
    for rows, pairs, _ in _blocks(z, loc, scale.reciprocal()):
        for k, joint in enumerate(joints):
            log_sum_exp(_summed(pairs[joint], weights, rows.start, k), out[k, rows])
        log_sum_exp(weights.add_(pairs, rows.start), out[len(joints) :, rows])
    return out.add_(weights.other)


def backward(
    inputs: Inputs,
    out: Float[Tensor, "j s"],
    grad: Float[Tensor, "j s"],
    weights: PairWeights,
    *,
    ranges: tuple[slice, ...],
    with_z: bool,
) -> tuple[Float[Tensor, "d _"], Float[Tensor, "d m"], Float[Tensor, "d m"]]:
    """Gradients by z (of no samples unless ``with_z``), loc and scale.

    Those of :mod:`gaussian_blocks`, with the v_sj of all rows added up before they meet the
    residuals, so that ten marginals cost little more than one joint density.
    """
    joints = (slice(None), *ranges)
    z, loc, scale = inputs
    inverse, log_total = scale.reciprocal(), (out - weights.other)[..., None]
    grad_z = torch.empty_like(z if with_z else z[:, :0])
    grad_loc, grad_scale = torch.zeros_like(loc), torch.zeros_like(loc)
    for rows, pairs, residual in _blocks(z, loc, inverse):
        whole, *parts = [
            exp_(_summed(pairs[joint], weights, rows.start, k).sub_(log_total[k, rows]))
            .mul_(grad[k, rows, None])
            for k, joint in enumerate(joints)
        ]  # fmt: skip
        single = exp_(weights.add_(pairs, rows.start).sub_(log_total[len(joints) :, rows]))
        share = torch.addcmul(whole, single, grad[len(joints) :, rows, None], out=pairs)
        for joint, part in zip(ranges, parts, strict=True):
            share[joint] += part
        grad_scale -= share.sum(1)
        weighted = share.mul_(residual)
        if with_z:
            grad_z[:, rows] = torch.bmm(inverse[:, None], weighted.transpose(1, 2))[:, 0]
        grad_loc += weighted.sum(1)
        grad_scale += weighted.mul_(residual).sum(1)
    return grad_z.neg_(), grad_loc.mul_(inverse), grad_scale.mul_(inverse)


def _blocks(
    z: Tensor, loc: Tensor, inverse: Tensor
) -> Iterator[tuple[slice, Float[Tensor, "d rows m"], Float[Tensor, "d rows m"]]]:
    """Log Normal(z; loc, scale) and (z - loc)/scale for some rows of samples at a time.

    Each block is written over the one before.
    """
    constant = inverse.log().sub_(0.5 * math.log(2 * math.pi))
    height = max(4, BLOCK // loc.numel())  # sums over fewer rows cost more than they add
    for start in range(0, z.shape[1], height):
        rows = slice(start, min(start + height, z.shape[1]))
        shape = torch.Size([len(z), rows.stop - start, loc.shape[1]])
        pairs, residual = (workspace(name, shape, z) for name in ("pairs", "residual"))
        torch.sub(z[:, rows, None], loc[:, None], out=residual).mul_(inverse[:, None])
        torch.addcmul(constant[:, None], residual, residual, value=-0.5, out=pairs)
        yield rows, pairs, residual


def _summed(pairs: Tensor, weights: PairWeights, first: int, k: int) -> Float[Tensor, "rows m"]:
    """The sum over dimensions, weighted, in memory of its own for each k."""
    total = torch.sum(pairs, 0, out=workspace(f"joint {k}", pairs.shape[1:], pairs))
    return weights.add_(total, first)
