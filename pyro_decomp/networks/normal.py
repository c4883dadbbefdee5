"""The Normal that the last layer of every encoder here is read as."""

import pyro.distributions as dist
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

MIN_SCALE = 1e-6


def normal(
    loc: Float[Tensor, "*batch d"], raw_scale: Float[Tensor, "*batch d"]
) -> dist.TorchDistribution:
    r"""``Normal(loc, scale).to_event(1)`` from two outputs of a network.

    .. math:: \mathrm{scale} = \log(1 + e^r) + 10^{-6}

    The papers' code has this in places and an exponential in others; here every encoder has it.

    Args:
        loc: Location.
        raw_scale: r, any real numbers.
    """
    return dist.Normal(loc, softplus(raw_scale) + MIN_SCALE).to_event(1)
