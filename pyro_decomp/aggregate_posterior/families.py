"""What is known of a guide's family: its parameters as rows, its dimensions one by one."""

from jaxtyping import Float
from pyro.distributions import (
    Distribution,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)
from torch import Tensor

from pyro_decomp.distributions.unwrapping import is_factorised, stripped
from pyro_decomp.errors import ModelError


def diagonal_gaussian(
    qz_x: Distribution, dim: int = -1
) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]] | None:
    """Location and scale, ``[M, D]``, of a factorised Gaussian; None for other families."""
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
    """One row a datum: ``axis`` first, all else flattened."""
    moved = x.movedim(axis, 0)
    return moved.reshape(len(moved), -1)
