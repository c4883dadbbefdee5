import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_decomp import (
    VAE,
    AggregateELBO,
    CovariancePenalty,
    Experiment,
    InclusiveKL,
    TermsELBO,
    load,
    train,
)
from pyro_decomp.elbo.capacity import CapacityELBO
from pyro_decomp.errors import ExperimentError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.schedules import Capacity, Constant, Cosine, Cyclical, Linear, Schedule
from pyro_decomp.schedules import UnfinishedScheduleWarning as Unfinished
from pyro_decomp.training.callbacks import Training
from pyro_decomp.training.interruption import Interrupted
from tests.callbacks import Step
from tests.checking import Recorder

EPOCHS, STEPS = 4, 12  # three batches an epoch, the last one smaller
SCHEDULES = {"beta": Linear(0.5, 2.0, until=0.5), "alpha": Cosine(0.0, 1.0, until=10)}


def prior() -> torch.Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(
    schedules: Mapping[str, Schedule] = SCHEDULES, elbo: TermsELBO | None = None, **options: Any
) -> Experiment:
    pyro.set_rng_seed(0)
    data = torch.randn(32, 3)
    vae = VAE(prior, MLPEncoder(3, 2, (8,)), MLPDecoder(2, 3, (8,)), size=len(data))
    settings = {"epochs": EPOCHS, "batch_size": 13} | options
    elbo = elbo or AggregateELBO()
    return Experiment(vae.model, vae.guide, data, elbo, schedules=schedules, **settings)


def interrupt_at(step: int) -> Callable[[Training], None]:
    def report(progress: Training) -> None:
        if progress.step == step:
            signal.raise_signal(signal.SIGINT)

    return report


def test_the_objective_follows_and_the_values_are_logged(tmp_path: Path) -> None:
    run = train(experiment(), tmp_path / "run")
    history = run.history
    for name, schedule in SCHEDULES.items():
        expected = [schedule.value(step, STEPS) for step in range(1, STEPS + 1)]
        assert history[name].tolist() == expected
        assert getattr(run.experiment.elbo, name) == schedule.end
    weighted = history["log_likelihood"] - history["beta"] * history["kl"]
    weighted -= history["alpha"] * history["divergence"]
    np.testing.assert_allclose(history["objective"], weighted, rtol=1e-5)
    assert len(set(history["beta"])) == 6


def test_the_value_of_the_step_is_reported(tmp_path: Path) -> None:
    seen = []
    schedules = {"beta": Cyclical(0.0, 1.0, cycles=2)}
    train(
        experiment(schedules),
        tmp_path / "run",
        callbacks=[Step(lambda t: seen.append(t.values["beta"]))],
    )
    assert seen == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 0, 1 / 3, 2 / 3, 1, 1, 1, 1])


def test_a_constant_schedule_trains_as_the_same_weight(tmp_path: Path) -> None:
    scheduled = train(experiment({"beta": Constant(3.0)}), tmp_path / "scheduled")
    plain = train(experiment({}, AggregateELBO(beta=3.0)), tmp_path / "plain")
    assert scheduled.history.pop("beta").tolist() == [3.0] * STEPS
    assert scheduled.history.keys() == plain.history.keys()
    for name, column in plain.history.items():
        np.testing.assert_array_equal(scheduled.history[name], column)


def test_a_tensor_stays_one(tmp_path: Path) -> None:
    elbo = AggregateELBO(beta=torch.tensor(1.0))
    run = train(experiment({"beta": Linear(1.0, 2.0)}, elbo), tmp_path / "run")
    torch.testing.assert_close(run.experiment.elbo.beta, torch.tensor(2.0))
    assert elbo.beta == 1.0


@pytest.mark.full(but=["4"])
@pytest.mark.parametrize("step", [1, 4, 7, 11])
def test_a_resumed_run_has_the_same_bits(tmp_path: Path, step: int) -> None:
    whole, broken = (train_into(tmp_path / name) for name in ("whole", "broken"))
    whole()
    with pytest.raises(Interrupted):
        broken(callbacks=[Step(interrupt_at(step))])
    broken(resume=True)
    for name in ("checkpoint.pt", "history.csv"):
        a, b = ((tmp_path / run / name).read_bytes() for run in ("whole", "broken"))
        assert a == b


def train_into(path: Path) -> Callable[..., object]:
    return lambda **options: train(experiment(), path, **options)


def test_a_loaded_run_has_the_last_weights(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(experiment(), tmp_path / "run", callbacks=[Step(interrupt_at(4))])
    run = load(tmp_path / "run", experiment=experiment())
    for name, schedule in SCHEDULES.items():
        assert getattr(run.experiment.elbo, name) == schedule.value(4, STEPS)
        assert run.history[name][-1] == schedule.value(4, STEPS)


def test_a_capacity_is_raised_while_training(tmp_path: Path) -> None:
    elbo = CapacityELBO(gamma=10.0, capacity=0.0)
    run = train(experiment({"capacity": Capacity(6.0)}, elbo), tmp_path / "run")
    gap = abs(run.history["kl"] - run.history["capacity"])
    np.testing.assert_allclose(run.history["capacity_gap"], gap, rtol=1e-4, atol=1e-6)
    assert run.history["capacity"].tolist() == pytest.approx(np.linspace(0.5, 6.0, STEPS))


def test_the_first_step_is_checked_before_the_run(tmp_path: Path) -> None:
    """A divergence whose weight starts at 0 is part of the check of model and guide."""
    seen = Recorder()

    class Recording(AggregateELBO):
        def weights(self) -> dict[str, Any]:
            assert self.alpha  # in the check too
            seen.append(self.alpha)
            return super().weights()

    schedules = {"alpha": Linear(0.0, 12.0)}
    train(experiment(schedules, Recording()), tmp_path / "run")
    assert seen[-STEPS:] == [*range(1, STEPS + 1)]
    assert set(seen[:-STEPS]) == {1.0}  # a whole batch and a smaller one are checked


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (Linear(0.0, 1.0, until=50), 50),
        (Constant(0.0, until=3).then(Cosine(0.0, 1.0, until=13)), 13),
    ],
)
def test_a_run_that_ends_before_its_schedule(tmp_path: Path, schedule: Schedule, end: int) -> None:
    told = f"the schedule of beta ends at step {end}, but the run at step 12, where beta is 0."
    seen = []
    with pytest.warns(Unfinished, match=told) as caught:
        train(
            experiment({"beta": schedule}),
            tmp_path / "run",
            callbacks=[Step(lambda t: seen.append(t.step))],
        )
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert seen[-1] == STEPS


@pytest.mark.parametrize("until", [STEPS, 1.0])
def test_a_run_that_ends_with_its_schedule_says_nothing(tmp_path: Path, until: float) -> None:
    run = train(experiment({"beta": Linear(0.0, 1.0, until=until)}), tmp_path / "run")
    assert run.history["beta"][-1] == 1.0


@pytest.mark.parametrize(
    ("schedules", "match"),
    [
        (
            {"betta": Linear(0.0, 1.0)},
            r"one of supervision, beta, alpha \(.*AggregateELBO\), got 'betta'",
        ),
        ({"divergence": Linear(0.0, 1.0)}, "one of supervision, beta, alpha .* got 'divergence'"),
        (
            {"num_particles": Linear(1.0, 2.0)},
            "one of supervision, beta, alpha .* got 'num_particles'",
        ),
        ({"analytic_kl": Linear(0.0, 1.0)}, "one of supervision, beta, alpha .* got 'analytic_kl'"),
        ({"beta": 2.0}, r"schedules\['beta'\]: expected a schedule .* got 2.0"),
    ],
)
def test_what_is_refused(schedules: dict[str, Any], match: str) -> None:
    with pytest.raises(ExperimentError, match=match):
        experiment(schedules)


def test_weights_within_a_divergence_can_be_scheduled(tmp_path: Path) -> None:
    divergence = InclusiveKL() + 2.0 * CovariancePenalty("I")
    schedules = {
        "divergence.1": Linear(0.0, 4.0, until=1.0),
        "divergence.1.lambda_d": Linear(1.0, 3.0, until=1.0),
    }
    elbo = AggregateELBO(alpha=1.0, divergence=divergence)
    run = train(experiment(schedules, elbo), tmp_path / "run")
    assert run.history["divergence.1"][-1] == 4.0
    parts = run.experiment.elbo.divergence.parts
    assert parts[1][0] == 4.0
    assert parts[1][1].lambda_d == 3.0
    assert divergence.parts[1][0] == 2.0
    with pytest.raises(ExperimentError, match=r"expected one of .*divergence\.0.*got 'divergence"):
        experiment({"divergence": Linear(0.0, 1.0, until=1.0)}, elbo)
