"""Discrete sites that are summed over, against explicit sums; values and gradients."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_decomp.divergences import ExclusiveKL
from pyro_decomp.elbo import AggregateELBO, BetaELBO, TermsELBO

NUM_DATA, BATCH, CLASSES, WIDTH = 100, 12, 3, 4
BETA, ALPHA = 2.5, 1.7


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


class Clusters:
    """A component c, a code z of it, and data that depend on both."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.x = torch.randn(BATCH, WIDTH)
        self.encoder, self.classifier = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, CLASSES)
        self.decoder = nn.Linear(2 + CLASSES, WIDTH)
        self.locs = nn.Parameter(torch.randn(CLASSES, 2))
        self.logits = nn.Parameter(torch.randn(CLASSES))
        self.scales = torch.tensor([0.5, 1.0, 0.8])

    def parameters(self) -> list[Tensor]:
        networks = self.encoder, self.classifier, self.decoder
        return [self.locs, self.logits, *(p for each in networks for p in each.parameters())]

    def likelihood(self, z: Tensor, c: Tensor) -> dist.TorchDistribution:
        of_class = torch.eye(CLASSES)[c]
        shape = torch.broadcast_shapes(z.shape[:-1], of_class.shape[:-1])
        both = torch.cat([z.expand(*shape, 2), of_class.expand(*shape, CLASSES)], -1)
        return dist.Normal(self.decoder(both), 0.6)

    def pz(self, c: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.locs[c], self.scales[c][..., None])

    def qz(self, shift: Tensor | float = 0.0) -> dist.TorchDistribution:
        loc, log_scale = self.encoder(self.x).split(2, -1)
        return dist.Normal(loc + shift, log_scale.exp())

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            c = pyro.sample("c", dist.Categorical(logits=self.logits))
            z = pyro.sample("z", self.pz(c).to_event(1))
            pyro.sample("x", self.likelihood(z, c).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", self.qz().to_event(1))

    def guide_with_component(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            c = pyro.sample("c", dist.Categorical(logits=self.classifier(x)))
            pyro.sample("z", self.qz(0.3 * self.locs[c]).to_event(1))


def log_weights() -> Tensor:
    weights = torch.full((BATCH, BATCH), (NUM_DATA - 1) / (NUM_DATA * (BATCH - 1)))
    return weights.fill_diagonal_(1 / NUM_DATA).log()


def summed_in_the_model(clusters: Clusters, alpha: float, analytic: bool) -> Tensor:
    """log p(z) and log p(x|z) with c summed out by hand."""
    q = clusters.qz()
    z = q.rsample()
    each = [torch.tensor(c) for c in range(CLASSES)]
    log_prior = clusters.logits.log_softmax(0)
    joint = [log_prior[c] + clusters.pz(c).log_prob(z).sum(-1) for c in each]
    of_data = [clusters.likelihood(z, c).log_prob(clusters.x).sum(-1) for c in each]
    log_pz = torch.stack(joint).logsumexp(0)
    both = torch.stack([one + other for one, other in zip(joint, of_data, strict=True)])
    kl = q.log_prob(z).sum(-1) - log_pz
    objective = (both.logsumexp(0) - log_pz - BETA * kl).mean()
    pairs = q.log_prob(z[:, None]).sum(-1) + log_weights()
    return objective - alpha * (pairs.logsumexp(1) - log_pz).mean()


def summed_in_the_guide(clusters: Clusters, alpha: float, analytic: bool) -> Tensor:
    """The expectation over q(c|x) by hand; one draw of z for each c."""
    log_q = clusters.classifier(clusters.x).log_softmax(-1).T
    qz = clusters.qz(0.3 * clusters.locs[:, None])
    z = qz.loc + qz.scale * torch.randn(CLASSES, BATCH, 2)
    c = torch.arange(CLASSES)
    pz = dist.Normal(clusters.locs[:, None], clusters.scales[:, None, None])
    log_prior = clusters.logits.log_softmax(0)[:, None]
    log_likelihood = clusters.likelihood(z, c[:, None]).log_prob(clusters.x).sum(-1)
    kl = kl_divergence(qz, pz) if analytic else qz.log_prob(z) - pz.log_prob(z)
    kl = (log_q.exp() * (log_q - log_prior + kl.sum(-1))).sum(0)
    objective = ((log_q.exp() * log_likelihood).sum(0) - BETA * kl).mean()
    pairs = dist.Normal(qz.loc[:, None], qz.scale[:, None]).log_prob(z[:, :, None]).sum(-1)
    aggregate = (pairs + log_q[:, None] + log_weights()).logsumexp(-1)
    ratio = aggregate - log_prior - pz.log_prob(z).sum(-1)
    return objective - alpha * (log_q.exp() * ratio).sum(0).mean()


Plain = Callable[[Clusters, float, bool], Tensor]


@pytest.mark.parametrize("analytic", [True, False], ids=["closed form", "Monte Carlo"])
@pytest.mark.parametrize("alpha", [0.0, ALPHA])
@pytest.mark.parametrize(
    ("guide", "plain"),
    [("guide", summed_in_the_model), ("guide_with_component", summed_in_the_guide)],
    ids=["in the model", "in the guide"],
)
def test_sums_over_a_component_are_the_explicit_ones(
    guide: str, plain: Plain, alpha: float, analytic: bool
) -> None:
    clusters = Clusters()
    elbo: TermsELBO = BetaELBO(BETA, analytic_kl=analytic)
    if alpha:
        elbo = AggregateELBO(BETA, alpha, ExclusiveKL(), analytic_kl=analytic)
    pyro.set_rng_seed(3)
    program = getattr(clusters, guide)
    found = elbo.differentiable_loss(clusters.model, program, clusters.x) / NUM_DATA
    pyro.set_rng_seed(3)
    wanted = -plain(clusters, alpha, analytic)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    gradients = (
        torch.autograd.grad(each, clusters.parameters(), allow_unused=True, materialize_grads=True)
        for each in (found, wanted)
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
