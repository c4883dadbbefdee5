"""Total correlation between latent sites and within them."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.elbo.base import Estimate, TermsELBO
from pyro_decomp.elbo.grouped import GroupedTotalCorrelationELBO
from pyro_decomp.elbo.total_correlation import TotalCorrelationELBO
from tests.example_programs import D, N, Programs, batch, vae

ALL = {"alpha": 0.5, "between": 3.0, "within": 2.0, "gamma": 1.5}
ESTIMATORS = ["stratified_averaged", "stratified", "weighted", "batch"]


def three_sites(family: type[dist.TorchDistribution] = dist.Normal) -> Programs:
    """Sites of three, one and two dimensions, all encoded from the same data."""
    sizes = {"a": 3, "b": 1, "c": 2}
    weights = {name: torch.randn(D, size, dtype=torch.double) for name, size in sizes.items()}

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            prior = dist.Normal(torch.zeros((), dtype=torch.double), 1.0)
            z = {n: pyro.sample(n, prior.expand([s]).to_event(1)) for n, s in sizes.items()}
            loc = sum(z[name] @ weights[name].T for name in sizes)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for name, start in weights.items():
                loc = x @ pyro.param(f"encoding {name}", start.clone())
                pyro.sample(name, family(loc, 0.7).to_event(1))

    return Programs(model, guide, batch())


def evaluate(elbo: TermsELBO, programs: Programs) -> Estimate:
    pyro.set_rng_seed(1)
    return elbo.evaluate(programs.model, programs.guide, programs.x)


@pytest.mark.full(but=["batch-Normal", "stratified-Laplace"])
@pytest.mark.parametrize("family", [dist.Normal, dist.Laplace])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_between_and_within_are_all_the_total_correlation(
    family: type[dist.TorchDistribution], estimator: str
) -> None:
    programs = three_sites(family)
    grouped, whole = (
        evaluate(build(alpha=0.5, estimator=estimator, analytic_kl=False), programs).terms
        for build in (GroupedTotalCorrelationELBO, TotalCorrelationELBO)
    )
    within, between = (grouped[f"{kind}_total_correlation"] for kind in ("within", "between"))
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(between + within, whole["total_correlation"], **close)
    for part in ("mutual_information", "dimensionwise_kl"):
        torch.testing.assert_close(grouped[part], whole[part], **close)
    parts = grouped["mutual_information"] + between + within + grouped["dimensionwise_kl"]
    torch.testing.assert_close(parts, grouped["kl"], **close)


def test_equal_weights_are_the_undivided_objective() -> None:
    programs = three_sites()
    results = []
    for elbo in (
        GroupedTotalCorrelationELBO(0.5, between=3.0, within=3.0, gamma=2.0),
        TotalCorrelationELBO(0.5, beta=3.0, gamma=2.0),
    ):
        loss = evaluate(elbo, programs).loss
        results.append((loss, *torch.autograd.grad(loss, list(programs.parameters().values()))))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_one_site_has_nothing_between() -> None:
    programs = vae()
    grouped = evaluate(GroupedTotalCorrelationELBO(**ALL), programs)
    whole = evaluate(TotalCorrelationELBO(0.5, beta=2.0, gamma=1.5), programs)
    assert grouped.terms["between_total_correlation"].item() == 0.0
    torch.testing.assert_close(grouped.loss, whole.loss, rtol=1e-12, atol=0)


def test_sites_of_one_dimension_have_nothing_within() -> None:
    loc = torch.randn(8, 2).double()

    def model(x: Tensor) -> None:
        with pyro.plate("data", 8, subsample=x):
            z = [pyro.sample(name, dist.Normal(torch.zeros(()).double(), 1.0)) for name in "ab"]
            pyro.sample("x", dist.Normal(z[0] + z[1], 1.0), obs=x.double())

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 8, subsample=x):
            for k, name in enumerate("ab"):
                pyro.sample(name, dist.Normal(loc[x, k], 0.1))

    programs = Programs(model, guide, torch.arange(8))
    terms = evaluate(GroupedTotalCorrelationELBO(**ALL), programs).terms
    assert terms["within_total_correlation"].item() == pytest.approx(0.0, abs=1e-12)
    assert terms["between_total_correlation"].item() > 0.5


@pytest.mark.full
def test_the_information_that_two_sites_share() -> None:
    """z_a = k + noise and z_b = k + noise for one of K far apart k: they share log K nats."""
    k = 10.0 * (torch.arange(12) % 4).double()
    loc = torch.stack([k, k], 1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", 12, subsample=x):
            for name in "ab":
                pyro.sample(name, dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x.double())

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 12, subsample=x):
            for name in "ab":
                pyro.sample(name, dist.Normal(loc[x], 0.5).to_event(1))

    programs, elbo = Programs(model, guide, torch.arange(12)), GroupedTotalCorrelationELBO(**ALL)
    estimates = [elbo.evaluate(model, guide, programs.x).terms for _ in range(100)]
    for term, expected in (("between", 1), ("within", 2)):
        values = torch.stack([terms[f"{term}_total_correlation"] for terms in estimates])
        torch.testing.assert_close(values, torch.full_like(values, expected * math.log(4)))


def test_all_weights_one_is_the_plain_elbo() -> None:
    estimate = evaluate(GroupedTotalCorrelationELBO(), three_sites())
    assert estimate.terms.keys() == {"log_likelihood", "kl"}
    torch.testing.assert_close(estimate.objective, estimate.elbo)


def test_every_setting_changes_the_loss() -> None:
    programs = three_sites()
    settings = [{}, *({name: value + 0.25} for name, value in ALL.items())]
    settings += [{"estimator": name} for name in ESTIMATORS[1:]]
    settings += [{"num_particles": 2}, {"analytic_kl": False}]
    losses = [
        evaluate(GroupedTotalCorrelationELBO(**{**ALL, **setting}), programs).loss.item()
        for setting in settings
    ]
    assert len(set(losses)) == len(settings)
