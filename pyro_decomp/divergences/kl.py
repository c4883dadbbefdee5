"""Kullback-Leibler divergences between the aggregate posterior and the prior."""

from torch import Tensor

from pyro_decomp.divergences.base import Divergence
from pyro_decomp.errors import ModelError
from pyro_decomp.traces import TracePair


class InclusiveKL(Divergence):
    r"""KL(p(z) || q(z)) in nats, which makes q(z) cover all of the prior.

    .. math:: (1/S) \sum_s log p(z_s) - log q(z_s),  z_s ~ p(z),  q(z) = (1/M) \sum_j q(z|x_j)

    Unbiased when the batch is the whole data set; on a minibatch biased up, since the logarithm
    of an unbiased estimate of q(z_s) is biased low. Mathieu et al. 2019, section 6.2.

    Args:
        num_samples: S, draws from the prior; None for as many as the batch has data.
    """

    def __init__(self, num_samples: int | None = None) -> None:
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1 or None, got {num_samples}")
        self.num_samples = num_samples

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate KL(p || q), in nats.

        Raises:
            ModelError: The prior is learned but its sampler passes no gradients.
        """
        prior = traces.prior
        z, log_pz = prior.draw(self.num_samples)
        if prior.without_gradient:
            names = ", ".join(map(repr, prior.without_gradient))
            raise ModelError(
                f"the prior of {names} is learned but cannot be drawn with gradients, so "
                "KL(p || q) cannot train it: use a family with rsample, fix its parameters, or set "
                "alpha=0"
            )
        return (log_pz - traces.aggregate_posterior.log_prob(z)).mean()
