"""Theorem 1, Corollary 1 and Theorem 2 of Mathieu et al. 2019, as identities between numbers."""

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_decomp.distributions import GeneralizedNormal
from pyro_decomp.distributions.annealing import log_normalizer
from pyro_decomp.elbo.annealed import AnnealedPriorELBO
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.elbo.beta import BetaELBO
from pyro_decomp.elbo.entropy import EntropyRegularizedELBO
from tests.example_programs import PROGRAMS
from tests.statistics import STANDARD_ERRORS

CLOSE = {"rtol": 0, "atol": 1e-8}
B, D, K, N = 5, 3, 2, 40

Prior = Callable[[Tensor, Tensor], dist.TorchDistribution]


def clusters(loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    components = dist.Normal(torch.stack([loc, -loc, loc.flip(0)]), scale).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(logits=torch.arange(3).double()), components)


def spike_and_slab(loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    scales = torch.stack([scale, 0.1 * scale], -1)
    switch = dist.Categorical(torch.tensor([[0.2, 0.8]] * len(loc)).double())
    components = dist.Normal(torch.zeros_like(scales) + loc.unsqueeze(-1), scales)
    return dist.MixtureSameFamily(switch, components).to_event(1)


PRIORS: dict[str, Prior] = {
    "Normal": lambda loc, scale: dist.Normal(loc, scale).to_event(1),
    "full Normal": lambda loc, scale: dist.MultivariateNormal(
        loc, scale_tril=torch.diag(scale) + torch.full((K, K), 0.4).tril(-1).double()
    ),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale).to_event(1),
    "Student-t": lambda loc, scale: dist.StudentT(4.0, loc, scale).to_event(1),
    "generalised Normal": lambda loc, scale: GeneralizedNormal(loc, scale, 1.5).to_event(1),
    "clusters": clusters,
    "spike and slab": spike_and_slab,
}
GUIDES: dict[str, Callable[[Tensor, Tensor], dist.TorchDistribution]] = {
    "Normal": lambda loc, scale: dist.Normal(loc, scale).to_event(1),
    "full Normal": lambda loc, scale: dist.MultivariateNormal(
        loc, scale_tril=torch.diag_embed(scale) + torch.full((K, K), 0.3).tril(-1).double()
    ),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale).to_event(1),
}


class Pair(nn.Module):
    """A VAE with networks of its own, which can be seen through changes of the latent space."""

    def __init__(self, prior: Prior, guide: str) -> None:
        super().__init__()
        self.prior, self.family = prior, GUIDES[guide]
        self.loc = nn.Parameter(torch.tensor([0.4, -0.2]))
        self.scale = nn.Parameter(torch.tensor([1.3, 0.6]))
        self.encoder = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 2 * K))
        self.decoder = nn.Sequential(nn.Linear(K, 4), nn.Tanh(), nn.Linear(4, D))
        self.double()

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        loc, scale = self.encoder(x).chunk(2, -1)
        return self.family(loc, softplus(scale))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", self.prior(self.loc, self.scale))
            pyro.sample("x", dist.Normal(self.decoder(self.into(z)), 0.7).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", self.encode(x))

    def into(self, z: Tensor) -> Tensor:
        return z


def data(size: int = B) -> Tensor:
    return torch.randn(size, D, generator=torch.Generator().manual_seed(0)).double()


def terms(elbo: TermsELBO, programs: Any, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    pyro.set_rng_seed(7)
    estimate = elbo.evaluate(programs.model, programs.guide, x)
    return estimate.objective, estimate.elbo, dict(estimate.terms)


@pytest.mark.full(but=["analytic-*-0.6"])
@pytest.mark.parametrize("beta", [0.6, torch.tensor(1.7)], ids=str)
@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
@pytest.mark.parametrize("analytic_kl", [True, False], ids=["analytic", "Monte Carlo"])
def test_theorem_1(prior: Prior, guide: str, beta: float | Tensor, analytic_kl: bool) -> None:
    pair = Pair(prior, guide)
    results = []
    for build in (BetaELBO, AnnealedPriorELBO):
        elbo = build(beta, num_particles=2, analytic_kl=analytic_kl)
        objective, _, _ = terms(elbo, pair, data())
        gradients = torch.autograd.grad(objective, list(pair.parameters()))
        results.append([objective, *gradients])
        assert sum(gradient.abs().sum() for gradient in gradients) > 0.1
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.full(but=["analytic-*"])
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("analytic_kl", [True, False], ids=["analytic", "Monte Carlo"])
def test_theorem_1_for_programs_of_every_kind(name: str, analytic_kl: bool) -> None:
    programs = PROGRAMS[name]()
    parameters = list(programs.parameters().values())
    results = []
    for build in (BetaELBO, AnnealedPriorELBO):
        objective, _, _ = terms(build(1.7, analytic_kl=analytic_kl), programs, programs.x)
        results.append([objective, *torch.autograd.grad(objective, parameters)])
    torch.testing.assert_close(*results, **CLOSE)


class Rescaled(Pair):
    """The networks theta' and phi' of Corollary 1."""

    def __init__(self, pair: Pair, beta: float) -> None:
        super().__init__(pair.prior, "Normal")
        self.load_state_dict(pair.state_dict())
        self.family, self.beta = pair.family, beta

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        q, root = super().encode(x), self.beta**0.5
        if isinstance(q, dist.MultivariateNormal):
            return dist.MultivariateNormal(root * q.loc, scale_tril=root * q.scale_tril)
        return dist.Normal(root * q.base_dist.loc, root * q.base_dist.scale).to_event(1)

    def into(self, z: Tensor) -> Tensor:
        return z / self.beta**0.5


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(
    ("prior", "guide"),
    [("Normal", "Normal"), ("full Normal", "Normal"), ("full Normal", "full Normal")],
)
def test_corollary_1(prior: str, guide: str, beta: float) -> None:
    pair = Pair(PRIORS[prior], guide)
    with torch.no_grad():
        pair.loc.zero_()
    rescaled, x = Rescaled(pair, beta), data()
    objective, _, _ = terms(BetaELBO(beta), pair, x)
    regularised, elbo, logged = terms(EntropyRegularizedELBO(beta), rescaled, x)
    log_f = log_normalizer(pair.prior(pair.loc, pair.scale), beta)
    constant = K * (beta - 1) / 2 * (1 + math.log(2 * math.pi / beta)) + log_f
    torch.testing.assert_close(objective, regularised + constant, **CLOSE)
    q = rescaled.encode(x)
    covariance = q.covariance_matrix if guide == "full Normal" else torch.diag_embed(q.variance)
    half_log_det = covariance.logdet().mean() / 2
    torch.testing.assert_close(logged["half_log_det"], half_log_det, **CLOSE)
    torch.testing.assert_close(objective, elbo + (beta - 1) * half_log_det + constant, **CLOSE)


@pytest.mark.parametrize("beta", [0.3, 4.0])
def test_corollary_1_needs_a_gaussian_prior(beta: float) -> None:
    pair = Pair(PRIORS["Laplace"], "Normal")
    with torch.no_grad():
        pair.loc.zero_()
    objective, _, _ = terms(BetaELBO(beta), pair, data())
    regularised, _, _ = terms(EntropyRegularizedELBO(beta), Rescaled(pair, beta), data())
    log_f = log_normalizer(pair.prior(pair.loc, pair.scale), beta)
    constant = K * (beta - 1) / 2 * (1 + math.log(2 * math.pi / beta)) + log_f
    assert (objective - regularised - constant).abs() > 0.1


class RotatedNormal(dist.MultivariateNormal):
    """N(R m, R S R'), drawn as R z with z ~ N(m, S): the same noise gives the rotated sample."""

    def __init__(self, q: dist.MultivariateNormal, rotation: Tensor) -> None:
        covariance = rotation @ q.covariance_matrix @ rotation.T
        super().__init__(q.loc @ rotation.T, covariance_matrix=covariance)
        self.unrotated, self.rotation = q, rotation

    def expand(self, batch_shape: Any, _instance: Any = None) -> "RotatedNormal":
        assert tuple(batch_shape) == self.batch_shape
        return self

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.unrotated.rsample(torch.Size(sample_shape)) @ self.rotation.T


class Rotated(Rescaled):
    """The networks of Theorem 2: the encoder rotated, the decoder rotated back."""

    def __init__(self, pair: Pair, angle: float) -> None:
        super().__init__(pair, 1.0)
        cos, sin = math.cos(angle), math.sin(angle)
        self.rotation = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.double)

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        return RotatedNormal(Pair.encode(self, x), self.rotation)

    def into(self, z: Tensor) -> Tensor:
        return z @ self.rotation


def isotropic(loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    return dist.MultivariateNormal(torch.zeros_like(loc), scale_tril=1.3 * torch.eye(K).double())


@pytest.mark.full(but=["analytic-0.3-*"])
@pytest.mark.parametrize("angle", [0.2, math.pi / 6, 2.0])
@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("analytic_kl", [True, False], ids=["analytic", "Monte Carlo"])
def test_theorem_2(angle: float, beta: float, analytic_kl: bool) -> None:
    pair = Pair(isotropic, "full Normal")
    rotated, elbo = Rotated(pair, angle), BetaELBO(beta, analytic_kl=analytic_kl)
    (before, _, logged), (after, _, logged_after) = (
        terms(elbo, each, data()) for each in (pair, rotated)
    )
    torch.testing.assert_close(after, before, **CLOSE)
    torch.testing.assert_close(logged_after, logged, **CLOSE)


ROTATION_MATTERS: dict[str, Prior] = {
    "anisotropic Normal": lambda loc, scale: dist.Normal(torch.zeros(K).double(), scale).to_event(
        1
    ),
    "Student-t": lambda loc, scale: dist.StudentT(torch.full((K,), 2.0).double()).to_event(1),
    "sparse": lambda loc, scale: spike_and_slab(torch.zeros(K).double(), torch.ones(K).double()),
}


@pytest.mark.parametrize("prior", ROTATION_MATTERS.values(), ids=ROTATION_MATTERS)
def test_theorem_2_fails_for_other_priors(prior: Prior) -> None:
    """By more than 0.05 nats, for encodings far along an axis that are turned by 45 degrees."""
    pair = Pair(prior, "full Normal")
    with torch.no_grad():
        pair.encoder[-1].bias.copy_(torch.tensor([3.0, 0.0, -2.0, -2.0]))
    per_datum = []
    for each in (pair, Rotated(pair, math.pi / 4)):
        pyro.set_rng_seed(7)
        (traces,) = (
            BetaELBO(2.0, analytic_kl=False).evaluate(each.model, each.guide, data(2000)).pairs
        )
        per_datum.append(traces.log_prob("x") - 2 * traces.kl("z"))
    lost = per_datum[0] - per_datum[1]
    error = lost.std() / len(lost) ** 0.5
    assert lost.mean().abs() - STANDARD_ERRORS * error > 0.05
