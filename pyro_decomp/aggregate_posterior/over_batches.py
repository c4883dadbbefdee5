"""The aggregate posterior of data that were encoded a batch at a time."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior.mixture import AggregatePosterior
from pyro_decomp.aggregate_posterior.structured import StructuredPosterior


def log_prob_over(
    parts: Sequence[AggregatePosterior | StructuredPosterior], z: Mapping[str, Tensor]
) -> Tensor:
    """Log q(z_s), ``[S]``, of the mixture over the data of several batches, in nats."""
    sizes = [part.mass for part in parts if part.mass]
    parts = [part for part in parts if part.mass]
    log_probs = [part.log_prob(z) + math.log(n) for part, n in zip(parts, sizes, strict=True)]
    return torch.stack(log_probs).logsumexp(0) - math.log(sum(sizes))
