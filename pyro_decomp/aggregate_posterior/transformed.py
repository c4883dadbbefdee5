"""Pairs of samples and encodings where the encodings are flows."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from pyro.distributions import Distribution
from torch import Tensor

from pyro_decomp.distributions.densities import without_validation
from pyro_decomp.distributions.unwrapping import stripped
from pyro_decomp.errors import ModelError


def is_flow(fn: Distribution) -> bool:
    """Whether a distribution is another one pushed through transforms."""
    return type(stripped(fn)).__name__ in {"TransformedDistribution", "NormalizingFlow"}


def log_prob_of_pairs(fn: Distribution, z: Float[Tensor, "s ..."]) -> Float[Tensor, "s ..."]:
    """Log density of every sample under every encoding of a flow.

    A flow may hold what it knows of the data in tensors of its own, that do not broadcast. What is
    tried, in this order: broadcasting, ``torch.func.vmap`` over samples, and one sample after the
    other.

    Args:
        fn: The encodings, data along one of the batch dimensions.
        z: Samples along the first axis, then the shape of ``fn``'s draws, 1 for the data.

    Raises:
        ModelError: The flow's density is known only at its own draws.
    """
    unchecked = without_validation(fn)
    shape = fn.shape()

    def one(sample: Tensor) -> Tensor:
        log_prob: Tensor = unchecked.log_prob(sample.expand(shape))
        return log_prob

    ways: tuple[Callable[[Tensor], Tensor], ...] = (
        unchecked.log_prob,
        torch.func.vmap(one),
        lambda z: torch.stack([one(sample) for sample in z]),
    )
    reason = ""
    for way in ways:
        try:
            return way(z)
        except (RuntimeError, IndexError, ValueError, KeyError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
    raise ModelError(
        "the guide's flow has no density at samples of other data, which terms of the aggregate "
        f"posterior need ({reason}): expected transforms that can be inverted, such as "
        "affine_autoregressive or spline_coupling; or use a divergence of samples such as MMD()"
    )
