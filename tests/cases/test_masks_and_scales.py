"""Handlers of the user's around the programs' sites."""

import math
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.distributions import MultivariateNormal

from pyro_decomp import evaluate
from pyro_decomp.analysis.latents import log_likelihood
from pyro_decomp.elbo import BetaELBO, TotalCorrelationELBO
from tests.cases.running import build, trained
from tests.not_yet import rows

MEASURED = ("kl", "log_likelihood", "elbo", "marginal_kl", "dimensionwise_kl", "total_correlation")


@pytest.mark.full(but=["kl"])
@pytest.mark.parametrize("name", rows("row mask", MEASURED, often=["kl", "marginal_kl"]))
def test_rows_that_are_masked_do_not_matter(name: str, tmp_path: Path) -> None:
    """Within the Monte-Carlo error of the two, which draw differently."""
    of = "elbo" if name in ("kl", "log_likelihood") else name
    found, wanted = (
        evaluate(trained("row_mask", tmp_path / str(padding), padding=padding), only=[of])["train"]
        for padding in (200, 0)
    )
    assert found[name] == pytest.approx(
        wanted[name], abs=0.15 if name in ("elbo", "log_likelihood") else 0.02
    )


TRAINED = ["kl", "divergence", "log_likelihood"]


@pytest.mark.full(but=["kl"])
@pytest.mark.parametrize("name", rows("row mask in training", TRAINED, often=TRAINED))
def test_rows_that_are_masked_do_not_matter_in_training(name: str, tmp_path: Path) -> None:
    found, wanted = (
        trained("row_mask", tmp_path / str(padding), padding=padding).history
        for padding in (200, 0)
    )
    errors = {"kl": 1e-5, "divergence": 0.15, "log_likelihood": 0.4}  # the KL in closed form
    assert found[name] == pytest.approx(wanted[name], abs=errors[name])


def annealed(scale: float) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None]]:
    """Two data far apart; the latent is scaled in both programs."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", 2, subsample=x):
            with poutine.scale(scale=scale):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 2, subsample=x), poutine.scale(scale=scale):
            pyro.sample("z", dist.Normal(x, 0.5).to_event(1))

    return model, guide


SCALES = ["1.0", "0.1"]


@pytest.mark.full
@pytest.mark.parametrize("scale", rows("annealing scale", SCALES, often=SCALES))
def test_terms_are_those_of_programs_that_are_not_annealed(scale: str) -> None:
    x = torch.tensor([[-5.0], [5.0]])
    elbo = TotalCorrelationELBO(beta=2.0, num_particles=100)
    terms = elbo.evaluate(*annealed(float(scale)), x).terms
    kl = 0.5 * (0.25 + 25 - 1 - math.log(0.25))  # of N(5, .5) and N(0, 1)
    assert terms["mutual_information"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert terms["dimensionwise_kl"].item() == pytest.approx(kl - math.log(2), abs=0.8)
    assert terms["kl"].item() == pytest.approx(kl, abs=0.8)


@pytest.mark.full(but=["0.1"])
@pytest.mark.parametrize("scale", rows("log p(x) of scaled programs", SCALES, often=SCALES))
def test_log_px_is_that_of_the_model(scale: str, tmp_path: Path) -> None:
    run = trained("own_scale", tmp_path / "run", scale=float(scale))
    decoder = run.state.modules[0].decoder
    weight = decoder.weight.detach()
    exact = MultivariateNormal(decoder.bias.detach(), weight @ weight.T + torch.eye(2))
    found = log_likelihood(run, num_samples=5000)
    wanted = exact.log_prob(run.data[:][0])
    assert found.mean().item() == pytest.approx(wanted.mean().item(), abs=0.02)


WAYS = ["mask", "obs_mask"]


@pytest.mark.full(but=["mask"])
@pytest.mark.parametrize("way", rows("missing entries", WAYS, often=WAYS))
def test_missing_entries_are_left_out_of_the_likelihood(way: str, tmp_path: Path) -> None:
    masked, asked = build("missing_obs_mask", way="mask"), build("missing_obs_mask", way=way)
    data = masked.data[:]
    pyro.set_rng_seed(0)
    wanted = Trace_ELBO().loss(masked.model, masked.guide, *data) / 200
    pyro.set_rng_seed(0)
    found = BetaELBO(analytic_kl=False).loss(asked.model, asked.guide, *data) / 200
    assert wanted == pytest.approx(14.00458, abs=1e-4)
    assert found == pytest.approx(wanted, rel=1e-5)
    run = trained("missing_obs_mask", tmp_path / "run", way=way)
    assert math.isfinite(evaluate(run, only=["elbo"])["train"]["elbo"])
