"""Learning rates by torch's schedulers: its own rates, on every path, over an interruption."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import nn
from torch.optim import lr_scheduler as torchs

from pyro_decomp.callbacks import GradientNorms, HeldOut, LearningRate
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from tests.acceleration.moving import assert_same
from tests.callbacks.test_protocol import EPOCHS, STEPS, files, interrupt_at, trained
from tests.callbacks.test_stopping import VALUES, Says

pytestmark = pytest.mark.full

LR = 0.02
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "cosine": lambda optimizer: torchs.CosineAnnealingLR(optimizer, T_max=EPOCHS),
    "steps": lambda optimizer: torchs.MultiStepLR(optimizer, [2, 3, 7], gamma=0.5),
    "exponential": lambda optimizer: torchs.ExponentialLR(optimizer, 0.9),
    "function": lambda optimizer: torchs.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "one cycle": lambda optimizer: torchs.OneCycleLR(optimizer, 0.1, total_steps=STEPS),
    "cyclic": lambda optimizer: torchs.CyclicLR(optimizer, 0.001, 0.1, step_size_up=3),
    "sequence": lambda optimizer: torchs.SequentialLR(
        optimizer,
        [torchs.LinearLR(optimizer, total_iters=3), torchs.ExponentialLR(optimizer, 0.8)],
        milestones=[3],
    ),
    "chain": lambda optimizer: torchs.ChainedScheduler(
        [torchs.LinearLR(optimizer, total_iters=3), torchs.ExponentialLR(optimizer, 0.8)]
    ),
    "warm restarts": lambda optimizer: torchs.CosineAnnealingWarmRestarts(optimizer, 3),
}


def rates_of_torch(build: Callable[[Any], Any], per: str) -> list[float]:
    """The rate of every step where torch's own optimiser is stepped by hand."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], lr=LR)
    scheduler, rates = build(optimizer), []
    for step in range(1, STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if per == "step" or step % (STEPS // EPOCHS) == 0:
            scheduler.step()
    return rates


@pytest.mark.full(but=["step-cosine"])
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("per", ["step", "epoch"])
def test_rates_are_those_of_torch(tmp_path: Path, per: Any, name: str) -> None:
    run = trained(tmp_path / "run", LearningRate(SCHEDULERS[name], per))
    rates = run.history["learning_rate"]
    np.testing.assert_allclose(rates, rates_of_torch(SCHEDULERS[name], per), rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_resumed_run_has_the_same_bits(tmp_path: Path, name: str) -> None:
    whole = trained(tmp_path / "whole", LearningRate(SCHEDULERS[name], "step"))
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", LearningRate(SCHEDULERS[name], "step"), interrupt_at(5))
    run = trained(tmp_path / "run", LearningRate(SCHEDULERS[name], "step"), resume=True)
    assert files(run) == files(whole)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "Adam, fused": partial(torch.optim.Adam, lr=LR, fused=True),
    "SGD": partial(torch.optim.SGD, lr=LR, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=LR),
    "two groups": lambda p: torch.optim.Adam(
        [{"params": (own := list(p))[:3]}, {"params": own[3:], "lr": 0.1}], lr=LR
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("how", ["captured", "fused"])
def test_every_path_reads_the_rate(tmp_path: Path, how: str, optimizer: Any) -> None:
    def run(name: str, how: str) -> Run:
        decay = LearningRate(lambda each: torchs.ExponentialLR(each, 0.5), "step")
        return trained(tmp_path / name, decay, how=how, optimizer=optimizer, batch_size=None)

    fast = run("fast", how)
    assert fast.config["execution"]["steps"] == how
    assert_same(run("eager", "eager"), fast)


def test_groups_have_a_rate_each(tmp_path: Path) -> None:
    decay = LearningRate(lambda each: torchs.ExponentialLR(each, 0.5))
    history = trained(tmp_path / "run", decay, optimizer=OPTIMIZERS["two groups"]).history
    np.testing.assert_allclose(history["learning_rate_2"] / history["learning_rate"], 5)


def plateau(**options: Any) -> LearningRate:
    return LearningRate(
        lambda optimizer: torchs.ReduceLROnPlateau(optimizer, mode="max", patience=1, factor=0.5),
        monitor="score",
        **options,
    )


def test_a_plateau_sees_the_number_that_it_watches(tmp_path: Path) -> None:
    rates = trained(tmp_path / "run", Says(), plateau()).history["learning_rate"]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=LR)
    scheduler = torchs.ReduceLROnPlateau(optimizer, mode="max", patience=1, factor=0.5)
    expected = []
    for value in VALUES:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(value)
    assert rates.tolist() == expected
    assert rates[-1] < LR


def test_a_plateau_goes_on_over_an_interruption(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", Says(), plateau())
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", Says(), plateau(), interrupt_at(9))
    assert files(trained(tmp_path / "run", Says(), plateau(), resume=True)) == files(whole)


def test_a_plateau_watches_means_over_epochs_and_held_out_numbers(tmp_path: Path) -> None:
    def decay(monitor: str) -> LearningRate:
        return LearningRate(
            lambda each: torchs.ReduceLROnPlateau(each, "min", 0.5, patience=0), monitor=monitor
        )

    for name in ("elbo", "test_elbo"):
        rates = trained(tmp_path / name, HeldOut(1), decay(name)).history["learning_rate"]
        assert rates[-1] < LR, name


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (
            LearningRate(torchs.ReduceLROnPlateau),
            "expected monitor with ReduceLROnPlateau, such as monitor='test_elbo', and with no",
        ),
        (LearningRate(partial(torchs.ExponentialLR, gamma=0.5), monitor="elbo"), "got Exponential"),
        (
            LearningRate(torchs.ExponentialLR),
            r"the scheduler cannot be built: .*gamma",
        ),
        (
            LearningRate(torchs.ReduceLROnPlateau, monitor="test_elbo"),
            r"LearningRate: expected a callback that gives test_elbo, got none \(add HeldOut",
        ),
        (
            LearningRate(lambda optimizer: 3),
            "scheduler: expected a function that gives",
        ),
    ],
)
def test_what_cannot_be_is_said_before_a_folder_is_made(
    tmp_path: Path, callback: LearningRate, message: str
) -> None:
    with pytest.raises(ExperimentError, match=message):
        trained(tmp_path / "run", callback)
    assert not (tmp_path / "run").exists()


def test_a_plateau_of_a_number_that_nothing_gives_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="LearningRate: expected monitor to be one of"):
        trained(tmp_path / "run", LearningRate(torchs.ReduceLROnPlateau, monitor="elbow"))


def test_a_plateau_steps_where_its_number_is_seen_alone() -> None:
    with pytest.raises(ValueError, match="per: expected no per with monitor"):
        LearningRate(torchs.ReduceLROnPlateau, "step", monitor="elbo")


def test_of_two_schedules_the_rate_of_a_step_is_what_it_was_taken_with(tmp_path: Path) -> None:
    halves = [LearningRate(partial(torchs.ExponentialLR, gamma=0.5), "step") for _ in range(2)]
    rates = trained(tmp_path / "run", *halves).history["learning_rate"]
    np.testing.assert_allclose(rates, LR / 4.0 ** np.arange(STEPS))


@pytest.mark.parametrize(
    "optimizer",
    [
        pyro.optim.Adam({"lr": LR}, {"clip_norm": 0.1}),
        partial(ClippedAdam, lr=LR, clip_norm=0.01),
    ],
    ids=["of Pyro", "with clipping of its own"],
)
@pytest.mark.parametrize("how", ["eager", "fused"])
def test_norms_are_those_before_the_optimiser_changes_gradients(
    tmp_path: Path, how: str, optimizer: Any
) -> None:
    told = GradientNorms(by_parameter=True)
    history = trained(tmp_path / "run", told, how=how, optimizer=optimizer).history
    each = [values for name, values in history.items() if name.startswith("gradient_norm[")]
    total = np.sqrt(np.square(each).sum(0))
    np.testing.assert_allclose(total, history["gradient_norm"], rtol=1e-9)


@pytest.mark.parametrize("limit", [None, 1e-3, 1e3])
def test_norms_are_those_before_clipping(tmp_path: Path, limit: float | None) -> None:
    run = trained(tmp_path / "run", GradientNorms(by_parameter=True), clip_grad_norm=limit)
    norms = {n: v for n, v in run.history.items() if n.startswith("gradient_norm[")}
    assert len(norms) == len(run.state.parameters)
    total = np.sqrt(sum(np.square(values) for values in norms.values()))
    np.testing.assert_allclose(total, run.history["gradient_norm"], rtol=1e-9)
    plain = trained(tmp_path / "plain", GradientNorms())
    first = plain.history["gradient_norm"][0]
    assert run.history["gradient_norm"][0] == pytest.approx(first, rel=1e-12)
