"""What is known of a guide's family: parameters, marginals, densities of flows (internal)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from pyro.distributions import (
    Distribution,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)
from torch import Tensor

from pyro_decomp.distributions.densities import is_factorised, stripped, without_validation
from pyro_decomp.errors import ModelError


def diagonal_gaussian(
    qz_x: Distribution, dim: int = -1
) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]] | None:
    """Location and scale, ``[M, D]``, of a factorised Gaussian; None for other families.

    Returns:
        Location and scale; None for other families.
    """
    base = stripped(qz_x)
    if type(base) is not Normal:  # a subclass may have a density of its own
        return None
    shape = qz_x.shape()
    axis = dim - len(qz_x.event_shape)
    return data_rows(base.loc.expand(shape), axis), data_rows(base.scale.expand(shape), axis)


def marginals(name: str, qz_x: Distribution) -> Distribution:
    """The distribution of each dimension by itself, as a batch shaped as a draw of ``qz_x``.

    Args:
        name: The site, for the error.
        qz_x: Its distribution: factorised, or Normal with any covariance.

    Returns:
        The distribution of single dimensions.

    Raises:
        ModelError: The family's marginals are not known.
    """
    if is_factorised(qz_x):
        return stripped(qz_x)
    base = stripped(qz_x)
    if isinstance(base, MultivariateNormal | LowRankMultivariateNormal):
        return Normal(base.mean, base.variance.sqrt())
    raise ModelError(
        f"site '{name}': the marginals of {type(base).__name__} over single dimensions are not "
        "known: expected a guide whose dimensions are independent given the datum, such as "
        "Normal(...).to_event(1), or a MultivariateNormal"
    )


def data_rows(x: Tensor, axis: int) -> Float[Tensor, "m d"]:
    """Lay a tensor out with one row a datum: ``axis`` first, all else flattened."""
    moved = x.movedim(axis, 0)
    return moved.reshape(len(moved), -1)


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

    Returns:
        The log densities, in nats, samples along the first axis.

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
