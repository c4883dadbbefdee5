"""The integral of a mixture's density to a power, by importance sampling (internal)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro.distributions import Categorical, MixtureSameFamily
from torch import Tensor

from pyro_decomp.distributions.annealing.registry import Power, annealed_with_normalizer
from pyro_decomp.errors import ArgumentError


def annealed_components(p: MixtureSameFamily, beta: Power) -> tuple[MixtureSameFamily, Tensor]:
    r"""The mixture of the annealed components, and the log of their total mass.

    .. math:: g(z) \propto \sum_k a_k(z)^\beta, \quad a_k(z) = w_k p_k(z)

    It is close to p^beta: their ratio, up to a constant, lies between 1 and K^(beta - 1).

    Raises:
        ArgumentError: The components' family is not registered, or its annealed density has
            no reparametrised samples.
    """
    f, log_f = annealed_with_normalizer(p.component_distribution, beta)
    if not f.has_rsample:
        raise ArgumentError(
            "expected a mixture of components with reparametrised samples, got "
            f"{type(p.component_distribution).__name__}: register its annealed density with "
            "@register_annealed for a family of your own"
        )
    log_masses = beta * _log_weights(p) + log_f
    return MixtureSameFamily(Categorical(logits=log_masses), f), log_masses.logsumexp(-1)


def log_ratio(p: MixtureSameFamily, beta: Power, z: Tensor) -> Tensor:
    r"""Log of p(z)^beta over the sum of a_k(z)^beta, at points of any leading shape."""
    log_a = _log_weights(p) + p.component_distribution.log_prob(z.unsqueeze(-1 - p.event_dim))
    return beta * log_a.logsumexp(-1) - (beta * log_a).logsumexp(-1)


def log_bound(p: MixtureSameFamily, beta: Power) -> float:
    """The greatest that :func:`log_ratio` can be: max(0, beta - 1) log K."""
    return max(0.0, float(beta) - 1) * math.log(p.component_distribution.batch_shape[-1])


def log_integral(
    p: MixtureSameFamily, beta: Power, num_samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    r"""Log of the integral of p(z)^beta, for every entry of the batch.

    .. math::
        F_\beta = \sum_k w_k^\beta F_{\beta,k} \;
            E_{z \sim f_{\beta,k}} \Big[ \frac{(\sum_j a_j(z))^\beta}{\sum_j a_j(z)^\beta} \Big]

    with f_k the annealed components and F_k their normalisers, both in closed form. The ratio is 1
    wherever one component outweighs the others, so that well separated clusters cost hardly any
    error, in any dimension. The estimate of F_beta is unbiased; of its logarithm it is biased low
    by half the squared standard error. The same noise is drawn for the same seed, which makes it a
    smooth function of the parameters and beta, and torch's random state is left as it was.

    Args:
        p: A mixture whose components can be annealed in closed form.
        beta: The power.
        num_samples: Draws from each annealed component.
        seed: Of the draws.

    Returns:
        The log integral, with gradients, and its standard error, in nats.

    Raises:
        ArgumentError: As for :func:`annealed_components`.
    """
    g, log_mass = annealed_components(p, beta)
    with _seeded(seed, log_mass.device):
        z = g.component_distribution.rsample((num_samples,))
    z = z.movedim(-1 - p.event_dim, 1)  # component drawn from, after the samples
    ratio = log_ratio(p, beta, z)
    shares = g.mixture_distribution.logits.movedim(-1, 0).log_softmax(0)
    by_component = shares + ratio.logsumexp(0) - math.log(num_samples)
    with torch.no_grad():
        spread = ratio.exp().var(0) / num_samples
        variance = ((2 * shares).exp() * spread).sum(0)
        error = variance.sqrt() / by_component.logsumexp(0).exp()
    return log_mass + by_component.logsumexp(0), error


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers of one device from a seed inside, and put its state back."""
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng([] if on_cpu else [device], device_type=device.type):
        if on_cpu:
            torch.default_generator.manual_seed(int(seed))
        else:
            torch.manual_seed(int(seed))
        yield


def _log_weights(p: MixtureSameFamily) -> Tensor:
    return p.mixture_distribution.logits.log_softmax(-1)
