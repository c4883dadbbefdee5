"""What Python changes between steps is followed, whoever does it."""

from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.acceleration.guards import Guard
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.divergences import ExclusiveKL, InclusiveKL
from pyro_decomp.priors import GaussianMixture
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.state import prepare, step_source
from tests.acceleration.moving import Change, Programs, assert_same, build, trained
from tests.cost import calls_of

WAYS = ["captured", *([] if library.why_not() else ["fused"])]


def beta(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        experiment.elbo.beta = 4.0


def beta_often(experiment: Experiment, programs: Programs, step: int) -> None:
    experiment.elbo.beta = 1.0 + step / 50


def beta_to_nothing(experiment: Experiment, programs: Programs, step: int) -> None:
    experiment.elbo.beta = max(0.0, 1.0 - step / 20)


def other_divergence(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        experiment.elbo.divergence = ExclusiveKL()


def estimator(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        experiment.elbo.num_particles = 2


def frozen(experiment: Experiment, programs: Programs, step: int) -> None:
    if step in (10, 20):
        programs.encoder.requires_grad_(step == 20)


def evaluating(experiment: Experiment, programs: Programs, step: int) -> None:
    programs.encoder.train(step % 7 > 2)


def buffer_in_place(experiment: Experiment, programs: Programs, step: int) -> None:
    programs.noise.data.mul_(0.98)


def buffer_anew(experiment: Experiment, programs: Programs, step: int) -> None:
    programs.noise = programs.noise * 0.98


def buffer_of_another_shape(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        programs.noise = torch.full((3,), 0.4, dtype=torch.double)


def weights_moved(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        programs.decoder.weight.data = 0.5 * programs.decoder.weight.data


FOLLOWED: dict[str, Change] = {
    each.__name__: each
    for each in (
        beta,
        beta_often,
        beta_to_nothing,
        other_divergence,
        estimator,
        frozen,
        evaluating,
        buffer_in_place,
        buffer_anew,
        buffer_of_another_shape,
        weights_moved,
    )
}


FOLLOWED_OFTEN = {"beta_often", "frozen", "buffer_anew"}


@pytest.mark.full(but=["frozen-captured"])
@pytest.mark.filterwarnings("ignore:`elbo.divergence` moved")  # which is another object
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "name",
    [
        each if each in FOLLOWED_OFTEN else pytest.param(each, marks=pytest.mark.slow)
        for each in FOLLOWED
    ],
)
def test_a_change_is_followed(name: str, how: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"programs": lambda: Programs(nn.Dropout(0.2))}
    eager = trained(tmp_path / "eager", "eager", FOLLOWED[name], **options)
    other = trained(tmp_path / how, how, FOLLOWED[name], **options)
    assert_same(eager, other)
    assert other.config["execution"]["steps"] == how


class Clustered(Programs):
    """Clusters, whose weights are a buffer, in the place of the Normal."""

    def __init__(self) -> None:
        super().__init__()
        self.clusters = GaussianMixture(torch.eye(2, dtype=torch.double), 0.5)

    def prior(self) -> Any:
        clusters = dist.Categorical(logits=self.clusters.logits)
        components = dist.Normal(self.clusters.locs, self.clusters.scale).to_event(1)
        return dist.MixtureSameFamily(clusters, components)


def cluster_weights_in_place(experiment: Experiment, programs: Any, step: int) -> None:
    programs.clusters.logits[0] += 0.1


def cluster_weights_anew(experiment: Experiment, programs: Any, step: int) -> None:
    programs.clusters.logits = torch.tensor([0.1 * step, 0.0], dtype=torch.double)


def another_cluster(experiment: Experiment, programs: Any, step: int) -> None:
    if step == 10:
        locs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]], dtype=torch.double)
        new = GaussianMixture(locs, 0.5)
        for name in ("locs", "log_scale", "logits"):
            setattr(programs.clusters, name, getattr(new, name))


@pytest.mark.full(but=["cluster_weights_in_place-captured"])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "change", [cluster_weights_in_place, cluster_weights_anew, another_cluster]
)
def test_draws_follow_the_buffers_that_they_depend_on(
    change: Change, how: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "programs": Clustered,
        "elbo": AggregateELBO(alpha=1.0, divergence=InclusiveKL()),
    }
    eager = trained(tmp_path / "eager", "eager", change, **options)
    other = trained(tmp_path / how, how, change, **options)
    assert_same(eager, other)
    assert other.config["execution"]["steps"] == how
    fixed = trained(tmp_path / "fixed", how, **options)
    assert fixed.history["divergence"][-1] != other.history["divergence"][-1]


def network_replaced(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        programs.decoder = nn.Linear(2, 3).double()
        nn.init.ones_(programs.decoder.weight)
        nn.init.zeros_(programs.decoder.bias)


def guide_replaced(experiment: Experiment, programs: Programs, step: int) -> None:
    if step == 10:
        own = programs.guide
        experiment.guide = lambda x: own(2 * x)


@pytest.mark.full
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("change", "what"),
    [(network_replaced, "a network or a parameter"), (guide_replaced, "the guide")],
)
def test_what_is_replaced_sends_the_run_to_eager_steps(
    change: Change, what: str, how: str, tmp_path: Path
) -> None:
    eager = trained(tmp_path / "eager", "eager", change)
    with pytest.warns(ExecutionWarning, match=f"from step 11 on .* as {what} was replaced"):
        other = trained(tmp_path / how, how, change)
    assert_same(eager, other)
    first, second = other.config["execution"]["stretches"]
    assert (first["first_step"], first["steps"]) == (1, how)
    assert (second["first_step"], second["steps"]) == (11, "eager")


def test_a_step_pays_little_for_being_guarded() -> None:
    experiment, _ = build()
    guard = Guard(step_source(experiment, prepare(experiment)))
    assert guard.holds()
    assert calls_of(guard.holds) < 500  # a fused step takes as long as thousands
