"""Programs of several sites, plates, parameters and handlers."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.nn.functional import softplus

from tests.unusual.base import NUM_DATA, Usual, perceptron, spread

LOCS = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]


class EnumeratedMixture(Usual):
    """The component is summed out of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.locs = nn.Parameter(torch.tensor(LOCS))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3))
            z = pyro.sample("z", dist.Normal(self.locs[c], 0.5).to_event(1))
            pyro.sample("x", self.likelihood(z), obs=x)


class EnumeratedGuide(EnumeratedMixture):
    """The guide has the component too."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = perceptron(4, 3)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("c", dist.Categorical(logits=self.classifier(x)))
            pyro.sample("z", self.encoding(x))


class LearnedPrior(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.ones(2))

    def prior(self) -> dist.TorchDistribution:
        return dist.Normal(self.loc, 1.0).to_event(1)


class MaskedLikelihood(Usual):
    """Some data have no likelihood."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            with poutine.mask(mask=x[:, 0] > -0.3):
                pyro.sample("x", self.likelihood(z), obs=x)


class MaskedColumns(Usual):
    """Some numbers of a datum are missing."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            each = dist.Normal(self.decoder(z), 0.5).mask(x > -0.5)
            pyro.sample("x", each.to_event(1), obs=x)


class Scaled(Usual):
    """The latent's KL is annealed, and the likelihood weighted."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            with poutine.scale(scale=0.3):
                z = pyro.sample("z", self.prior())
            with poutine.scale(scale=1.7):
                pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x), poutine.scale(scale=0.3):
            pyro.sample("z", self.encoding(x))


class NestedPlates(Usual):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x, dim=-1):
            with pyro.plate("latents", 2, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", self.likelihood(z.T), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, unbounded = self.heads(x)
        data = pyro.plate("data", NUM_DATA, subsample=x, dim=-1)
        with data, pyro.plate("latents", 2, dim=-2):
            pyro.sample("z", dist.Normal(loc.T, spread(unbounded).T))


class WithFactor(Usual):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            mean = self.decoder(z)
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)
            pyro.factor("penalty", -0.3 * mean.square().sum(-1).sqrt())


class PositiveParameters(Usual):
    """Numbers of the param store, positive and in an interval."""

    def prior(self) -> dist.TorchDistribution:
        between = constraints.interval(0.1, 3.0)
        loc = pyro.param("loc", torch.zeros(2))
        return dist.Normal(loc, pyro.param("scale", torch.ones(2), constraint=between)).to_event(1)

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        noise = pyro.param("noise", torch.full((4,), 0.7), constraint=constraints.positive)
        return dist.Normal(self.decoder(z), noise).to_event(1)


class ConstrainedMatrices(Usual):
    """A Cholesky factor and a simplex of the param store."""

    def prior(self) -> dist.TorchDistribution:
        lower = constraints.lower_cholesky
        scale_tril = pyro.param("scale_tril", torch.eye(2), constraint=lower)
        return dist.MultivariateNormal(torch.zeros(2), scale_tril=scale_tril)

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        shares = pyro.param("shares", torch.ones(4) / 4, constraint=constraints.simplex)
        return dist.Normal(self.decoder(z) * shares, 0.5).to_event(1)


class GlobalLatent(Usual):
    """A shift of all data, outside the plate."""

    def model(self, x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", dist.Normal(self.decoder(z) + shift, 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        loc = pyro.param("shift_loc", torch.zeros(4))
        scale = pyro.param("shift_scale", torch.full((4,), 0.1), constraint=constraints.positive)
        pyro.sample("shift", dist.Normal(loc, scale).to_event(1))
        super().guide(x)


class TwoSites(Usual):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            a = pyro.sample("a", dist.Laplace(torch.zeros(1), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", self.likelihood(torch.cat([a, b], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, scale = self.heads(x)[0], spread(self.heads(x)[1])
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("a", dist.Normal(loc[:, :1], scale[:, :1]).to_event(1))
            pyro.sample("b", dist.Normal(loc[:, 1:], scale[:, 1:]).to_event(1))


class Chain(Usual):
    """One latent is the parent of the other, in both programs."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(5, 2)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            a = pyro.sample("a", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a, softplus(a) + 0.1).to_event(1))
            pyro.sample("x", self.likelihood(torch.cat([a, b], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, unbounded = self.heads(x)
        with pyro.plate("data", NUM_DATA, subsample=x):
            a = pyro.sample("a", dist.Normal(loc[:, :1], spread(unbounded[:, :1])).to_event(1))
            b_loc, b_log_scale = self.second(torch.cat([x, a], -1)).split(1, -1)
            pyro.sample("b", dist.Normal(b_loc, b_log_scale.exp()).to_event(1))


class PriorOfColumn(Usual):
    """The prior depends on the data's first column."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(x[:, :1].expand(-1, 2), 1.0).to_event(1))
            pyro.sample("x", self.likelihood(z), obs=x)


class Labelled(Usual):
    """A label is observed beside the data."""

    def model(self, x: Tensor) -> None:
        label = (x[:, 0] > 0).to(x)
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            pyro.sample("label", dist.Bernoulli(logits=z[:, 0]), obs=label)
            pyro.sample("x", self.likelihood(z), obs=x)


STRUCTURES = {
    "usual": Usual,
    "enumerated mixture": EnumeratedMixture,
    "enumerated guide": EnumeratedGuide,
    "learned prior": LearnedPrior,
    "masked likelihood": MaskedLikelihood,
    "masked columns": MaskedColumns,
    "scaled": Scaled,
    "nested plates": NestedPlates,
    "factor": WithFactor,
    "positive parameters": PositiveParameters,
    "constrained matrices": ConstrainedMatrices,
    "global latent": GlobalLatent,
    "two sites": TwoSites,
    "chain": Chain,
    "prior of a column": PriorOfColumn,
    "labelled": Labelled,
}
