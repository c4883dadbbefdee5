"""Models whose prior is given something of the datum, as a table, beside the densities by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

N, K = 5, 2
LOCS = torch.tensor([[1.0, -0.4], [-0.8, 0.6], [0.1, 1.2]], dtype=torch.double)
SHARES = torch.tensor([0.5, 0.2, 0.3], dtype=torch.double)
WEIGHT = torch.tensor([[0.9, -0.7]], dtype=torch.double)
SCALES = torch.tensor([0.3, 1.2], dtype=torch.double)
U = torch.tensor([-1.3, -0.2, 0.4, 0.9, 2.1], dtype=torch.double)[:, None]
X = torch.tensor(
    [[0.3, -1.0], [1.2, 0.4], [-0.5, 0.8], [0.0, 0.1], [-1.4, -0.6]], dtype=torch.double
)

Codes = Mapping[str, Tensor]


@dataclass(frozen=True)
class Conditional:
    """A model's latent sites given u, and what is known of them.

    Attributes:
        prior: Draws the latent sites, given ``u``, ``[b, 1]``.
        guide: Draws them given ``x``, otherwise than the prior does.
        log_pz: Log p(z_s|u_j) by hand, ``[s, j]``, of codes with s along the first axis.
        log_qz: Log q(z_s|x_j) by hand.
    """

    prior: Callable[[Tensor], Any]
    guide: Callable[[Tensor], Any]
    log_pz: Callable[[Codes, Tensor], Tensor]
    log_qz: Callable[[Codes, Tensor], Tensor]

    def model(self, x: Tensor, u: Tensor) -> None:
        """The prior, and a likelihood."""
        with pyro.plate("data", N, subsample=x):
            z = self.prior(u)
            pyro.sample("x", dist.Normal(z, 0.8).to_event(1), obs=x)

    def encoder(self, x: Tensor, u: Tensor) -> None:
        """The guide."""
        with pyro.plate("data", N, subsample=x):
            self.guide(x)


def normal(loc: Tensor, scale: float = 0.7) -> dist.TorchDistribution:
    return dist.Normal(loc, scale).to_event(1)


def one_site(family: Callable[[Tensor], dist.TorchDistribution]) -> Conditional:
    """Z of a family, given u; the guide is Normal about x."""
    return Conditional(
        lambda u: pyro.sample("z", family(u)),
        lambda x: pyro.sample("z", normal(0.5 * x, 0.6)),
        lambda z, u: family(u).log_prob(z["z"][:, None]),
        lambda z, x: normal(0.5 * x, 0.6).log_prob(z["z"][:, None]),
    )


def mixture(u: Tensor) -> dist.TorchDistribution:
    components = normal(LOCS + u[:, None] * WEIGHT, 0.5)
    return dist.MixtureSameFamily(dist.Categorical(SHARES.expand(len(u), 3)), components)


def shares(u: Tensor) -> dist.Categorical:
    return dist.Categorical(logits=SHARES.log() + u * torch.tensor([1.0, -1.0, 0.5]).double())


def enumerated() -> Conditional:
    """A component whose chances depend on u, and a code about its place, which does too."""

    def prior(u: Tensor) -> Tensor:
        c = pyro.sample("c", shares(u))
        return pyro.sample("z", normal(LOCS[c] + u * WEIGHT, 0.5))

    def log_pz(z: Codes, u: Tensor) -> Tensor:
        places = LOCS[:, None, None] + u * WEIGHT
        each = normal(places, 0.5).log_prob(z["z"][:, None])
        return (each + shares(u).logits.T[:, None]).logsumexp(0)

    plain = one_site(normal)
    return Conditional(prior, plain.guide, log_pz, plain.log_qz)


def spike_and_slab() -> Conditional:
    """A spike and a slab for each dimension, in a plate, whose chances depend on u."""

    def chance(u: Tensor) -> Tensor:
        return (u * WEIGHT).sigmoid()  # b, K

    def prior(u: Tensor) -> Tensor:
        with pyro.plate("dimensions", K, dim=-2):
            is_spike = pyro.sample("is_spike", dist.Bernoulli(chance(u).T))
            z = pyro.sample("z", dist.Normal(0.0, torch.where(is_spike > 0, *SCALES)))
        return z.movedim(-2, -1)

    def guide(x: Tensor) -> None:
        with pyro.plate("dimensions", K, dim=-2):
            pyro.sample("z", dist.Normal(0.5 * x.T, 0.6))

    def log_pz(z: Codes, u: Tensor) -> Tensor:
        codes, p = z["z"].T[:, None], chance(u)  # s, 1, K
        spike, slab = (dist.Normal(0.0, scale).log_prob(codes).exp() for scale in SCALES)
        return (p * spike + (1 - p) * slab).log().sum(-1)

    def log_qz(z: Codes, x: Tensor) -> Tensor:
        return normal(0.5 * x, 0.6).log_prob(z["z"].T[:, None])

    return Conditional(prior, guide, log_pz, log_qz)


def hierarchy(*, is_mean_field: bool) -> Conditional:
    """z1 given u, z2 given z1 and u."""

    def second(z1: Tensor, u: Tensor) -> dist.TorchDistribution:
        return normal(0.5 * z1.tanh() - u * WEIGHT, 0.9)

    def prior(u: Tensor) -> Tensor:
        z1 = pyro.sample("z1", normal(u * WEIGHT))
        return pyro.sample("z2", second(z1, u))

    def encoded(z1: Tensor, x: Tensor) -> dist.TorchDistribution:
        return normal(-0.4 * x + (0.0 if is_mean_field else 0.3 * z1), 0.5)

    def guide(x: Tensor) -> None:
        z1 = pyro.sample("z1", normal(0.5 * x, 0.6))
        pyro.sample("z2", encoded(z1, x))

    def log_pz(z: Codes, u: Tensor) -> Tensor:
        z1, z2 = z["z1"][:, None], z["z2"][:, None]
        return normal(u * WEIGHT).log_prob(z1) + second(z1, u).log_prob(z2)

    def log_qz(z: Codes, x: Tensor) -> Tensor:
        z1, z2 = z["z1"][:, None], z["z2"][:, None]
        return normal(0.5 * x, 0.6).log_prob(z1) + encoded(z1, x).log_prob(z2)

    return Conditional(prior, guide, log_pz, log_qz)


def two_sites() -> Conditional:
    """One site that all data share the prior of, and one whose prior is given u."""

    def prior(u: Tensor) -> Tensor:
        a = pyro.sample("a", normal(torch.zeros(K).double(), 1.0))
        return a + pyro.sample("b", normal(u * WEIGHT))

    def guide(x: Tensor) -> None:
        pyro.sample("a", normal(0.5 * x, 0.6))
        pyro.sample("b", normal(-0.4 * x, 0.5))

    def log_pz(z: Codes, u: Tensor) -> Tensor:
        a = normal(torch.zeros(K).double(), 1.0).log_prob(z["a"])[:, None]
        return a + normal(u * WEIGHT).log_prob(z["b"][:, None])

    def log_qz(z: Codes, x: Tensor) -> Tensor:
        a, b = z["a"][:, None], z["b"][:, None]
        return normal(0.5 * x, 0.6).log_prob(a) + normal(-0.4 * x, 0.5).log_prob(b)

    return Conditional(prior, guide, log_pz, log_qz)


CONDITIONAL: dict[str, Conditional] = {
    "Normal": one_site(lambda u: normal(u * WEIGHT)),
    "Normal of another scale": one_site(
        lambda u: dist.Normal(0.0, u.exp() * WEIGHT**2).to_event(1)
    ),
    "Laplace": one_site(lambda u: dist.Laplace(u * WEIGHT, 0.7).to_event(1)),
    "mixture in one site": one_site(mixture),
    "component that is summed out": enumerated(),
    "spike and slab": spike_and_slab(),
    "hierarchy": hierarchy(is_mean_field=True),
    "hierarchy, structured guide": hierarchy(is_mean_field=False),
    "two sites, one given": two_sites(),
}
PRODUCTS = ("Normal", "Normal of another scale", "Laplace", "two sites, one given")
