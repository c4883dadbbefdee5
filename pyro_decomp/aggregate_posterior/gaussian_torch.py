"""A mixture of factorised Gaussians over pairs, in blocks of samples, by torch (internal)."""

import math
import threading
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior.estimators import PairWeights

BLOCK = 2**18  # pairs (times dimensions, where these are formed together) held at once

Inputs = tuple[Float[Tensor, "d s"], Float[Tensor, "d m"], Float[Tensor, "d m"]]


def joint(
    inputs: Inputs,
    weights: PairWeights,
) -> Float[Tensor, "1 s"]:
    r"""L_s = log \sum_j w_sj \prod_d Normal(z_ds; loc_dj, scale_dj)."""
    z, loc, scale = inputs
    out = torch.empty_like(z[0])
    for rows, pairs, _ in _joint_blocks(z, loc, scale.reciprocal(), weights):
        _log_sum_exp(pairs, out[rows])
    return out.add_(weights.other)[None]


def joint_gradients(
    inputs: Inputs,
    out: Float[Tensor, "1 s"],
    grad: Float[Tensor, "1 s"],
    weights: PairWeights,
    *,
    with_z: bool,
) -> tuple[Float[Tensor, "d _"], Float[Tensor, "d m"], Float[Tensor, "d m"]]:
    r"""Gradients of :func:`joint` by z (of no samples unless ``with_z``), loc and scale.

    With r = (z_s - loc_j)/scale_j and v_sj = w_sj Normal_sj / exp(L_s):
    dL/dz_s = -\sum_j v r/scale, dL/dloc_j = \sum_s v r/scale and
    dL/dscale_j = \sum_s v (r^2 - 1)/scale.
    """
    z, loc, scale = inputs
    inverse, log_total = scale.reciprocal(), out[0] - weights.other
    grad_z = torch.empty_like(z if with_z else z[:, :0])
    grad_loc, grad_scale = torch.zeros_like(loc), torch.zeros_like(loc)
    for rows, pairs, residual in _joint_blocks(z, loc, inverse, weights):
        weighted = _workspace("weighted", pairs.shape, pairs)
        share = _exp_(pairs.sub_(log_total[rows, None])).mul_(grad[0, rows, None])
        total_share = share.sum(0)
        for d in range(len(z)):
            torch.sub(z[d, rows, None], loc[d], out=residual).mul_(inverse[d])
            torch.mul(share, residual, out=weighted)
            if with_z:
                torch.mv(weighted, inverse[d], out=grad_z[d, rows])
            grad_loc[d] += weighted.sum(0)
            grad_scale[d] += weighted.mul_(residual).sum(0).sub_(total_share)
    return grad_z.neg_(), grad_loc.mul_(inverse), grad_scale.mul_(inverse)


def _joint_blocks(
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
        pairs, residual = (_workspace(name, shape, z) for name in ("pairs", "residual"))
        pairs.copy_(constant.expand_as(pairs))
        for d in range(len(loc)):
            torch.sub(z[d, rows, None], loc[d], out=residual).mul_(inverse[d])
            pairs.addcmul_(residual, residual, value=-0.5)
        yield rows, weights.add_(pairs, start), residual


def marginals(
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
    for rows, pairs, _ in _marginal_blocks(z, loc, scale.reciprocal()):
        for k, joint in enumerate(joints):
            _log_sum_exp(_summed(pairs[joint], weights, rows.start, k), out[k, rows])
        _log_sum_exp(weights.add_(pairs, rows.start), out[len(joints) :, rows])
    return out.add_(weights.other)


def marginals_gradients(
    inputs: Inputs,
    out: Float[Tensor, "j s"],
    grad: Float[Tensor, "j s"],
    weights: PairWeights,
    *,
    ranges: tuple[slice, ...],
    with_z: bool,
) -> tuple[Float[Tensor, "d _"], Float[Tensor, "d m"], Float[Tensor, "d m"]]:
    """Gradients of :func:`marginals` by z (of no samples unless ``with_z``), loc and scale.

    They are those of :func:`joint_gradients`, with the v_sj of all rows added up before they meet
    the residuals, so that ten marginals cost little more than one joint density.
    """
    joints = (slice(None), *ranges)
    z, loc, scale = inputs
    inverse, log_total = scale.reciprocal(), (out - weights.other)[..., None]
    grad_z = torch.empty_like(z if with_z else z[:, :0])
    grad_loc, grad_scale = torch.zeros_like(loc), torch.zeros_like(loc)
    for rows, pairs, residual in _marginal_blocks(z, loc, inverse):
        whole, *parts = [
            _exp_(_summed(pairs[joint], weights, rows.start, k).sub_(log_total[k, rows]))
            .mul_(grad[k, rows, None])
            for k, joint in enumerate(joints)
        ]  # fmt: skip
        single = _exp_(weights.add_(pairs, rows.start).sub_(log_total[len(joints) :, rows]))
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


def _marginal_blocks(
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
        pairs, residual = (_workspace(name, shape, z) for name in ("pairs", "residual"))
        torch.sub(z[:, rows, None], loc[:, None], out=residual).mul_(inverse[:, None])
        torch.addcmul(constant[:, None], residual, residual, value=-0.5, out=pairs)
        yield rows, pairs, residual


def _summed(pairs: Tensor, weights: PairWeights, first: int, k: int) -> Float[Tensor, "rows m"]:
    """The sum over dimensions, weighted, in memory of its own for each k."""
    total = torch.sum(pairs, 0, out=_workspace(f"joint {k}", pairs.shape[1:], pairs))
    return weights.add_(total, first)


def _workspace(name: str, shape: torch.Size, like: Tensor) -> Tensor:
    """Uninitialised memory that the next call of the same name gives again.

    Fresh memory for every block would cost more in page faults than the arithmetic on it. At most
    a block of each name, type and device is kept, a thread.
    """
    kept: dict[str, Tensor] = _kept.__dict__
    key = f"{name} {like.dtype} {like.device}"
    if key not in kept or kept[key].numel() < shape.numel():
        with torch.inference_mode(False):  # else training could not write to it later
            kept[key] = torch.empty(shape.numel(), dtype=like.dtype, device=like.device)
    return kept[key][: shape.numel()].view(shape)


_kept = threading.local()


def _exp_(x: Tensor) -> Tensor:
    """Take exp of x <= 0 in place, floored far below rounding: denormal numbers are slow."""
    return x.clamp_min_(-60.0 if x.dtype == torch.float32 else -600.0).exp_()


def _log_sum_exp(pairs: Tensor, out: Tensor) -> None:
    """Write log sum exp over the last dimension to ``out``; overwrites ``pairs``."""
    largest = pairs.amax(-1)
    torch.sum(_exp_(pairs.sub_(largest[..., None])), -1, out=out).log_().add_(largest)
