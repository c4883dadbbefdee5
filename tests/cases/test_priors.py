"""Priors that depend on something: q(z) and p(z) are both mixtures over the data."""

from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp import evaluate
from pyro_decomp.divergences import MMD, EnergyDistance, ExclusiveKL, InclusiveKL
from pyro_decomp.elbo import AggregateELBO, TotalCorrelationELBO
from tests.cases.running import trained
from tests.not_yet import rows
from tests.statistics import STANDARD_ERRORS

NUM_DATA = 400
Program = Callable[..., None]


LABEL = ["label"]


@pytest.mark.parametrize("_", rows("label as an argument", LABEL, often=LABEL))
def test_a_label_as_an_argument(_: str, tmp_path: Path) -> None:
    """The guide is the prior, so that q(z) = p(z): every divergence is 0."""
    run = trained("conditional_prior_argument", tmp_path / "run")
    assert run.history["divergence"] == pytest.approx(0.0, abs=1e-5)
    found = evaluate(run, only=["divergence", "marginal_kl", "dimensionwise_kl"])["train"]
    for name in ("divergence", "marginal_kl", "dimensionwise_kl"):
        assert found[name] == pytest.approx(0.0, abs=1e-5), name


def covariate() -> Tensor:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    return 3 * torch.randn(NUM_DATA, 1)


def given(u: Tensor) -> dist.TorchDistribution:
    return dist.Normal(u.expand(-1, 2), 1.0).to_event(1)


def of_column() -> tuple[Program, Program, tuple[Tensor, ...]]:
    """The covariate is the first column of x."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", given(x[:, :1]))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x[:, 1])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", given(x[:, :1]))

    return model, guide, (torch.cat([covariate(), torch.randn(NUM_DATA, 2)], -1),)


def of_argument() -> tuple[Program, Program, tuple[Tensor, ...]]:
    """The covariate is a second argument."""

    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", given(u))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", given(u))

    u = covariate()
    return model, guide, (torch.randn(NUM_DATA, 2), u)


def of_observed_site() -> tuple[Program, Program, tuple[Tensor, ...]]:
    """The covariate is observed, with a density of its own."""
    _, guide, (x, u) = of_argument()

    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("u", dist.Normal(0.0, 3.0).expand([1]).to_event(1), obs=u)
            z = pyro.sample("z", given(u))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    return model, guide, (x, u)


KINDS = {"column": of_column, "argument": of_argument, "observed site": of_observed_site}
DIVERGENCES = {"inclusive": InclusiveKL, "exclusive": ExclusiveKL}
OF_KL = [f"{kind}, {name}" for kind in KINDS for name in DIVERGENCES]


@pytest.mark.parametrize("name", rows("priors given something", OF_KL, often=OF_KL))
def test_a_guide_that_is_the_prior_has_no_divergence_from_it(name: str) -> None:
    kind, divergence = name.split(", ")
    model, guide, data = KINDS[kind]()
    elbo = AggregateELBO(1.0, 1.0, DIVERGENCES[divergence]())
    assert elbo.evaluate(model, guide, *data).terms["divergence"].item() == pytest.approx(
        0.0, abs=1e-10
    )


OF_SAMPLES = {"MMD": MMD, "energy distance": EnergyDistance}
WITH_SAMPLES = [f"{kind}, {name}" for kind in KINDS for name in OF_SAMPLES]


@pytest.mark.full(but=["column, MMD"])
@pytest.mark.parametrize(
    "name", rows("samples of priors given something", WITH_SAMPLES, often=WITH_SAMPLES)
)
def test_samples_tell_no_difference_either(name: str) -> None:
    """On the average; of one draw, the estimate of an MMD may be negative."""
    kind, divergence = name.split(", ")
    model, guide, data = KINDS[kind]()
    elbo = AggregateELBO(1.0, 1.0, OF_SAMPLES[divergence]())
    values = torch.stack(
        [elbo.evaluate(model, guide, *data).terms["divergence"].detach() for _ in range(10)]
    )
    assert values.mean().abs() < STANDARD_ERRORS * values.std() / len(values) ** 0.5


def plain_parts(u: Tensor) -> dict[str, Tensor]:
    """What each of one draw a datum adds to the parts, by their definitions."""
    q = dist.Normal(u.expand(-1, 2), 1.0)
    z = q.sample()
    of_pairs = q.log_prob(z[:, None])
    log_q = q.log_prob(z).sum(-1)
    log_qz = of_pairs.sum(-1).logsumexp(1) - torch.tensor(float(NUM_DATA)).log()
    log_product = (of_pairs.logsumexp(1) - torch.tensor(float(NUM_DATA)).log()).sum(-1)
    return {
        "mutual_information": log_q - log_qz,
        "total_correlation": log_qz - log_product,
        "prior_information": log_q - log_product,  # p(z|u) is q(z|u), and q(z) p(z)
    }


@pytest.mark.parametrize("kind", rows("parts of priors given something", KINDS, often=KINDS))
def test_the_parts_of_the_kl_are_their_definitions_and_add_up(kind: str) -> None:
    model, guide, data = KINDS[kind]()
    elbo = TotalCorrelationELBO(1.0, 2.0, 1.0)
    terms = {k: v.item() for k, v in elbo.evaluate(model, guide, *data).terms.items()}
    assert terms["kl"] == pytest.approx(0.0, abs=1e-10)
    assert terms["dimensionwise_kl"] == pytest.approx(0.0, abs=1e-10)
    for name, plain in plain_parts(data[-1] if len(data) > 1 else data[0][:, :1]).items():
        error = STANDARD_ERRORS * (2 * plain.var() / NUM_DATA).sqrt().item()
        assert terms[name] == pytest.approx(plain.mean().item(), abs=error), name
    total = sum(terms[k] for k in ("mutual_information", "total_correlation", "dimensionwise_kl"))
    assert total - terms["prior_information"] == pytest.approx(terms["kl"], abs=1e-10)
