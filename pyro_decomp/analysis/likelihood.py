"""The marginal likelihood by importance weighting."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.automatic_guides import has_local_parameters
from pyro_decomp.programs.traces import TracePair

ROW_ELEMENTS = 2**22  # elements of tiled data held at once


def importance_weighted_log_prob(
    elbo: TermsELBO,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: AnyData,
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
        x: Data; several tensors if the programs take several.
        num_samples: K.

    Raises:
        ModelError: The guide has no density, as a Delta.
    """
    arguments.whole(num_samples=num_samples)
    data = Data.of(x)
    copies = min(num_samples, max(1, ROW_ELEMENTS // (len(data) * data.datum_size)))
    if has_local_parameters(guide):
        copies = 1  # the data repeated would be other rows
    rows = max(1, ROW_ELEMENTS // (copies * data.datum_size))
    with torch.no_grad():
        return torch.cat(
            [_block(elbo, model, guide, block, num_samples, copies) for block in data.split(rows)]
        )


def _block(  # noqa: PLR0917
    elbo: TermsELBO,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    batch: Batch,
    num_samples: int,
    copies: int,
) -> Tensor:
    total: Tensor | None = None  # kept in double, as blocks add up
    for done in range(0, num_samples, copies):
        times = min(copies, num_samples - done)
        tiled = [tensor.repeat(times, *[1] * (tensor.dim() - 1)) for tensor in batch]
        pair = elbo.drawn_pair(model, guide, *tiled)
        if reason := pair.why_not_weighted():
            raise ModelError(
                f"{reason}, so that log p(x) cannot be weighted: expected a guide with spread"
            )
        log_weights = _log_weight(pair).view(times, -1)
        found = log_weights.logsumexp(0).double()
        total = found if total is None else total.logaddexp(found)
    assert total is not None
    return (total - math.log(num_samples)).to(log_weights.dtype)


def _log_weight(pair: TracePair) -> Tensor:
    return pair.log_likelihood() + pair.log_prior() - pair.log_posterior()
