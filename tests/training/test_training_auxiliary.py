import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment, InclusiveKL, TermsELBO, load, train
from pyro_decomp.divergences.adversarial import AdversarialDivergence
from pyro_decomp.divergences.auxiliary import Auxiliary
from pyro_decomp.divergences.base import Divergence
from pyro_decomp.elbo.factor import FactorELBO
from pyro_decomp.errors import ModelError, NonFiniteError
from pyro_decomp.networks import Discriminator, MLPDecoder, MLPEncoder
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.schedules import Linear
from pyro_decomp.training import auxiliary_steps
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from tests.callbacks import Step
from tests.training.test_training_schedules import interrupt_at

N, BATCH, EPOCHS = 32, 13, 3  # three batches an epoch, the last one smaller
FAST = partial(torch.optim.Adam, lr=1e-2)


def factor() -> TermsELBO:
    return FactorELBO(5.0, Discriminator(2, (8,)), optimizer=FAST)


def adversarial() -> TermsELBO:
    divergence = AdversarialDivergence(Discriminator(2, (8,)), "js", optimizer=FAST)
    return AggregateELBO(alpha=5.0, divergence=divergence)


def normalised() -> TermsELBO:
    """A discriminator with buffers."""
    network = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    return FactorELBO(5.0, network, optimizer=FAST)


OBJECTIVES = {"factor": factor, "adversarial": adversarial, "batch norm": normalised}


@pytest.fixture(params=OBJECTIVES)
def objective(request: pytest.FixtureRequest) -> Callable[[], TermsELBO]:
    return OBJECTIVES[request.param]


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(objective: Callable[[], TermsELBO], **options: Any) -> Experiment:
    pyro.set_rng_seed(0)
    data = torch.randn(N, 3)
    vae = VAE(prior, MLPEncoder(3, 2, (8,)), MLPDecoder(2, 3, (8,)), size=N)
    settings = {"epochs": EPOCHS, "batch_size": BATCH} | options
    return Experiment(vae.model, vae.guide, data, objective(), **settings)


def discriminator(run: Run) -> dict[str, Tensor]:
    (auxiliary,) = run.experiment.auxiliaries.values()
    return auxiliary.module.state_dict()


@pytest.mark.full(but=["factor-13", "adversarial-None"])
@pytest.mark.parametrize("batch_size", [BATCH, None])
def test_it_is_trained_and_logged(
    objective: Callable[[], TermsELBO], batch_size: int | None, tmp_path: Path
) -> None:
    made = experiment(objective, batch_size=batch_size)
    (auxiliary,) = made.auxiliaries.values()
    before = [weight.detach().clone() for weight in auxiliary.module.parameters()]
    run = train(made, tmp_path / "run")
    (trained,) = run.experiment.auxiliaries.values()
    after = [weight.detach() for weight in trained.module.parameters()]
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(after, before, strict=True))
    assert all(map(torch.equal, auxiliary.module.parameters(), before))
    assert len(run.history["discriminator_loss"]) == made.total_steps
    assert run.history["discriminator_loss"] == pytest.approx(math.log(2), abs=0.3)
    assert len(set(run.history["discriminator_loss"])) == made.total_steps


@pytest.mark.full(but=["factor"])
def test_a_resumed_run_has_the_same_bits(
    objective: Callable[[], TermsELBO], tmp_path: Path
) -> None:
    train(experiment(objective), tmp_path / "whole")
    for step in (2, 3, 7):
        out = tmp_path / f"broken at {step}"
        with pytest.raises(Interrupted):
            train(experiment(objective), out, callbacks=[Step(interrupt_at(step))])
        train(experiment(objective), out, resume=True)
        for name in ("checkpoint.pt", "history.csv"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.full(but=["factor"])
def test_a_loaded_run_evaluates_the_same(
    objective: Callable[[], TermsELBO], tmp_path: Path
) -> None:
    trained = train(experiment(objective), tmp_path / "run")
    made = experiment(objective)
    nn.init.zeros_(next(iter(next(iter(made.auxiliaries.values())).module.parameters())))
    loaded = load(tmp_path / "run", experiment=made)
    torch.testing.assert_close(discriminator(loaded), discriminator(trained), rtol=0, atol=0)
    estimates = []
    for run in (trained, loaded):
        assert not any(module.training for module in run.state.modules)
        pyro.set_rng_seed(1)
        estimates.append(run.experiment.elbo.evaluate(run.model, run.guide, run.data.x))
    assert estimates[0].objective == estimates[1].objective
    assert estimates[0].terms == estimates[1].terms


def test_the_main_step_is_the_same_without_the_discriminators(tmp_path: Path) -> None:
    """At weight 0 only the noise that the discriminator draws tells the runs apart: step one."""
    history = train(experiment(lambda: FactorELBO(0.0, Discriminator(2, (8,)))), tmp_path / "a")
    made = experiment(AggregateELBO)
    torch.testing.assert_close(
        [weight.detach() for weight in experiment(factor).guide.__self__.parameters()],
        [weight.detach() for weight in made.guide.__self__.parameters()],
    )
    plain = train(made, tmp_path / "b")
    assert history.history["elbo"][0] == plain.history["elbo"][0]
    assert history.history["objective"][0] == plain.history["objective"][0]


class Recording(Divergence):
    """A divergence that notes on which data its network is trained; the code of a datum is it."""

    def __init__(self, factor: float = 1.0) -> None:
        self.batches: list[Tensor] = []
        self.others: list[Tensor] = []
        self.factor = factor
        self.network = nn.Linear(1, 1)
        self.auxiliaries = (
            Auxiliary("recorder", self.network, self.loss, partial(torch.optim.SGD, lr=1e-3)),
        )

    def __call__(self, traces: TracePair) -> Tensor:
        return traces.codes().mean()

    def loss(self, traces: TracePair, other: Callable[[], Tensor]) -> Tensor:
        self.batches.append(traces.codes().detach().round()[:, 0])
        self.others.append(other().round()[:, 0])
        assert other() is other()
        return self.factor * self.network(other()).square().mean()


def identity_experiment(divergence: Divergence, epochs: int = 2) -> Experiment:
    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1e-3))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x, scale).to_event(1))

    data = torch.arange(float(N))[:, None]
    elbo = AggregateELBO(alpha=1.0, divergence=divergence)
    frozen = partial(torch.optim.SGD, lr=0.0)
    return Experiment(model, guide, data, elbo, epochs=epochs, batch_size=BATCH, optimizer=frozen)


def recorded(run: Run) -> Recording:
    found: Recording = run.experiment.elbo.divergence  # type: ignore[attr-defined]
    return found


@pytest.mark.full
def test_the_second_minibatch_is_independent(tmp_path: Path) -> None:
    epochs = 30
    run = train(identity_experiment(Recording(), epochs), tmp_path / "run")
    recording = recorded(run)
    sizes = [BATCH, BATCH, N - 2 * BATCH] * epochs
    assert [len(batch) for batch in recording.batches] == sizes
    assert [len(other) for other in recording.others] == sizes
    for batches in (recording.batches, recording.others):
        for epoch in range(epochs):  # each passes over all the data
            seen = torch.cat(batches[3 * epoch : 3 * epoch + 3])
            assert seen.sort().values.tolist() == list(range(N))
    shared = torch.tensor(
        [
            float(torch.isin(other, batch).sum())
            for batch, other in zip(recording.batches, recording.others, strict=True)
            if len(batch) == BATCH
        ]
    )
    expected = BATCH * BATCH / N
    assert abs(shared.mean() - expected) < 4.3 * shared.std() / len(shared) ** 0.5


def test_the_second_minibatches_follow_the_seed(tmp_path: Path) -> None:
    others = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = train(identity_experiment(Recording()), tmp_path / name, seed=seed)
        others.append(torch.cat(recorded(run).others))
    assert torch.equal(others[0], others[1])
    assert not torch.equal(others[0], others[2])


@pytest.mark.full
def test_several_have_names_of_their_own(tmp_path: Path) -> None:
    one, another = (AdversarialDivergence(Discriminator(2, (8,)), "kl") for _ in range(2))

    def objective() -> TermsELBO:
        return AggregateELBO(alpha=1.0, divergence=InclusiveKL() + one + 2.0 * (another + one))

    made = experiment(objective)
    modules = {name: auxiliary.module for name, auxiliary in made.auxiliaries.items()}
    assert modules == {
        "discriminator": one.discriminator,
        "discriminator_2": another.discriminator,
    }
    history = train(made, tmp_path / "run").history
    assert not np.array_equal(history["discriminator_loss"], history["discriminator_2_loss"])


def test_a_weight_may_follow_a_schedule(tmp_path: Path) -> None:
    made = experiment(factor, schedules={"gamma": Linear(0.0, 9.0)})
    history = train(made, tmp_path / "run").history
    assert history["gamma"].tolist() == list(range(1, 10))
    expected = history["elbo"] - history["gamma"] * history["total_correlation"]
    np.testing.assert_allclose(history["objective"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.full(but=["factor"])
def test_one_that_fails_leaves_the_step_before(
    objective: Callable[[], TermsELBO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(experiment(objective), tmp_path / "whole")
    errors = iter([None] * 5 + [ValueError("once")])
    before = auxiliary_steps.norm

    def fail(gradients: Iterable[Tensor]) -> float:
        if error := next(errors, None):
            raise error
        return before(gradients)

    monkeypatch.setattr(auxiliary_steps, "norm", fail)
    with pytest.raises(ValueError, match="once") as caught:
        train(experiment(objective), tmp_path / "run")
    assert caught.value.__notes__[0].startswith("step 5 is saved in")
    train(experiment(objective), tmp_path / "run", resume=True)
    for name in ("checkpoint.pt", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"step 1: recorder_loss = inf \("):
        train(identity_experiment(Recording(math.inf)), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_discriminator_of_another_width_is_refused_before_the_run(tmp_path: Path) -> None:
    made = experiment(lambda: FactorELBO(1.0, Discriminator(5, (8,))))
    with pytest.raises(ModelError, match=r"the discriminator cannot take codes of shape \(13, 2\)"):
        train(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()
