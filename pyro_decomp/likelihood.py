"""The marginal likelihood by importance weighting."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.elbo import TermsELBO
from pyro_decomp.traces import TracePair

ROW_ELEMENTS = 2**22  # elements of tiled data held at once


def importance_weighted_log_prob(
    elbo: TermsELBO,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Float[Tensor, "n ..."],
    num_samples: int = 1000,
) -> Float[Tensor, " n"]:
    r"""Log (1/K) \sum_k p(x, z_k) / q(z_k|x) with z_k ~ q(z|x), per datum, in nats.

    A lower bound on log p(x) in expectation, tighter as K grows (Burda, Grosse & Salakhutdinov,
    "Importance Weighted Autoencoders", 2016, eq. 8, https://arxiv.org/abs/1509.00519). Latent sites
    outside the data plate are drawn from the guide and not weighted.

    Args:
        elbo: The objective whose tracing and checks are used.
        model: The generative model.
        guide: The guide, the proposal.
        x: Data.
        num_samples: K.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}")
    copies = min(num_samples, max(1, ROW_ELEMENTS // x.numel()))
    rows = max(1, ROW_ELEMENTS // (copies * x[0].numel()))
    with torch.no_grad():
        return torch.cat(
            [_block(elbo, model, guide, block, num_samples, copies) for block in x.split(rows)]
        )


def _block(  # noqa: PLR0917
    elbo: TermsELBO,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    num_samples: int,
    copies: int,
) -> Tensor:
    log_weights = []
    for done in range(0, num_samples, copies):
        tiled = x.repeat(min(copies, num_samples - done), *[1] * (x.dim() - 1))
        pair = next(iter(elbo.trace_pairs(model, guide, tiled)))
        log_weights.append(_log_weight(pair).view(-1, len(x)))
    return torch.cat(log_weights).logsumexp(0) - math.log(num_samples)


def _log_weight(pair: TracePair) -> Tensor:
    total = torch.zeros(())
    for name in (*pair.observed, *pair.latents):
        log_prob = pair.log_prob(name)
        if log_prob.dim():
            total = total + log_prob
    for name in (*pair.latents, *pair.auxiliaries):
        total = total - pair.log_prob(name, guide=True)
    return total
