"""Objectives of models whose prior is given something of the datum: the parts of the KL and R."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_decomp import (
    AggregateELBO,
    BetaELBO,
    ExclusiveKL,
    GroupedTotalCorrelationELBO,
    TotalCorrelationELBO,
)
from pyro_decomp.aggregate_posterior import Estimator, Exact
from pyro_decomp.elbo import InfoELBO, TermsELBO
from pyro_decomp.errors import ModelError
from tests.conditional import CONDITIONAL, PRODUCTS, WEIGHT, U, X, normal
from tests.enumerated import ENUMERATED
from tests.example_programs import PROGRAMS, Programs
from tests.statistics import assert_mean

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
ROWS = [4, 0, 2]
ESTIMATORS: dict[str, Estimator] = {
    "stratified_averaged": "stratified_averaged",
    "stratified": "stratified",
    "weighted": "weighted",
    "batch": "batch",
    "exact": Exact(X, U),
}
every_product = pytest.mark.parametrize("name", PRODUCTS)


def terms(elbo: TermsELBO, name: str, rows: list[int] = ROWS) -> dict[str, Tensor]:
    case = CONDITIONAL[name]
    pyro.set_rng_seed(5)
    return dict(elbo.evaluate(case.model, case.encoder, X[rows], U[rows]).terms)


@pytest.mark.full(but=["*-exact", "Normal-*"])
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@every_product
def test_the_parts_less_the_information_of_the_prior_are_the_kl(
    name: str, estimator: Estimator
) -> None:
    found = terms(TotalCorrelationELBO(1.0, 2.0, 1.0, estimator, analytic_kl=False), name)
    parts = ("mutual_information", "total_correlation", "dimensionwise_kl")
    sum_of_parts = sum(found[part] for part in parts)
    torch.testing.assert_close(sum_of_parts - found["prior_information"], found["kl"], **CLOSE)
    assert found["prior_information"].abs() > 1e-3
    elbo = GroupedTotalCorrelationELBO(1.0, 2.0, 1.0, 1.0, estimator, analytic_kl=False)
    grouped = terms(elbo, name)
    for part in ("mutual_information", "dimensionwise_kl", "prior_information"):
        torch.testing.assert_close(grouped[part], found[part], **CLOSE)


@every_product
def test_the_information_of_the_prior_counts_once(name: str) -> None:
    case, (alpha, beta, gamma) = CONDITIONAL[name], (0.3, 2.0, 0.6)
    pyro.set_rng_seed(5)
    elbo = TotalCorrelationELBO(alpha, beta, gamma)
    estimate = elbo.evaluate(case.model, case.encoder, X[ROWS], U[ROWS])
    found = estimate.terms
    expected = (
        estimate.elbo
        + (1 - alpha) * found["mutual_information"]
        + (1 - beta) * found["total_correlation"]
        + (1 - gamma) * found["dimensionwise_kl"]
    )
    torch.testing.assert_close(estimate.objective, expected, **CLOSE)
    weighted = (weight * found[term] for term, weight in elbo.weights().items() if term in found)
    torch.testing.assert_close(estimate.objective, sum(weighted), **CLOSE)


@pytest.mark.full(but=["*-Normal", "TotalCorrelationELBO-*"])
@pytest.mark.parametrize(
    "name", [n for n in CONDITIONAL if n not in ("component that is summed out", "spike and slab")]
)
@pytest.mark.parametrize(
    "elbo",
    [TotalCorrelationELBO(), AggregateELBO(), BetaELBO(), InfoELBO()],
    ids=lambda elbo: type(elbo).__name__,
)
def test_neutral_weights_are_pyros_own_elbo(elbo: TermsELBO, name: str) -> None:
    """Of models without discrete sites, which Pyro's does not sum out."""
    case = CONDITIONAL[name]
    pyro.set_rng_seed(3)
    expected = Trace_ELBO().loss(case.model, case.encoder, X[ROWS], U[ROWS])
    elbo.analytic_kl = False
    pyro.set_rng_seed(3)
    found = elbo.loss(case.model, case.encoder, X[ROWS], U[ROWS])
    assert found == pytest.approx(expected, rel=1e-10)


def test_by_quadrature() -> None:
    """A code of one dimension given one of two places, and a guide that is shifted."""
    size, shift = 400, 0.5
    u = torch.arange(size)[:, None] % 2 * 2.0 - 1.0
    u = u.double()

    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            z = pyro.sample("z", normal(u))
            pyro.sample("x", normal(z), obs=x)

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            pyro.sample("z", normal(u + shift, 0.6))

    z = torch.linspace(-12, 12, 20_001, dtype=torch.double)

    def density(loc: float, scale: float) -> Tensor:
        return sum(dist.Normal(loc + place, scale).log_prob(z).exp() / 2 for place in (-1.0, 1.0))

    q, p = density(shift, 0.6), density(0.0, 0.7)
    given = dist.Normal(1.0, 0.7).log_prob(z) - p.log()
    of_one = dist.Normal(1.0 + shift, 0.6).log_prob(z).exp()
    other = dist.Normal(-1.0, 0.7).log_prob(z) - p.log()
    of_other = dist.Normal(-1.0 + shift, 0.6).log_prob(z).exp()
    expected = {
        "dimensionwise_kl": torch.trapezoid(q * (q.log() - p.log()), z),
        "prior_information": torch.trapezoid((of_one * given + of_other * other) / 2, z),
    }
    elbo = TotalCorrelationELBO(1.0, 2.0, 1.0)
    drawn = [elbo.evaluate(model, guide, u, u).terms for _ in range(40)]
    for name, value in expected.items():
        assert_mean(torch.stack([each[name] for each in drawn]), value)


SHARED = {**PROGRAMS, **ENUMERATED}


@pytest.mark.full(but=["VAE", "nested plates", "chain"])
@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
def test_of_a_prior_that_all_data_share_nothing_is_given(make: Callable[[], Programs]) -> None:
    programs = make()
    (pair,) = BetaELBO().trace_pairs(programs.model, programs.guide, programs.x)
    assert not pair.prior_inputs.given
    assert pair.aggregate_prior is None
    assert pair.priors(programs.x) is None


def test_of_a_prior_that_all_data_share_the_parts_are_the_kl() -> None:
    programs = PROGRAMS["VAE"]()
    elbo = TotalCorrelationELBO(1.0, 2.0, 1.0, analytic_kl=False)
    (pair,) = elbo.trace_pairs(programs.model, programs.guide, programs.x)
    assert elbo.decomposition(pair).prior_information == 0.0
    found = elbo.evaluate(programs.model, programs.guide, programs.x).terms
    assert "prior_information" not in found


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mixture in one site", "MixtureSameFamily, is not a product over dimensions"),
        ("component that is summed out", "is a mixture over 'c'"),
        ("hierarchy", "site 'z2': its prior depends on 'z1'"),
        ("spike and slab", "is a mixture over 'is_spike'"),
    ],
)
def test_of_a_prior_that_is_no_product_the_parts_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        terms(TotalCorrelationELBO(1.0, 2.0, 1.0), name)


def test_the_closed_form_of_the_kl_keeps_the_prior_of_the_datum() -> None:
    found = terms(BetaELBO(), "Normal")
    expected = torch.distributions.kl_divergence(
        normal(0.5 * X[ROWS], 0.6), normal(U[ROWS] * WEIGHT)
    )
    torch.testing.assert_close(found["kl"], expected.mean(), **CLOSE)


def test_as_many_pairs_as_are_never_in_memory() -> None:
    """Of 6,000 data and 50 dimensions they would be 7 gigabytes, and twice that for gradients."""
    size, dim = 6000, 50
    u = torch.randn(size, 1)

    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            z = pyro.sample("z", dist.Normal(u.expand(-1, dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[:, :1], 1.0).to_event(1), obs=x)

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            pyro.sample("z", dist.Normal(x.expand(-1, dim), 0.9).to_event(1))

    (pair,) = AggregateELBO().trace_pairs(model, guide, u, u)
    z = {"z": pair.guide.nodes["z"]["value"]}
    log_pz = pair.aggregate_prior.log_prob(z)
    some = pair.aggregate_prior.qz_x["z"].log_prob(z["z"][:3, None]).logsumexp(1) - math.log(size)
    torch.testing.assert_close(log_pz[:3], some)


@pytest.mark.parametrize(
    "elbo",
    [AggregateELBO(1.0, 1.0, ExclusiveKL()), TotalCorrelationELBO(1.0, 2.0, 1.0)],
    ids=["divergence", "parts"],
)
def test_what_a_masked_row_is_given_leaves_the_mixture(elbo: TermsELBO) -> None:
    """Masking rows of all data is deleting them, at the same codes."""
    valid = torch.tensor([True, False, True, True, False])
    case, z = CONDITIONAL["Normal"], torch.randn(5, 2, dtype=torch.double)

    def terms_of(rows: Tensor, *, is_masked: bool) -> dict[str, Tensor]:
        kept = valid[rows] if is_masked else torch.ones(len(rows), dtype=torch.bool)

        def masked(program: Callable[[Tensor], None], u: Tensor) -> None:
            with pyro.plate("data", len(rows), subsample=u), pyro.poutine.mask(mask=kept):
                program(u)

        def model(x: Tensor, u: Tensor) -> None:
            masked(lambda u: pyro.sample("x", normal(case.prior(u)), obs=x), u)

        def guide(x: Tensor, u: Tensor) -> None:
            masked(lambda u: case.guide(x), u)

        (pair,) = elbo.trace_pairs(model, guide, X[rows], U[rows])
        for trace in (pair.guide, pair.model):
            trace.nodes["z"]["value"] = z[rows]
        return elbo.terms(pair)

    masked = terms_of(torch.arange(5), is_masked=True)
    deleted = terms_of(valid.nonzero()[:, 0], is_masked=False)
    for name in masked.keys() - {"log_likelihood"}:
        torch.testing.assert_close(masked[name], deleted[name], **CLOSE)
