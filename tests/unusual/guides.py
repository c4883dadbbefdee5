"""Guides of every family, each with a prior of its support."""

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from pyro_decomp.distributions import UniformSphere, VonMisesFisher
from tests.unusual.base import Usual, spread


class LogNormalGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.LogNormal(torch.zeros(2), 1.0).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.LogNormal(loc, spread(unbounded)).to_event(1)


class GammaGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.Gamma(torch.full((2,), 2.0), torch.ones(2)).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        first, second = self.heads(x)
        return dist.Gamma(softplus(first) + 0.5, softplus(second) + 0.5).to_event(1)


class BetaGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.Beta(torch.full((2,), 2.0), torch.full((2,), 2.0)).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        first, second = self.heads(x)
        return dist.Beta(softplus(first) + 0.5, softplus(second) + 0.5).to_event(1)


class DirichletGuide(Usual):
    def __init__(self) -> None:
        super().__init__(latent_dim=3)

    def prior(self) -> dist.TorchDistribution:
        return dist.Dirichlet(torch.ones(3))

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        return dist.Dirichlet(softplus(self.heads(x)[0]) + 0.5)


class StudentGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.StudentT(5.0, torch.zeros(2), 1.0).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.StudentT(6.0, loc, spread(unbounded)).to_event(1)


class LaplaceGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.Laplace(torch.zeros(2), 1.0).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.Laplace(loc, spread(unbounded)).to_event(1)


class CauchyGuide(Usual):
    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.Cauchy(loc, (0.5 * unbounded - 3).exp()).to_event(1)


class GumbelGuide(Usual):
    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.Gumbel(loc, spread(unbounded)).to_event(1)


class UniformGuide(Usual):
    """The support moves with the datum."""

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        low, unbounded = self.heads(x)
        return dist.Uniform(low, low + unbounded.exp()).to_event(1)


class KumaraswamyGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.Kumaraswamy(torch.full((2,), 2.0), torch.full((2,), 2.0)).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        first, second = self.heads(x)
        return dist.Kumaraswamy(softplus(first) + 0.5, softplus(second) + 0.5).to_event(1)


class FullCovarianceGuide(Usual):
    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        below = 0.2 * torch.diag_embed(loc[:, :1], -1)
        scale_tril = torch.diag_embed(spread(unbounded)) + below
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)


class LowRankGuide(Usual):
    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, factor = self.heads(x)
        diagonal = torch.full_like(loc, 0.2)
        return dist.LowRankMultivariateNormal(loc, 0.3 * factor[..., None], diagonal)


class RelaxedCategoricalGuide(Usual):
    def __init__(self) -> None:
        super().__init__(latent_dim=3)

    def prior(self) -> dist.TorchDistribution:
        return dist.RelaxedOneHotCategorical(torch.tensor(0.7), probs=torch.ones(3) / 3)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        return dist.RelaxedOneHotCategorical(torch.tensor(0.6), logits=self.heads(x)[0])


class DeltaGuide(Usual):
    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        return dist.Delta(self.heads(x)[0]).to_event(1)


class FlowGuide(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.flow = dist.transforms.affine_autoregressive(2, hidden_dims=[6])

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.TransformedDistribution(dist.Normal(loc, spread(unbounded)), [self.flow])


class VonMisesGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return dist.VonMises(torch.zeros(2), torch.ones(2)).to_event(1)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.VonMises(loc, unbounded.exp()).to_event(1)


class SphericalGuide(Usual):
    def prior(self) -> dist.TorchDistribution:
        return UniformSphere(2)

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        direction, unbounded = self.heads(x)
        return VonMisesFisher(normalize(direction, dim=-1), unbounded[:, 0].exp())


GUIDES = {
    "LogNormal guide": LogNormalGuide,
    "Gamma guide": GammaGuide,
    "Beta guide": BetaGuide,
    "Dirichlet guide": DirichletGuide,
    "Student guide": StudentGuide,
    "Laplace guide": LaplaceGuide,
    "Cauchy guide": CauchyGuide,
    "Gumbel guide": GumbelGuide,
    "Uniform guide": UniformGuide,
    "Kumaraswamy guide": KumaraswamyGuide,
    "full-covariance guide": FullCovarianceGuide,
    "low-rank guide": LowRankGuide,
    "relaxed categorical guide": RelaxedCategoricalGuide,
    "Delta guide": DeltaGuide,
    "flow guide": FlowGuide,
    "von Mises guide": VonMisesGuide,
    "spherical guide": SphericalGuide,
}
