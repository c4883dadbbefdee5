"""Log densities of the aggregate posterior as the formulas stand, with B x B x D tensors.

What the package is measured against, and what its gradients are tested against.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Normal


def log_weights(num_data: int, batch_size: int) -> Tensor:
    """The averaged stratified weights as a matrix, ``[B, B]``."""
    n, b = num_data, batch_size
    weights = torch.full((b, b), math.log((n - 1) / (n * (b - 1))))
    return weights.fill_diagonal_(-math.log(n))


def total_correlation(z: Tensor, loc: Tensor, scale: Tensor, num_data: int) -> Tensor:
    """E[log q(z) - sum_d log q(z_d)] by the averaged stratified estimator; all ``[B, D]``."""
    pairs = Normal(loc, scale).log_prob(z[:, None])
    weights = log_weights(num_data, len(z)).to(pairs)
    joint = (pairs.sum(-1) + weights).logsumexp(1)
    marginals = (pairs + weights[..., None]).logsumexp(1)
    return (joint - marginals.sum(-1)).mean()


def inclusive_kl(z: Tensor, loc: Tensor, scale: Tensor, num_data: int) -> Tensor:
    """-E[log q(z)] over samples z of the prior, the part of KL(p || q) that is learned."""
    del num_data
    pairs = Normal(loc, scale).log_prob(z[:, None])
    return math.log(len(loc)) - pairs.sum(-1).logsumexp(1).mean()
