import math
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, load, train
from pyro_decomp.errors import ExperimentError, ModelError, NonFiniteError, RunError
from pyro_decomp.seeds import set_seed
from pyro_decomp.training import loop
from pyro_decomp.training.callbacks import Training
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.state import prepare
from tests.callbacks import Step
from tests.checking import Recorder

DATA = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
STEPS = 4 * 3  # epochs of batches of 8, 8 and 4
Report = Callable[[Training], None]


def build(**options: Any) -> Experiment:
    """Everything that a kill can lose: networks with batch statistics and dropout, ``pyro.param``,
    the maxima of AMSGrad, a last smaller batch, and every global random generator.
    """
    set_seed(7)
    encoder = nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 1)
    )
    decoder = nn.Linear(1, 2)

    def model(x: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        noise = 1e-2 * (random.random() + np.random.rand())
        with pyro.plate("data", len(DATA), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z) + noise, scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        scale = pyro.param("encoding scale", torch.tensor(0.5), constraint=constraints.positive)
        with pyro.plate("data", len(DATA), subsample=x):
            pyro.sample("z", dist.Normal(encoder(x), scale).to_event(1))

    defaults = {
        "data": DATA,
        "elbo": AggregateELBO(alpha=0.5),
        "epochs": 4,
        "batch_size": 8,
        "optimizer": lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True),
    }
    return Experiment(model, guide, **defaults | options)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("checkpoint.pt", "history.csv")}


def now(training: Training) -> Any:
    """What a training says of itself at one moment."""
    names = ("step", "total_steps", "epoch", "steps_per_second", "seconds_left")
    values = {name: getattr(training, name) for name in names}
    return SimpleNamespace(**values, values=dict(training.values))


class Killed(BaseException):
    """The process is gone: nothing between here and the loop may tidy up."""


def kill_at(step: int) -> Report:
    def report(progress: Training) -> None:
        if progress.step == step:
            progress._run._ending.saved = lambda error, *_: error  # a kill saves nothing
            raise Killed

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(build(), folder, seed=3)
    return files(folder)


@pytest.fixture
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint every fifth step, in place of one in so many seconds."""
    monkeypatch.setattr(loop.Loop, "_checkpoint_is_due", lambda loop: loop.step % 5 == 0)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, whole: dict[str, bytes]) -> None:
    torch.rand(9)
    train(build(), tmp_path / "run", seed=3)
    assert files(tmp_path / "run") == whole


def test_another_seed_gives_other_bytes(tmp_path: Path, whole: dict[str, bytes]) -> None:
    train(build(), tmp_path / "run", seed=4)
    assert files(tmp_path / "run")["checkpoint.pt"] != whole["checkpoint.pt"]
    assert files(tmp_path / "run")["history.csv"] != whole["history.csv"]


@pytest.mark.usefixtures("frequent_checkpoints")
def test_neither_reports_nor_checkpoints_change_a_run(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    reports: list[Any] = []
    train(build(), tmp_path / "run", seed=3, callbacks=[Step(lambda t: reports.append(now(t)))])
    assert files(tmp_path / "run") == whole
    assert [progress.step for progress in reports] == list(range(1, STEPS + 1))
    assert [progress.epoch for progress in reports] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    last = reports[-1]
    assert (last.total_steps, last.seconds_left) == (STEPS, 0.0)
    assert last.steps_per_second > 0
    expected = last.values["log_likelihood"] - last.values["kl"]
    assert last.values["elbo"] == pytest.approx(expected, abs=1e-6)
    objective = last.values["elbo"] - 0.5 * last.values["divergence"]
    assert last.values["objective"] == pytest.approx(objective, abs=1e-6)


@pytest.mark.full(but=["1", "7"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_killed_at_any_step_resumes_to_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], step: int
) -> None:
    with pytest.raises(Killed):
        train(build(), tmp_path / "run", seed=3, callbacks=[Step(kill_at(step))])
    run = train(build(), tmp_path / "run", seed=3, resume=True)
    assert files(tmp_path / "run") == whole
    assert run.step == STEPS


@pytest.mark.full(but=["steps3"])
@pytest.mark.usefixtures("frequent_checkpoints")
@pytest.mark.parametrize("steps", [(1, 7, 12), (5, 6), (6, 7, 8, 9), (11,), (12, 12)])
def test_a_run_killed_again_and_again_between_checkpoints_resumes_to_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], steps: tuple[int, ...]
) -> None:
    for step in steps:
        with pytest.raises(Killed):
            train(build(), tmp_path / "run", seed=3, resume=True, callbacks=[Step(kill_at(step))])
    train(build(), tmp_path / "run", seed=3, resume=True)
    assert files(tmp_path / "run") == whole


@pytest.mark.full
@pytest.mark.usefixtures("frequent_checkpoints")
def test_a_run_killed_between_history_and_checkpoint_resumes_to_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with pytest.raises(Killed):
        train(build(), tmp_path / "run", seed=3, callbacks=[Step(kill_at(7))])
    (tmp_path / "run" / "history.csv").write_bytes(whole["history.csv"])
    (tmp_path / "run" / ".checkpoint.pt.0123456789ab.tmp").write_bytes(whole["checkpoint.pt"][:100])
    train(build(), tmp_path / "run", seed=3, resume=True)
    assert files(tmp_path / "run") == whole
    assert not list((tmp_path / "run").glob(".*"))


def test_resuming_what_is_not_there_starts_it_and_what_is_done_stays(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    reports: list[Any] = []
    train(build(), tmp_path / "run", seed=3, resume=True)
    assert files(tmp_path / "run") == whole
    train(
        build(),
        tmp_path / "run",
        seed=3,
        resume=True,
        callbacks=[Step(lambda t: reports.append(now(t)))],
    )
    assert files(tmp_path / "run") == whole
    assert reports == []


@pytest.mark.parametrize(
    ("options", "seed", "message"),
    [
        ({}, 4, "it was started with seed 3, not 4; use the same, or train into another folder"),
        ({"epochs": 3}, 3, "expected at least the 4 epochs that the run has been trained for"),
        ({"batch_size": 5}, 3, "it was started with total_steps 12, not 16"),
        ({"data": DATA[:19]}, 3, "it was started with num_data 20, not 19"),
    ],
)
def test_another_run_is_not_resumed(
    tmp_path: Path, options: dict[str, Any], seed: int, message: str
) -> None:
    train(build(), tmp_path / "run", seed=3)
    before = files(tmp_path / "run")
    with pytest.raises(RunError, match=message):
        train(build(**options), tmp_path / "run", seed=seed, resume=True)
    assert files(tmp_path / "run") == before


def test_the_optimiser_of_another_run_is_not_resumed(tmp_path: Path) -> None:
    train(build(), tmp_path / "run")
    before = files(tmp_path / "run")
    other = build(optimizer=lambda p: torch.optim.Adam([{"params": [one]} for one in p]))
    with pytest.raises(RunError, match=r"checkpoint\.pt does not fit the run.s experiment"):
        train(other, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


def test_an_epoch_visits_every_datum_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    seen = Recorder()
    trial = build()
    guide = trial.guide

    def watched(x: Tensor) -> None:
        seen.append(x)
        guide(x)

    trial.guide = watched
    train(trial, tmp_path / "run")
    del seen[:-STEPS]  # before, what was looked at
    assert [len(batch) for batch in seen] == [8, 8, 4] * 4
    epochs = [torch.cat(seen[i : i + 3]) for i in range(0, STEPS, 3)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(0).values, DATA.sort(0).values)
    assert not any(torch.equal(epochs[0], other) for other in epochs[1:])


@pytest.mark.full
def test_training_improves_the_objective_and_ends_in_evaluation_mode(tmp_path: Path) -> None:
    run = train(build(epochs=30), tmp_path / "run")
    objective = run.history["objective"]
    assert objective[-15:].mean() > objective[:15].mean() + 0.3
    assert not any(module.training for module in run.state.modules)


def test_long_runs_log_every_so_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_HISTORY_ROWS", 5)
    reports: list[Any] = []
    run = train(build(), tmp_path / "run", callbacks=[Step(lambda t: reports.append(t.is_logged))])
    assert run.history["step"].tolist() == [1, 3, 6, 9, 12]
    assert [step + 1 for step, is_row in enumerate(reports) if is_row] == [1, 3, 6, 9, 12]


def test_a_term_that_comes_late_is_empty_before(tmp_path: Path) -> None:
    trial = build(elbo=AggregateELBO(alpha=0.0))

    def report(training: Training) -> None:
        if training.step == 5:
            training.experiment.elbo.alpha = 1.0

    run = train(trial, tmp_path / "run", callbacks=[Step(report)])
    divergence = run.history["divergence"]
    assert np.isnan(divergence).tolist() == [True] * 5 + [False] * 7
    loaded = load(tmp_path / "run", experiment=build(elbo=AggregateELBO(alpha=0.0)))
    for name, column in run.history.items():
        np.testing.assert_array_equal(loaded.history[name], column)


@pytest.mark.parametrize(("limit", "is_clipped"), [(1e-3, True), (1e6, False)])
def test_gradients_are_clipped_to_a_norm(tmp_path: Path, limit: float, is_clipped: bool) -> None:
    def step(limit: float | None, name: str) -> Tensor:
        trial = build(
            epochs=1,
            batch_size=None,
            clip_grad_norm=limit,
            optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
        )
        before = [p.detach().clone() for p in prepare(trial).parameters.values()]
        after = train(trial, tmp_path / name).state.parameters.values()
        return torch.cat([(a - b).flatten() for a, b in zip(after, before, strict=True)]).detach()

    free, limited = step(None, "free"), step(limit, "limited")
    if is_clipped:
        assert limited.norm().item() == pytest.approx(limit, rel=1e-3)
        assert torch.cosine_similarity(free, limited, dim=0).item() == pytest.approx(1, abs=1e-4)
    else:
        assert torch.equal(free, limited)


def bad_from(
    bad_step: int, spoil: Callable[[Tensor], Tensor], *, in_guide: bool = False
) -> Experiment:
    """An experiment whose likelihood, or encoding, is spoilt from its n-th step on."""
    net, calls = nn.Linear(2, 1), iter(range(1, 100))

    def model(x: Tensor) -> None:
        spoils = not in_guide and next(calls) >= bad_step
        with pyro.plate("data", len(DATA), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = spoil(z) if spoils else z
            pyro.sample("x", dist.Normal(loc.expand(-1, 2), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        spoils = in_guide and next(calls) >= bad_step
        with pyro.plate("data", len(DATA), subsample=x):
            loc = spoil(net(x)) if spoils else net(x)
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    return Experiment(model, guide, data=DATA, elbo=AggregateELBO(), epochs=9)


NAN_GRADIENT = lambda z: z + 0 * (z - z.detach()).abs().sqrt()  # noqa: E731 - 0 with slope 0 * inf


@pytest.mark.full(but=["2-NaN", "7-NaN gradient"])
@pytest.mark.usefixtures("frequent_checkpoints")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spoil": lambda z: z * 1e30}, r"log_likelihood = -inf, at site 'x' \(model\)"),
        ({"spoil": lambda z: z * math.nan}, r"log_likelihood = nan, at site 'x' \(model\)"),
        (
            {"spoil": lambda z: z * math.nan, "in_guide": True},
            r"log_likelihood = nan, kl = nan, at site 'z' \(guide\), 'z' \(model\), 'x' \(model\)",
        ),
        ({"spoil": NAN_GRADIENT}, "the gradient of weight, bias is not finite"),
    ],
    ids=["infinite", "NaN", "NaN in guide", "NaN gradient"],
)
@pytest.mark.parametrize("step", [2, 7])  # at the first the check before training meets it
def test_what_is_not_finite_stops_the_run_which_is_saved_as_before_that_step(
    tmp_path: Path, options: dict[str, Any], message: str, step: int
) -> None:
    good = train(bad_from(99, torch.clone), tmp_path / "good", seed=1)
    pyro.set_rng_seed(0)
    with pytest.raises(NonFiniteError, match=rf"^step {step}: {message} \(") as caught:
        train(bad_from(step, **options), tmp_path / "run", seed=1)
    run = load(tmp_path / "run", experiment=bad_from(99, torch.clone))
    assert run.step == len(run.history["step"]) == step - 1
    assert caught.value.__notes__[0].startswith(f"step {step - 1} is saved in")
    assert all(bool(p.isfinite().all()) for p in run.state.parameters.values())
    assert good.step == 9


@pytest.mark.usefixtures("frequent_checkpoints")
def test_a_parameter_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    def explode(parameters: Any) -> torch.optim.Optimizer:
        class Explosive(torch.optim.SGD):
            steps = 0

            def step(self, closure: Any = None) -> None:
                self.steps += 1
                if self.steps == 10:
                    with torch.no_grad():
                        self.param_groups[0]["params"][0].fill_(math.inf)

        return Explosive(parameters, lr=0.1)

    trial = build(optimizer=explode)
    with pytest.raises(NonFiniteError, match=r"^step 10: .*weight is not finite \(") as caught:
        train(trial, tmp_path / "run")
    assert caught.value.__notes__[0].startswith("step 9 is saved in")
    assert load(tmp_path / "run", experiment=build()).step == 9
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 1 + 10


def test_an_error_of_the_model_itself_is_passed_on(tmp_path: Path) -> None:
    def spoil(z: Tensor) -> Tensor:
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine"):
        train(bad_from(3, spoil), tmp_path / "run")


def test_data_outside_the_support_of_a_later_batch_are_refused_before_the_first_step(
    tmp_path: Path,
) -> None:
    net = nn.Linear(1, 1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", 4, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 4, subsample=x):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    data = torch.tensor([[0.0], [1.0], [0.5], [0.5]])
    trial = Experiment(model, guide, data=data, elbo=AggregateELBO(), batch_size=2)
    with pytest.raises(ModelError, match=r"first in row 2, column 0 with 0\.5: make the data 0 or"):
        train(trial, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.full(but=["2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_training_after_the_step_with_a_checkpoint(
    tmp_path: Path, whole: dict[str, bytes], number: signal.Signals
) -> None:
    def report(progress: Training) -> None:
        if progress.step == 5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="interrupted at step 5; the run is in") as caught:
        train(build(), tmp_path / "run", seed=3, callbacks=[Step(report)])
    assert signal.getsignal(number) == before
    stopped = caught.value
    assert (stopped.step, stopped.out, stopped.signal) == (5, tmp_path / "run", number)
    assert load(tmp_path / "run", experiment=build()).step == 5
    train(build(), tmp_path / "run", seed=3, resume=True)
    assert files(tmp_path / "run") == whole


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path: Path) -> None:
    def report(progress: Training) -> None:
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        train(build(), tmp_path / "run", callbacks=[Step(report)])
    assert load(tmp_path / "run", experiment=build()).step == caught.value.step == 5


def test_training_in_another_thread_gives_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train, build(), tmp_path / "run", seed=3).result()
    assert files(tmp_path / "run") == whole


def two_sites(**options: Any) -> Experiment:
    """Two latent sites, whose dependence is looked for, with ``pyro.module`` and BatchNorm."""
    set_seed(7)
    encoder = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    decoder = nn.Linear(2, 2)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(DATA), subsample=x):
            a = pyro.sample("a", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(torch.cat([a, b], -1)), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(DATA), subsample=x):
            loc = encoder(x)
            pyro.sample("a", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("b", dist.Normal(-loc, 1.0).to_event(1))

    defaults = {"data": DATA, "elbo": AggregateELBO(), "epochs": 4, "batch_size": 8}
    return Experiment(model, guide, modules=[encoder, decoder], **defaults | options)


def test_looking_for_dependence_between_sites_leaves_batch_statistics_alone(
    tmp_path: Path,
) -> None:
    run = train(two_sites(), tmp_path / "whole")
    parts = [part for module in run.state.modules for part in module.modules()]
    (norm,) = (part for part in parts if isinstance(part, nn.BatchNorm1d))
    assert norm.num_batches_tracked == STEPS
    with pytest.raises(Killed):
        train(two_sites(), tmp_path / "killed", callbacks=[Step(kill_at(5))])
    train(two_sites(), tmp_path / "killed", resume=True)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_other_data_of_the_same_size_are_not_resumed(tmp_path: Path) -> None:
    train(build(epochs=1), tmp_path)
    before = files(tmp_path)
    with pytest.raises(RunError, match="was started with different data"):
        train(build(epochs=1, data=DATA + 1), tmp_path, resume=True)
    assert files(tmp_path) == before


def test_an_optimiser_that_cannot_be_made_is_one_sentence_and_leaves_no_folder(
    tmp_path: Path,
) -> None:
    optimizer = lambda parameters: torch.optim.Adam(parameters, lr=-1.0)  # noqa: E731
    with pytest.raises(ExperimentError, match="optimiser cannot be made: Invalid learning rate"):
        train(build(optimizer=optimizer), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_learned_prior_without_gradients_leaves_no_folder(tmp_path: Path) -> None:
    locs = nn.Parameter(torch.tensor([[-1.0], [1.0]]))

    def model(x: Tensor) -> None:
        clusters = dist.Normal(pyro.param("locs", locs), 1.0).to_event(1)
        mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), clusters)
        with pyro.plate("data", len(DATA), subsample=x):
            z = pyro.sample("z", mixture)
            pyro.sample("x", dist.Normal(z.expand(-1, 2), 1.0).to_event(1), obs=x)

    experiment = build()
    experiment.model = model
    with pytest.raises(ModelError, match="'z' is learned but cannot be drawn with gradients"):
        train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_weight_that_becomes_nan_is_blamed(tmp_path: Path) -> None:
    class Weighted(AggregateELBO):
        def weights(self) -> dict[str, float | Tensor]:
            return super().weights() | {"kl": math.nan}

    with pytest.raises(NonFiniteError, match="every term finite, so a weight is not"):
        train(build(elbo=Weighted()), tmp_path)
