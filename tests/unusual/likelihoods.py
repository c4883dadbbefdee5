"""Likelihoods of every family, with data of their support."""

from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tests.unusual.base import NUM_DATA, Usual

Family = Callable[[Tensor, Tensor], dist.TorchDistribution]


def positive(unbounded: Tensor, least: float = 0.1) -> Tensor:
    return softplus(unbounded) + least


def counts(x: Tensor) -> Tensor:
    return (x * 2).round().abs()


REAL: dict[str, Family] = {
    "StudentT": lambda h, g: dist.StudentT(4.0, h, positive(g)),
    "Laplace": lambda h, g: dist.Laplace(h, positive(g)),
    "Cauchy": lambda h, g: dist.Cauchy(h, positive(g)),
    "SoftLaplace": lambda h, g: dist.SoftLaplace(h, positive(g)),
    "Gumbel": lambda h, g: dist.Gumbel(h, positive(g)),
}
OTHERS: dict[str, tuple[Family, Callable[[Tensor], Tensor]]] = {
    "Poisson": (lambda h, g: dist.Poisson(h.exp()), counts),
    "negative binomial": (lambda h, g: dist.NegativeBinomial(positive(h), logits=g), counts),
    "zero-inflated Poisson": (
        lambda h, g: dist.ZeroInflatedPoisson(h.exp(), gate_logits=g),
        counts,
    ),
    "Binomial": (lambda h, g: dist.Binomial(10, logits=h), lambda x: counts(x).clamp(max=10)),
    "Bernoulli": (lambda h, g: dist.Bernoulli(logits=h), lambda x: (x > 0).to(x)),
    "continuous Bernoulli": (lambda h, g: dist.ContinuousBernoulli(logits=h), torch.sigmoid),
    "Beta": (lambda h, g: dist.Beta(positive(h), positive(g)), torch.sigmoid),
    "Gamma": (lambda h, g: dist.Gamma(positive(h), positive(g)), torch.exp),
    "LogNormal": (lambda h, g: dist.LogNormal(h, positive(g)), torch.exp),
    "Weibull": (lambda h, g: dist.Weibull(positive(h, 0.5), positive(g, 0.5)), torch.exp),
}


class OfFamily(Usual):
    """A likelihood with two numbers for each of the data's."""

    def __init__(self, family: Family, data: Callable[[Tensor], Tensor]) -> None:
        super().__init__(num_outputs=8)
        self._family, self._data = family, data

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            first, second = self.decoder(z).split(4, -1)
            pyro.sample("x", self._family(first, second).to_event(1), obs=self._data(x))


class CategoricalLikelihood(Usual):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            logits = self.decoder(z)
            pyro.sample("x", dist.Categorical(logits=logits), obs=x.argmax(-1))


def as_it_is(x: Tensor) -> Tensor:
    return x


LIKELIHOODS: dict[str, Callable[[], Usual]] = {
    **{f"{name} likelihood": partial(OfFamily, family, as_it_is) for name, family in REAL.items()},
    **{f"{name} likelihood": partial(OfFamily, *each) for name, each in OTHERS.items()},
    "categorical likelihood": CategoricalLikelihood,
}
