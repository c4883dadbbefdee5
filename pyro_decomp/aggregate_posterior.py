r"""The aggregate posterior q(z) = (1/M) \sum_j q(z|x_j): all that needs pairs of data is here.

Memory grows as M x D, not M x M x D: pairs are formed a block at a time, and formed again on the
way back instead of being kept.
"""

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions import Distribution, Independent, Normal
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.checkpoint import checkpoint

BLOCK = 2**18  # pairs (times event size, for a family without a fast path) held at once


def pairwise_log_prob(qz_x: Distribution, z: Tensor, dim: int = -1) -> Float[Tensor, "s m"]:
    r"""Log q(z_s|x_j) for every sample s and datum j, summed over all other batch dimensions.

    Args:
        qz_x: The encodings; data lie along batch dimension ``dim``, of size M.
        z: Samples, shaped as one draw of ``qz_x`` but with any number S along that dimension.
        dim: The data plate's (negative) batch dimension.

    Returns:
        ``[S, M]``, in nats.
    """
    axis = dim - len(qz_x.event_shape)
    log_prob = qz_x.log_prob(z.movedim(axis, 0).unsqueeze(axis))
    pairs = log_prob.movedim(dim, 1)
    return pairs.sum(tuple(range(2, pairs.dim()))) if pairs.dim() > 2 else pairs


def diagonal_gaussian(
    qz_x: Distribution, dim: int = -1
) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]] | None:
    """Location and scale, ``[M, D]``, of a factorised Gaussian; None for other families."""
    base: Any = qz_x
    while isinstance(base, Independent):
        base = base.base_dist
    if type(base) is not Normal:  # a subclass may have a density of its own
        return None
    shape = qz_x.shape()
    axis = dim - len(qz_x.event_shape)
    return _rows(base.loc.expand(shape), axis), _rows(base.scale.expand(shape), axis)


class AggregatePosterior:
    r"""q(z) = (1/M) \sum_j q(z|x_j), the equal mixture of the encodings of M data.

    Args:
        qz_x: Latent site name to the distribution of its encodings. The sites are taken to be
            independent given the datum.
        dim: The data plate's (negative) batch dimension in each of them.
    """

    def __init__(self, qz_x: Mapping[str, Distribution], dim: int = -1) -> None:
        self.qz_x = dict(qz_x)
        self.dim = dim

    def __len__(self) -> int:
        """The number M of mixture components, one a datum."""
        fn = next(iter(self.qz_x.values()))
        return int(fn.batch_shape[self.dim])

    def log_prob(self, z: Mapping[str, Tensor]) -> Float[Tensor, " s"]:
        r"""Log q(z_s) = logsumexp_j log q(z_s|x_j) - log M for S samples, in nats.

        Exact when the encodings are those of the whole data set. Over a minibatch, q(z_s) is
        unbiased for samples that are independent of the batch, and its logarithm is biased low
        (Jensen).

        Args:
            z: Values of every site, each with S entries along the data dimension.
        """
        gaussians = [diagonal_gaussian(fn, self.dim) for fn in self.qz_x.values()]
        if all(g is not None for g in gaussians):
            locs, scales = zip(*(g for g in gaussians if g is not None), strict=True)
            values = [
                _rows(z[name], self.dim - len(fn.event_shape)) for name, fn in self.qz_x.items()
            ]
            total: Tensor = _GaussianLogSumExp.apply(
                torch.cat(values, -1), torch.cat(locs, -1), torch.cat(scales, -1)
            )
        else:
            total = self._blocked_log_sum_exp(z)
        return total - math.log(len(self))

    def _blocked_log_sum_exp(self, z: Mapping[str, Tensor]) -> Tensor:
        axes = {name: self.dim - len(fn.event_shape) for name, fn in self.qz_x.items()}

        def log_sum_exp(*values: Tensor) -> Tensor:
            pairs = (
                pairwise_log_prob(fn, value, self.dim)
                for fn, value in zip(self.qz_x.values(), values, strict=True)
            )
            return torch.stack(list(pairs)).sum(0).logsumexp(-1)

        num_samples = z[next(iter(axes))].shape[next(iter(axes.values()))]
        event_size = sum(fn.shape().numel() for fn in self.qz_x.values())
        rows = max(1, BLOCK // event_size)
        if rows >= num_samples:
            return log_sum_exp(*(z[name] for name in axes))
        blocks = zip(*(z[name].split(rows, axis) for name, axis in axes.items()), strict=True)
        return torch.cat([checkpoint(log_sum_exp, *block, use_reentrant=False) for block in blocks])


def log_prob_over(parts: Sequence[AggregatePosterior], z: Mapping[str, Tensor]) -> Tensor:
    """Log q(z_s), ``[S]``, of the mixture over the data of several batches, in nats."""
    sizes = [len(part) for part in parts]
    log_probs = [part.log_prob(z) + math.log(n) for part, n in zip(parts, sizes, strict=True)]
    return torch.stack(log_probs).logsumexp(0) - math.log(sum(sizes))


class _GaussianLogSumExp(torch.autograd.Function):
    r"""L_s = log \sum_j \prod_d Normal(z_sd; loc_jd, scale_jd), a block of samples at a time.

    With r = (z_s - loc_j)/scale_j and w_sj = Normal_sj / exp(L_s):
    dL/dz_s = -\sum_j w r/scale, dL/dloc_j = \sum_s w r/scale and
    dL/dscale_j = \sum_s w (r^2 - 1)/scale.
    """

    @staticmethod
    def forward(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        out = torch.empty_like(z[:, 0])
        for rows, pairs, _ in _gaussian_pairs(z, loc, scale):
            largest = pairs.amax(1)
            terms = _exp(pairs.sub_(largest[:, None])).sum(1)
            torch.add(terms.log_(), largest, out=out[rows])
        return out

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, loc, scale, out = ctx.saved_tensors
        loc_t, inverse_t = loc.T.contiguous(), scale.T.reciprocal().contiguous()
        grad_z = torch.empty_like(z)
        grad_loc, grad_scale = torch.zeros_like(loc_t), torch.zeros_like(loc_t)
        for rows, pairs, residual in _gaussian_pairs(z, loc, scale):
            weighted = _workspace("weighted", pairs.shape, pairs)
            weight = _exp(pairs.sub_(out[rows, None])).mul_(grad[rows, None])
            total_weight = weight.sum(0)
            for d in range(z.shape[1]):
                torch.sub(z[rows, d, None], loc_t[d], out=residual).mul_(inverse_t[d])
                torch.mul(weight, residual, out=weighted)
                torch.mv(weighted, inverse_t[d], out=grad_z[:, d][rows]).neg_()
                grad_loc[d] += weighted.sum(0)
                grad_scale[d] += weighted.mul_(residual).sum(0).sub_(total_weight)
        return grad_z, grad_loc.mul_(inverse_t).T, grad_scale.mul_(inverse_t).T


def _gaussian_pairs(
    z: Tensor, loc: Tensor, scale: Tensor
) -> Iterator[tuple[slice, Float[Tensor, "rows m"], Float[Tensor, "rows m"]]]:
    """Sum over dimensions of log Normal(z_s; loc_j, scale_j), a block of rows at a time.

    Each block is written over the one before. With it comes free space of the same shape.
    """
    loc_t, inverse_t = loc.T.contiguous(), scale.T.reciprocal().contiguous()
    constant = inverse_t.log().sum(0).sub_(0.5 * len(loc_t) * math.log(2 * math.pi))
    height = min(max(1, BLOCK // len(loc)), len(z))
    for start in range(0, len(z), height):
        rows = slice(start, min(start + height, len(z)))
        shape = torch.Size([rows.stop - start, len(loc)])
        pairs, residual = (_workspace(name, shape, z) for name in ("pairs", "residual"))
        pairs.copy_(constant.expand_as(pairs))
        for d in range(len(loc_t)):
            torch.sub(z[rows, d, None], loc_t[d], out=residual).mul_(inverse_t[d])
            pairs.addcmul_(residual, residual, value=-0.5)
        yield rows, pairs, residual


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


def _exp(x: Tensor) -> Tensor:
    """Exp in place for x <= 0, floored far below rounding: denormal numbers are slow."""
    return x.clamp_min_(-60.0 if x.dtype == torch.float32 else -600.0).exp_()


def _rows(x: Tensor, axis: int) -> Tensor:
    """One row a datum: ``axis`` first, all else flattened."""
    moved = x.movedim(axis, 0)
    return moved.reshape(len(moved), -1)
