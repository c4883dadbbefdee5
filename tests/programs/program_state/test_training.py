"""Programs that keep something in Python, trained, stopped, resumed, loaded and evaluated."""

import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, BetaELBO, Experiment
from pyro_decomp.divergences import InclusiveKL
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import RunError
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.run import load
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import UnkeptStateWarning, prepare
from pyro_decomp.training.training import train
from tests import example_programs
from tests.callbacks import Step
from tests.training.test_training import Killed, kill_at

N, D = 24, 3
STEPS = 30


class Counting(nn.Module):
    """The KL counts a tenth at first, by a counter of calls of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 4), nn.Linear(2, D)
        self.steps, self.stop_at = 0, 0
        self.seen: list[int] = []

    def factor(self) -> float:
        return 0.1 if self.steps < 20 else 1.0

    def model(self, x: Tensor) -> None:
        self.steps += 1
        self.seen.append(len(x))
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        with pyro.plate("data", N, subsample=x):
            with poutine.scale(scale=self.factor()):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        h = self.encoder(x)
        with pyro.plate("data", N, subsample=x), poutine.scale(scale=self.factor()):
            pyro.sample("z", dist.Normal(h[..., :2], h[..., 2:].exp()).to_event(1))


def experiment(elbo: TermsELBO | None = None) -> tuple[Counting, Experiment]:
    set_seed(0)
    programs = Counting()
    data = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    return programs, Experiment(
        programs.model, programs.guide, data, elbo or BetaELBO(), epochs=STEPS
    )


def programs_of(trial: Experiment) -> Counting:
    found: Counting = trial.model.__self__  # type: ignore[attr-defined]
    return found


def test_a_counter_counts_one_call_a_step(tmp_path: Path) -> None:
    programs, trial = experiment()
    prepare(trial)
    assert programs.steps == 0
    assert programs.seen == []
    run = train(trial, tmp_path / "run")
    assert programs.steps == 0
    programs = programs_of(run.experiment)
    assert programs.steps == STEPS
    assert programs.seen == [N] * STEPS
    for _ in range(2):
        run.model(trial.data.x[:5])
    assert programs.steps == STEPS


def test_further_runs_of_the_same_step_are_not_counted_and_see_what_the_step_saw() -> None:
    """With guide and model both scaled by the counter, terms of pairs would see another factor."""
    programs, trial = experiment(AggregateELBO(alpha=1.0, divergence=InclusiveKL()))
    log = io.StringIO()  # which is not put back

    def model(x: Tensor) -> None:
        programs.steps += 1
        log.write(f"{programs.steps} ")
        with pyro.plate("data", N, subsample=x):
            with poutine.scale(scale=programs.factor()):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(programs.decoder(z), 0.5).to_event(1), obs=x)

    for step in range(1, 7):
        log.seek(0)
        log.truncate()
        trial.elbo.evaluate(model, trial.guide, trial.data.x)
        assert programs.steps == step
        runs = log.getvalue().split()
        assert set(runs) == {str(step)}
        assert len(runs) == (3 if step == 1 else 2)  # the prior is looked at once


def killed(trial: Experiment, folder: Path, at: int) -> None:
    """Train with a checkpoint after each step, and stop dead after one of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_decomp.training.loop.Loop._checkpoint_is_due", lambda self: True)
        with pytest.raises(Killed):
            train(trial, folder, callbacks=[Step(kill_at(at))])
    checkpoint = RunFolder(folder).read_checkpoint()
    assert checkpoint is not None
    assert checkpoint["step"] == at - 1


@pytest.mark.full(but=["7"])
@pytest.mark.parametrize("at", [7, 19, 20, 21])
def test_a_run_killed_after_a_checkpoint_goes_on_to_the_same_bits(at: int, tmp_path: Path) -> None:
    _, whole = experiment()
    expected = train(whole, tmp_path / "whole").history["kl"]
    _, part = experiment()
    killed(part, tmp_path / "run", at)
    _, again = experiment()
    resumed = train(again, tmp_path / "run", resume=True)
    assert np.array_equal(resumed.history["kl"], expected)
    assert programs_of(resumed.experiment).steps == STEPS


def test_a_loaded_run_is_evaluated_with_the_counter_that_it_ended_on(tmp_path: Path) -> None:
    _, trial = experiment()
    run = train(trial, tmp_path / "run")
    given, fresh = experiment()
    again = load(tmp_path / "run", experiment=fresh)
    programs = programs_of(again.experiment)
    assert (given.steps, programs.steps) == (0, STEPS)
    assert programs.seen == [N] * STEPS
    set_seed(1)
    expected = run.experiment.elbo.evaluate(run.model, run.guide, run.data.x).terms["kl"]
    set_seed(1)
    found = again.experiment.elbo.evaluate(again.model, again.guide, again.data.x).terms["kl"]
    assert torch.equal(found, expected)
    assert programs.steps == STEPS


def test_a_checkpoint_from_before_python_state_was_kept_still_loads(tmp_path: Path) -> None:
    _, trial = experiment()
    train(trial, tmp_path / "run")
    path = next((tmp_path / "run").glob("*.pt"))
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["python"]
    torch.save(checkpoint, path)
    programs, fresh = experiment()
    load(tmp_path / "run", experiment=fresh)
    assert programs.steps == 0


def unkept() -> Experiment:
    programs, trial = experiment()
    rates = (1.0 - 0.01 * n for n in range(1000))

    def model(x: Tensor) -> None:
        rate = next(rates)
        with poutine.scale(scale=rate):
            programs.model(x)

    trial.model = model
    return trial


def test_what_no_checkpoint_can_keep_is_named_and_refused(tmp_path: Path) -> None:
    with pytest.warns(UnkeptStateWarning, match=r"`model\.rates` moved, which no checkpoint"):
        train(unkept, tmp_path / "run")
    with pytest.raises(RunError, match=r"had moved `model\.rates`, which no checkpoint can keep"):
        load(tmp_path / "run", experiment=unkept)
    with pytest.raises(RunError, match=r"had moved `model\.rates`, which no checkpoint can keep"):
        train(unkept, tmp_path / "run", resume=True)


def test_other_programs_than_the_run_was_trained_with_are_refused(tmp_path: Path) -> None:
    _, trial = experiment()
    train(trial, tmp_path / "run")
    programs, fresh = experiment()
    fresh.model, fresh.guide = _renamed(programs)
    with pytest.raises(RunError, match="which the programs of this experiment do not keep"):
        load(tmp_path / "run", experiment=fresh)


def _renamed(programs: Counting) -> tuple[Callable[..., None], Callable[..., None]]:
    encoder, decoder = programs.encoder, programs.decoder
    both = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(both["decoder"](z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        h = both["encoder"](x)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(h[..., :2], h[..., 2:].exp()).to_event(1))

    return model, guide


class Annealing(BetaELBO):
    """An objective that counts its own evaluations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        self.calls += 1
        return super().terms(traces)

    def weights(self) -> dict[str, float | Tensor]:
        return super().weights() | {"kl": -min(1.0, self.calls / STEPS)}


@pytest.mark.full
def test_what_an_objective_of_the_users_keeps_is_kept_too(tmp_path: Path) -> None:
    _, trial = experiment(Annealing())
    whole = train(trial, tmp_path / "whole")
    expected = whole.history["objective"]
    calls = [each.elbo.calls for each in (trial, whole.experiment)]  # type: ignore[attr-defined]
    assert calls == [0, STEPS]
    _, part = experiment(Annealing())

    killed(part, tmp_path / "run", 10)
    _, again = experiment(Annealing())
    run = train(again, tmp_path / "run", resume=True)
    assert np.array_equal(run.history["objective"], expected)


class Autoencoder(nn.Module):
    """Programs whose likelihood has a standard deviation that others keep somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 4), nn.Linear(2, D)

    def noise(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), self.noise(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        h = self.encoder(x)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(h[..., :2], h[..., 2:].exp()).to_event(1))


class FallingInBuffer(Autoencoder):
    """A buffer that a ``state_dict`` leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.tensor(1.0), persistent=False)

    def noise(self, z: Tensor) -> Tensor:
        self.level = 0.2 + 0.95 * (self.level - 0.2)
        level: Tensor = self.level
        return level


class FallingInParameter(Autoencoder):
    """A frozen parameter to which the programs write."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    def noise(self, z: Tensor) -> Tensor:
        self.level.mul_(0.95)
        return 0.2 + self.level


class FromFirstBatch(Autoencoder):
    """Numbers taken from the first batch that a training run sees, as ActNorm's are."""

    def __init__(self, of: type[Tensor]) -> None:
        super().__init__()
        self.is_initialised = False
        if of is nn.Parameter:
            self.centre = nn.Parameter(torch.zeros(2))
        else:
            self.register_buffer("centre", torch.zeros(2))

    def noise(self, z: Tensor) -> Tensor:
        if not self.is_initialised:
            self.centre.data.copy_(z.detach().mean(0))
            self.is_initialised = True
        return 0.3 + 0.1 * (z - self.centre).abs().mean()


class OldSpectralNorm(Autoencoder):
    """``weight`` is a plain attribute that lies in the memory of ``weight_orig`` at first."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.utils.spectral_norm(self.encoder)

    def noise(self, z: Tensor) -> Tensor:
        return torch.tensor(0.5)


KEPT_IN_NETWORKS: dict[str, Callable[[], Autoencoder]] = {
    "buffer that is not persistent": FallingInBuffer,
    "frozen parameter": FallingInParameter,
    "buffer, from the first batch": partial(FromFirstBatch, Tensor),
    "parameter, from the first batch": partial(FromFirstBatch, nn.Parameter),
    "old spectral_norm": OldSpectralNorm,
}


def in_networks(name: str) -> tuple[Autoencoder, Experiment]:
    set_seed(0)
    programs = KEPT_IN_NETWORKS[name]()
    data = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    return programs, Experiment(
        programs.model, programs.guide, data, BetaELBO(), epochs=STEPS, batch_size=10
    )


@pytest.mark.parametrize("name", KEPT_IN_NETWORKS)
def test_what_programs_write_to_networks_is_as_it_was_before_the_first_step(name: str) -> None:
    programs, trial = in_networks(name)
    before = {n: t.clone() for n, t in (*programs.named_parameters(), *programs.named_buffers())}
    prepare(trial)
    for key, tensor in (*programs.named_parameters(), *programs.named_buffers()):
        assert torch.equal(tensor, before[key]), key
    assert not getattr(programs, "is_initialised", False)


@pytest.mark.full(but=["buffer that is not persistent"])
@pytest.mark.parametrize("name", KEPT_IN_NETWORKS)
def test_what_programs_write_to_networks_is_in_a_checkpoint(name: str, tmp_path: Path) -> None:
    _, whole = in_networks(name)
    expected = train(whole, tmp_path / "whole")

    killed(in_networks(name)[1], tmp_path / "run", 7)
    run = train(in_networks(name)[1], tmp_path / "run", resume=True)
    for column, values in expected.history.items():
        assert np.array_equal(values, run.history[column], equal_nan=True), column


@pytest.mark.parametrize("name", ["counts its calls", "keeps nothing"])
def test_what_moves_alone_is_kept_for_further_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elbo, kept = AggregateELBO(alpha=1.0, divergence=InclusiveKL()), []
    if name == "keeps nothing":
        programs = example_programs.PROGRAMS["VAE"]()
        data = torch.randn(example_programs.N, example_programs.D, dtype=torch.double)
        trial = Experiment(programs.model, programs.guide, data, elbo)
    else:
        _, trial = experiment(elbo)
    program = prepare(trial).program
    assert program.moves_nothing == (name == "keeps nothing")
    keep = ProgramState.keep
    monkeypatch.setattr(ProgramState, "keep", lambda self: kept.append(self) or keep(self))
    for _ in range(3):
        elbo.evaluate(trial.model, trial.guide, *trial.batches[0])
    assert bool(kept) != program.moves_nothing
