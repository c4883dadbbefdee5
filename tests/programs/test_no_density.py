"""Guides without a density, and guides whose density is 0 in places, in training and evaluation."""

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_decomp import (
    MMD,
    AggregateELBO,
    BetaELBO,
    ExclusiveKL,
    Experiment,
    InclusiveKL,
    TotalCorrelationELBO,
    train,
)
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.divergences import SlicedWasserstein
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import ModelError, NonFiniteError
from tests.callbacks import Step

N, D, K = 20, 3, 4
HALF = torch.tensor(0.5)


class Codes(nn.Module):
    """A one-hot code, drawn by the family of that name."""

    def __init__(self, family: str) -> None:
        super().__init__()
        self.family, self.encoder, self.decoder = family, nn.Linear(D, K), nn.Linear(K, D)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.OneHotCategorical(logits=torch.zeros(K)))
            pyro.sample("x", dist.Normal(self.decoder(c), 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        h = self.encoder(x)
        with pyro.plate("data", N, subsample=x):
            if self.family == "relaxed":
                pyro.sample("c", dist.RelaxedOneHotCategoricalStraightThrough(HALF, logits=h))
            elif self.family == "one-hot":
                pyro.sample("c", dist.OneHotCategoricalStraightThrough(logits=h))
            else:  # the nearest of the codes, as in a VQ-VAE
                hard = nn.functional.one_hot(h.argmax(-1), K).to(h)
                pyro.sample("c", dist.Delta(hard + (h - h.detach()) * 0, event_dim=1))


FAMILIES = {
    "relaxed": "RelaxedOneHotCategoricalStraightThrough",
    "one-hot": "OneHotCategoricalStraightThrough",
    "nearest": "Delta",
}
families = pytest.mark.parametrize("family", FAMILIES)


def data() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@families
def test_the_elbo_is_pyros(family: str) -> None:
    programs, elbo, losses = Codes(family), BetaELBO(analytic_kl=False), []
    for objective in (elbo, Trace_ELBO(), elbo):
        with pyro.validation_enabled(False):  # some draws of Pyro's leave the support by rounding
            pyro.set_rng_seed(0)
            losses.append(objective.loss(programs.model, programs.guide, data()))
    assert losses[0] == losses[2] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("family", ["RelaxedBernoulli", "RelaxedOneHotCategorical"])
def test_a_straight_through_prior_scores_the_draw_before_it_is_rounded(family: str) -> None:
    family_of = getattr(dist, f"{family}StraightThrough")
    x = data()

    def site(logits: Tensor, temperature: float) -> dist.TorchDistribution:
        fn = family_of(torch.tensor(temperature), logits=logits)
        return fn if fn.event_shape else fn.to_event(1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", site(torch.zeros(D), 0.7))
            pyro.sample("x", dist.Normal(c, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("c", site(x, 0.5))

    losses = []
    for objective in (BetaELBO(), BetaELBO(analytic_kl=False), Trace_ELBO()):
        pyro.set_rng_seed(0)
        losses.append(objective.loss(model, guide, x))
    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-5)


@families
@pytest.mark.parametrize(
    "elbo",
    [
        AggregateELBO(alpha=1.0, divergence=InclusiveKL()),
        AggregateELBO(alpha=1.0, divergence=ExclusiveKL()),
        AggregateELBO(alpha=1.0, divergence=MMD() + ExclusiveKL("batch")),
    ],
)
def test_terms_of_densities_refuse_it(family: str, elbo: TermsELBO) -> None:
    programs = Codes(family)
    expected = rf"site 'c' is a {FAMILIES[family]}, of which q\(z\) has no density: use.*MMD"
    with pytest.raises(ModelError, match=expected):
        elbo.loss(programs.model, programs.guide, data())


@pytest.mark.full(but=["one-hot"])
@families
def test_terms_of_samples_take_it_and_evaluation_leaves_the_rest_out(
    family: str, tmp_path: Path
) -> None:
    programs = Codes(family)
    elbo = AggregateELBO(alpha=1.0, divergence=MMD() + SlicedWasserstein())
    experiment = Experiment(programs.model, programs.guide, data=data(), elbo=elbo, epochs=3)
    run = train(experiment, tmp_path / "run")
    with pytest.warns(UserWarning, match="has no density"):
        measured = evaluate(run, num_importance_samples=5)["train"]
    assert math.isfinite(measured["elbo"])
    for name in ("divergence", "mutual_information", "marginal_kl", "importance_weighted_log_px"):
        assert name not in measured
        assert FAMILIES[family] in measured["left_out"][name]


class Moving(nn.Module):
    """A guide whose support moves with the datum."""

    def __init__(self, prior: dist.TorchDistribution) -> None:
        super().__init__()
        self.prior, self.encoder, self.decoder = prior, nn.Linear(D, 4), nn.Linear(2, D)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", self.prior.expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, width = self.encoder(x).split(2, -1)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Uniform(loc, loc + width.exp()).to_event(1))


@pytest.mark.parametrize(
    "elbo",
    [
        AggregateELBO(alpha=1.0, divergence=ExclusiveKL()),
        TotalCorrelationELBO(1.0, 2.0, 1.0),
        BetaELBO(),
    ],
)
def test_a_moving_support_gives_finite_values_and_gradients(elbo: TermsELBO) -> None:
    programs = Moving(dist.Normal(0.0, 1.0))
    loss = elbo.differentiable_loss(programs.model, programs.guide, data())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in programs.parameters())


def test_the_mutual_information_of_uniform_encodings_is_that_of_overlapping_boxes() -> None:
    """Log q(z_i) is the logarithm of how many boxes of equal volume hold z_i, over N."""
    programs = Moving(dist.Normal(0.0, 1.0))
    pair = BetaELBO().drawn_pair(programs.model, programs.guide, data())
    z, fn = pair.guide.nodes["z"]["value"], pair.guide.nodes["z"]["fn"].base_dist
    inside = ((z[:, None] >= fn.low) & (z[:, None] <= fn.high)).all(-1)
    volume = (fn.high - fn.low).prod(-1)
    expected = (inside / volume).mean(1).log()
    torch.testing.assert_close(pair.aggregate_posterior.log_prob({"z": z}), expected)


@pytest.mark.full
def test_what_no_encoding_reaches_makes_the_inclusive_kl_infinite(tmp_path: Path) -> None:
    programs = Moving(dist.Normal(0.0, 1.0))
    elbo = AggregateELBO(alpha=1.0, divergence=InclusiveKL())
    estimate = elbo.evaluate(programs.model, programs.guide, data())
    assert estimate.terms["divergence"] == math.inf
    experiment = Experiment(programs.model, programs.guide, data=data(), elbo=elbo, epochs=2)
    with pytest.raises(NonFiniteError, match=r"divergence = inf.*'z' \(Uniform\).*ExclusiveKL"):
        train(experiment, tmp_path / "a")
    experiment.elbo = BetaELBO()
    run = train(experiment, tmp_path / "b")
    measured = evaluate(run, only=["divergence", "mutual_information", "marginal_kl"])["train"]
    assert "it is infinite" in measured["left_out"]["divergence"]
    assert math.isfinite(measured["marginal_kl"])


def test_a_code_outside_of_the_priors_support_is_named(tmp_path: Path) -> None:
    programs = Moving(dist.Uniform(-50.0, 50.0))
    experiment = Experiment(
        programs.model, programs.guide, data=data(), elbo=BetaELBO(analytic_kl=False), epochs=9
    )

    def move(training: Any) -> None:
        training.experiment.model.__self__.encoder.bias.data[:2] = 100.0

    expected = r"kl = inf, at site 'z' \(model, with values outside of the support of Uniform\)"
    with pytest.raises(NonFiniteError, match=expected):
        train(experiment, tmp_path / "run", callbacks=[Step(move)])
