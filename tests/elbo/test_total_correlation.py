"""The parts of the KL: their sum, their known values, and what they are refused for."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_decomp import VAE
from pyro_decomp.aggregate_posterior import Exact
from pyro_decomp.elbo.base import Estimate
from pyro_decomp.elbo.total_correlation import TotalCorrelationELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import MLPDecoder
from tests.example_programs import (
    PROGRAMS,
    B,
    D,
    K,
    LaplaceEncoder,
    N,
    Programs,
    batch,
    normal_prior,
    vae,
)
from tests.statistics import assert_mean

ESTIMATORS = ["stratified_averaged", "stratified", "weighted", "batch", "exact"]
PARTS = ("mutual_information", "total_correlation", "dimensionwise_kl")
ALL = {"alpha": 0.0, "beta": 3.0, "gamma": 2.0}  # weights at which every part is computed


class FullCovarianceEncoder(nn.Module):
    """A Normal with any covariance."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.loc = nn.Linear(D, latent_dim).double()
        self.factor = nn.Linear(D, latent_dim**2).double()

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        factor = self.factor(x).view(-1, self.latent_dim, self.latent_dim).tril()
        covariance = factor @ factor.mT + 0.2 * torch.eye(self.latent_dim).double()
        return dist.MultivariateNormal(self.loc(x), covariance)


def full_covariance(prior: Callable[[], Tensor] = normal_prior, latent_dim: int = K) -> Programs:
    encoder, decoder = FullCovarianceEncoder(latent_dim), MLPDecoder(latent_dim, D).double()
    made = VAE(prior, encoder, decoder, size=N)
    return Programs(made.model, made.guide, batch())


def sparse_prior() -> Tensor:
    scale = torch.tensor([0.2, 1.0]).double().expand(K, 2)
    off_on = dist.Normal(torch.zeros_like(scale), scale)
    mixing = dist.Categorical(torch.ones_like(scale))
    return pyro.sample("z", dist.MixtureSameFamily(mixing, off_on).to_event(1))


FACTORISED = {
    "VAE": vae,
    "full batch": partial(vae, size=B),
    "Laplace guide": partial(vae, encoder=LaplaceEncoder),
    "full covariance": full_covariance,
    "sparse prior": partial(vae, sparse_prior),
    "nested plates": PROGRAMS["nested plates"],
    "a global latent": PROGRAMS["a global latent"],
    "functions": PROGRAMS["functions with pyro.param"],
}
programs_table = pytest.mark.parametrize("build", FACTORISED.values(), ids=FACTORISED)
estimators = pytest.mark.parametrize("estimator", ESTIMATORS)


def evaluate(
    programs: Programs, estimator: Any = "stratified_averaged", **settings: Any
) -> Estimate:
    pyro.set_rng_seed(1)
    if estimator == "exact":
        estimator = Exact(torch.linspace(-1, 1, N * D, dtype=torch.double).view(N, D))
    elbo = TotalCorrelationELBO(estimator=estimator, **settings)
    return elbo.evaluate(programs.model, programs.guide, programs.x)


def full_batch_with_a_global_latent() -> Programs:
    """Encodings that are moved by a shift which all data share."""
    weight = torch.randn(D, K, dtype=torch.double)

    def model(x: Tensor) -> None:
        pyro.sample("shift", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", B, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(pyro.param("loc", torch.zeros(()).double()), 2.0))
        loc = x @ pyro.param("encoding", weight.clone()) + shift
        with pyro.plate("data", B, subsample=x):
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))

    return Programs(model, guide, batch())


def fixed(loc: Tensor, scale: Tensor, size: int) -> Programs:
    """Encodings that do not depend on what is learned, of data that are their numbers."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(loc[0]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x.to(z))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            pyro.sample("z", dist.Normal(loc[x], scale[x]).to_event(1))

    return Programs(model, guide, torch.arange(len(loc)))


@pytest.mark.full(but=["exact-*", "*-VAE"])
@programs_table
@estimators
def test_the_parts_add_up_to_the_kl(build: Callable[[], Programs], estimator: str) -> None:
    terms = evaluate(build(), estimator, **ALL, analytic_kl=False, num_particles=2).terms
    total = sum(terms[part] for part in PARTS)
    torch.testing.assert_close(total, terms["kl"], rtol=1e-10, atol=1e-10)


@estimators
def test_the_objective_is_chens(estimator: str) -> None:
    estimate = evaluate(vae(), estimator, **ALL, analytic_kl=False)
    terms = estimate.terms
    parts = sum(weight * terms[part] for weight, part in zip(ALL.values(), PARTS, strict=True))
    torch.testing.assert_close(
        estimate.objective, terms["log_likelihood"] - parts, rtol=1e-10, atol=0
    )


@pytest.mark.full
def test_the_closed_form_of_the_kl_changes_no_expectation() -> None:
    programs, losses = vae(), []
    for analytic_kl in (True, False):
        elbo = TotalCorrelationELBO(**ALL, analytic_kl=analytic_kl, num_particles=5)
        losses.append([elbo.loss(programs.model, programs.guide, programs.x) for _ in range(60)])
    closed, sampled = torch.tensor(losses, dtype=torch.double)
    assert_mean(closed - sampled, 0.0)


@pytest.mark.parametrize("weight", [1.0, torch.tensor(1.0, dtype=torch.double)], ids=type)
def test_neutral_weights_are_the_plain_elbo(weight: float | Tensor) -> None:
    programs = vae()
    estimate = evaluate(programs, alpha=weight, beta=weight, gamma=weight)
    pyro.set_rng_seed(1)
    expected = TraceMeanField_ELBO().loss(programs.model, programs.guide, programs.x)
    assert estimate.loss.item() == pytest.approx(expected, rel=1e-10)
    assert isinstance(weight, Tensor) == ("total_correlation" in estimate.terms)


def test_every_setting_changes_the_loss() -> None:
    programs = vae()
    base = evaluate(programs, **ALL).loss.item()
    settings = [{"alpha": 0.5}, {"beta": 2.0}, {"gamma": 1.0}, {"num_particles": 2}]
    settings += [{"analytic_kl": False}, *({"estimator": name} for name in ESTIMATORS[1:])]
    losses = [evaluate(programs, **{**ALL, **setting}).loss.item() for setting in settings]
    assert len({base, *losses}) == 1 + len(settings)


def test_particles_are_averaged() -> None:
    programs, elbo = vae(), TotalCorrelationELBO(**ALL)
    both = evaluate(programs, **ALL, num_particles=2).terms
    pyro.set_rng_seed(1)
    one, other = (elbo.evaluate(programs.model, programs.guide, programs.x) for _ in range(2))
    for part in PARTS:
        torch.testing.assert_close(both[part], (one.terms[part] + other.terms[part]) / 2)


@pytest.mark.parametrize("size", [5, 40])
def test_disjoint_encodings_tell_which_datum_it_was(size: int) -> None:
    loc = 100.0 * torch.arange(5).double()[:, None].expand(5, 3)
    terms = evaluate(fixed(loc, torch.ones_like(loc), size), **ALL).terms
    assert terms["mutual_information"].item() == pytest.approx(math.log(size), rel=1e-12)
    assert terms["total_correlation"].item() == pytest.approx(2 * math.log(size), rel=1e-12)


def test_identical_encodings_tell_nothing() -> None:
    loc = torch.zeros(64, 10).double()
    terms = evaluate(fixed(loc, torch.ones_like(loc), 10_000), **ALL).terms
    for part in PARTS:
        assert terms[part].item() == pytest.approx(0.0, abs=1e-12)


def entropies(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Differential entropies of a mixture of Normals over two dimensions and over each."""
    grid = torch.linspace(-6, 6, 241, dtype=torch.double)
    single = dist.Normal(loc.T[..., None, :], scale.T[..., None, :]).log_prob(grid[:, None]).exp()
    joint = torch.einsum("am,bm->ab", *single) / len(loc)
    step = grid[1] - grid[0]
    marginals = single.mean(-1)
    return (
        -torch.xlogy(joint, joint).sum() * step**2,
        -torch.xlogy(marginals, marginals).sum(1) * step,
    )


@pytest.mark.full
@pytest.mark.parametrize("estimator", ["stratified_averaged", "exact"])
def test_total_correlation_and_information_by_quadrature(estimator: str) -> None:
    x = torch.randn(20, 2, dtype=torch.double)
    loc, scale = x @ torch.tensor([[1.0, 0.8], [0.0, 0.3]]).double(), torch.full((20, 2), 0.4)
    programs = fixed(loc, scale.double(), 20)
    chosen = Exact(torch.arange(20)) if estimator == "exact" else estimator
    elbo = TotalCorrelationELBO(**ALL, estimator=chosen)
    estimates = [elbo.evaluate(programs.model, programs.guide, programs.x) for _ in range(300)]
    joint, marginals = entropies(loc, scale.double())
    noise = 2 * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(0.4))  # the entropy of an encoding
    found = {part: torch.stack([e.terms[part] for e in estimates]) for part in PARTS}
    assert_mean(found["total_correlation"], marginals.sum() - joint)
    assert_mean(found["mutual_information"], joint - noise)


def test_total_correlation_of_a_linear_gaussian_encoder() -> None:
    """z = x A + noise of scale s, x standard Normal: q(z) is Normal, TC = -log(1 - rho^2) / 2."""
    mixing, scale = torch.tensor([[1.0, 0.9], [0.0, 0.4]]).double(), 0.3
    covariance = mixing.T @ mixing + scale**2 * torch.eye(2)
    rho = covariance[0, 1] / covariance.diagonal().prod().sqrt()
    sobol = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(2048).double()
    loc = dist.Normal(0.0, 1.0).icdf(sobol) @ mixing
    elbo = TotalCorrelationELBO(**ALL)
    programs = fixed(loc, torch.full_like(loc, scale), len(loc))
    with torch.no_grad():
        estimates = [elbo.evaluate(programs.model, programs.guide, programs.x) for _ in range(4)]
    found = torch.stack([e.terms["total_correlation"] for e in estimates]).mean().item()
    assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.03)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_last_and_smaller_batch(size: int) -> None:
    """Its weights are those of its own size: they sum to one, so equal codes share nothing."""
    loc = torch.zeros(size, 4).double()
    terms = evaluate(fixed(loc, torch.ones_like(loc), 100), **ALL).terms
    assert terms["total_correlation"].item() == pytest.approx(0.0, abs=1e-12)
    assert terms["mutual_information"].item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("build", [partial(vae, size=B), full_batch_with_a_global_latent])
def test_exact_is_the_full_batch_with_its_gradient(build: Callable[[], Programs]) -> None:
    programs = build()
    results = []
    for estimator in ("stratified_averaged", Exact(programs.x)):
        pyro.set_rng_seed(1)
        elbo = TotalCorrelationELBO(**ALL, estimator=estimator)
        loss = elbo.differentiable_loss(programs.model, programs.guide, programs.x)
        results.append((loss, *torch.autograd.grad(loss, list(programs.parameters().values()))))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_exact_scores_a_batch_under_all_data() -> None:
    loc = torch.randn(30, 2).double()
    programs = fixed(loc, torch.full_like(loc, 0.5), 30)
    programs.x = programs.x[:7]
    estimate = evaluate(programs, **ALL)
    exact = TotalCorrelationELBO(**ALL, estimator=Exact(torch.arange(30)))
    pyro.set_rng_seed(1)
    terms = exact.evaluate(programs.model, programs.guide, programs.x).terms
    z = estimate.pairs[0].codes()
    pairs = dist.Normal(loc, 0.5).log_prob(z[:, None])
    joint, marginals = pairs.sum(-1).logsumexp(1), pairs.logsumexp(1).sum(-1)
    expected = (joint - marginals + math.log(30)).mean()
    torch.testing.assert_close(terms["total_correlation"], expected)


def normal_with_covariance() -> Tensor:
    return pyro.sample("z", dist.MultivariateNormal(torch.zeros(K).double(), torch.eye(K).double()))


def independent_sites_encoded_in_turn() -> Programs:
    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            u = pyro.sample("u", dist.Normal(torch.zeros(()).double(), 1.0))
            v = pyro.sample("v", dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(torch.stack([u, v, u + v], -1), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(0.5).double())
        with pyro.plate("data", N, subsample=x):
            u = pyro.sample("u", dist.Normal(x[:, 0], scale))
            pyro.sample("v", dist.Normal(x[:, 1] - u, scale))

    return Programs(model, guide, batch())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (PROGRAMS["VAE, mixture prior"], "'z': its prior, MixtureSameFamily, is not a product"),
        (partial(vae, normal_with_covariance), "'z': its prior, MultivariateNormal, is not a prod"),
        (PROGRAMS["two sites"], "'z2': its prior depends on 'z1' and so is not a product"),
        (PROGRAMS["a Delta guide"], "'z' is a Delta, of which q.z. has no density"),
        (
            independent_sites_encoded_in_turn,
            "the guide's sites 'u', 'v' depend on one another, so that the marginals",
        ),
    ],
)
def test_what_has_no_such_parts_is_refused(build: Callable[[], Programs], message: str) -> None:
    programs = build()
    with pytest.raises(ModelError, match=message):
        evaluate(programs, beta=2.0)
    evaluate(programs)  # the plain ELBO needs no parts


def test_another_prior_is_checked_again() -> None:
    elbo, good, bad = TotalCorrelationELBO(**ALL), vae(), vae(normal_with_covariance)
    elbo.evaluate(good.model, good.guide, good.x)
    with pytest.raises(ModelError, match="is not a product"):
        elbo.evaluate(bad.model, bad.guide, bad.x)


def test_checking_the_prior_costs_no_random_number() -> None:
    loc = torch.zeros(2, 3).double()

    def model(x: Tensor) -> None:
        with pyro.plate("data", 9, subsample=x):
            for name in "ab":
                pyro.sample(name, dist.Normal(loc[0], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 9, subsample=x):
            for name in "ab":
                pyro.sample(name, dist.Normal(loc, 1.0).to_event(1))

    draws, elbo = [], TotalCorrelationELBO(**ALL)
    for _ in range(2):  # the prior is inspected in the first evaluation only
        pyro.set_rng_seed(6)
        elbo.evaluate(model, guide, torch.zeros(2))
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[1]


def test_a_mixture_over_one_dimension_has_parts() -> None:
    def prior() -> Tensor:
        components = dist.Normal(torch.tensor([[-1.0], [1.0]]).double(), 0.3).to_event(1)
        return pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), components))

    terms = evaluate(full_covariance(prior, 1), **ALL, analytic_kl=False).terms
    assert terms["total_correlation"].item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(sum(terms[part] for part in PARTS), terms["kl"])


def test_the_estimator_is_checked() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*Exact\(data\), got 'mws'"):
        TotalCorrelationELBO(estimator="mws")
