"""The objective that holds the KL at a capacity."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.elbo.base import TermsELBO


class CapacityELBO(TermsELBO):
    r"""The capacity objective: the KL is held at C nats, whichever side it comes from.

    .. math::
        L_{gamma,C} = E_{q(z|x)}[log p(x|z)] - gamma |E_x KL(q(z|x) || p(z)) - C|

    Burgess et al., "Understanding disentangling in beta-VAE", 2018, section 5
    (https://arxiv.org/abs/1804.03599). The absolute value is that of the batch's *mean* KL, so that
    data may differ in how many nats they take; the mean of the data's absolute values would hold
    every datum at C. C is raised while training:
    ``Experiment(schedules={"capacity": Capacity(25.0, until=100_000)})``.

    With ``capacity=0`` it is the beta-VAE of weight ``gamma``, and with ``gamma=1`` too the plain
    ELBO, as long as the mean KL is not negative, which the closed form never is. Where the KL is
    above C, its gradient is the beta-VAE's of weight ``gamma``; below C, that of weight ``-gamma``.

    Terms: those of :class:`TermsELBO`, whose ``kl`` has weight 0 here, and ``capacity_gap``,
    abs(KL - C) in nats per datum. The gap of a minibatch is biased up as an estimate of the whole
    data set's (Jensen), the more the nearer the KL is to C; with several particles it is the mean
    of each one's gap.

    Args:
        gamma: Weight of the gap, at least 0.
        capacity: C, in nats per datum, at least 0; the default is where the paper's schedule ends.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ArgumentError: A weight is negative or not a number.

    Example:
        >>> CapacityELBO(gamma=100.0).weights()["capacity_gap"]
        -100.0
    """

    of_kl = frozenset({"kl", "capacity_gap"})

    def __init__(
        self,
        gamma: float | Tensor = 1000.0,
        capacity: float | Tensor = 25.0,
        *,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", gamma=gamma, capacity=capacity)
        self.gamma = gamma
        self.capacity = capacity

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, 0, -1 and -gamma."""
        return super().weights() | {"kl": 0.0, "capacity_gap": -self.gamma}

    def of_means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the distance of the mean KL, over batch and particles, from the capacity."""
        return terms | {"capacity_gap": (terms["kl"] - self.capacity).abs()}
