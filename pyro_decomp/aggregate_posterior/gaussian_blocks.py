"""A mixture of factorised Gaussians, scored over pairs a block of samples at a time, by torch."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior.blocks import BLOCK, exp_, log_sum_exp, workspace
from pyro_decomp.aggregate_posterior.estimators import PairWeights

Inputs = tuple[Float[Tensor, "d s"], Float[Tensor, "d m"], Float[Tensor, "d m"]]


def forward(
    inputs: Inputs,
    weights: PairWeights,
) -> Float[Tensor, "1 s"]:
    r"""L_s = log \sum_j w_sj \prod_d Normal(z_ds; loc_dj, scale_dj)."""
    z, loc, scale = inputs
    out = torch.empty_like(z[0])
    for rows, pairs, _ in _blocks(z, loc, scale.reciprocal(), weights):
        log_sum_exp(pairs, out[rows])
    return out.add_(weights.other)[None]


def backward(
    inputs: Inputs,
    out: Float[Tensor, "1 s"],
    grad: Float[Tensor, "1 s"],
    weights: PairWeights,
    *,
    with_z: bool,
) -> tuple[Float[Tensor, "d _"], Float[Tensor, "d m"], Float[Tensor, "d m"]]:
    r"""Gradients by z (of no samples unless ``with_z``), loc and scale.

    With r = (z_s - loc_j)/scale_j and v_sj = w_sj Normal_sj / exp(L_s):
    dL/dz_s = -\sum_j v r/scale, dL/dloc_j = \sum_s v r/scale and
    dL/dscale_j = \sum_s v (r^2 - 1)/scale.
    """
    z, loc, scale = inputs
    inverse, log_total = scale.reciprocal(), out[0] - weights.other
    grad_z = torch.empty_like(z if with_z else z[:, :0])
    grad_loc, grad_scale = torch.zeros_like(loc), torch.zeros_like(loc)
    for rows, pairs, residual in _blocks(z, loc, inverse, weights):
        weighted = workspace("weighted", pairs.shape, pairs)
        share = exp_(pairs.sub_(log_total[rows, None])).mul_(grad[0, rows, None])
        total_share = share.sum(0)
        for d in range(len(z)):
            torch.sub(z[d, rows, None], loc[d], out=residual).mul_(inverse[d])
            torch.mul(share, residual, out=weighted)
            if with_z:
                torch.mv(weighted, inverse[d], out=grad_z[d, rows])
            grad_loc[d] += weighted.sum(0)
            grad_scale[d] += weighted.mul_(residual).sum(0).sub_(total_share)
    return grad_z.neg_(), grad_loc.mul_(inverse), grad_scale.mul_(inverse)


def _blocks(
    z: Tensor, loc: Tensor, inverse: Tensor, weights: PairWeights
) -> Iterator[tuple[slice, Float[Tensor, "rows m"], Float[Tensor, "rows m"]]]:
    """Weighted log densities, summed over dimensions, for some rows of samples at a time.

    Each block is written over the one before. With it comes free space of the same shape.
    """
    constant = inverse.log().sum(0).sub_(0.5 * len(loc) * math.log(2 * math.pi))
    height = max(1, BLOCK // loc.shape[1])
    for start in range(0, z.shape[1], height):
        rows = slice(start, min(start + height, z.shape[1]))
        shape = torch.Size([rows.stop - start, loc.shape[1]])
        pairs, residual = (workspace(name, shape, z) for name in ("pairs", "residual"))
        pairs.copy_(constant.expand_as(pairs))
        for d in range(len(loc)):
            torch.sub(z[d, rows, None], loc[d], out=residual).mul_(inverse[d])
            pairs.addcmul_(residual, residual, value=-0.5)
        yield rows, weights.add_(pairs, start), residual
