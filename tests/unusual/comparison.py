"""The same run by every way of computing its steps, held against eager steps."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_decomp import Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.sweep.ensemble import Member
from pyro_decomp.sweep.ensemble.batched import BatchedRuns
from pyro_decomp.sweep.ensemble.member_run import MemberRun
from pyro_decomp.training.experiment_file import ExperimentFile
from tests.callbacks import Step

TRIAL = Path(__file__).with_name("trial.py")
SEEDS = 11, 12  # of the members of a batch; the first is that of a run alone
Change = Callable[[Experiment, int], None]


@dataclass(frozen=True)
class Result:
    """What a run has come to.

    Attributes:
        tensors: Parameters and buffers by name.
        history: Logged columns.
        steps: How its steps were computed.
    """

    tensors: dict[str, Tensor]
    history: dict[str, np.ndarray]
    steps: str


def trained(
    arguments: Mapping[str, Any],
    steps: str,
    seed: int = SEEDS[0],
    change: Change | None = None,
) -> Result:
    """Train the trial as the command line does.

    Args:
        arguments: Of ``experiment``.
        steps: How its steps are to be computed.
        seed: Of the run.
        change: Called after every step.
    """
    source = ExperimentFile.read(TRIAL, seed=seed)
    execution = Execution(steps, memory_format="contiguous")
    changing = [Step(lambda t: change(t.experiment, t.step))] if change else []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        run = train(
            source,
            out,
            seed=seed,
            execution=execution,
            arguments=dict(arguments),
            callbacks=changing,
        )
        kept = run.folder.read_checkpoint()
        assert kept is not None
        return Result(flat(kept), dict(run.history), run.config["execution"]["steps"])


def flat(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors of the programs in a checkpoint."""
    found = {f"parameter {name}": each for name, each in checkpoint["parameters"].items()}
    for index, module in enumerate(checkpoint["modules"]):
        found |= {f"module {index}: {name}": each for name, each in module.items()}
    return found


def together(arguments: Mapping[str, Any], how: str) -> list[Result]:
    """Train the trial with each of the seeds, as one computation."""
    source = ExperimentFile.read(TRIAL)
    members = [Member(f"seed {seed}", dict(arguments), seed) for seed in SEEDS]
    batch = BatchedRuns([MemberRun.of(source, member) for member in members], backend=how)
    for _ in batch.take_steps():
        pass
    assert not batch.set_aside
    return [
        Result(flat(batch.checkpoint(i)), columns_of(batch, i), batch.backend)
        for i in range(len(members))
    ]


def columns_of(batch: BatchedRuns, index: int) -> dict[str, np.ndarray]:
    return {name: np.asarray(column) for name, column in batch.histories[index].items()}


def eager(arguments: Mapping[str, Any], seed: int = SEEDS[0]) -> Result:
    """The same by the programs themselves, once for all tests of a process."""
    return _eager(tuple(sorted(arguments.items())), seed)


@cache
def _eager(arguments: tuple[tuple[str, Any], ...], seed: int) -> Result:
    return trained(dict(arguments), "eager", seed)


def assert_same(found: Result, wanted: Result, tolerance: float) -> None:
    """Equal tensors and histories, but for an error relative to a tensor's largest number, or 1."""
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        largest = tensor.abs().max().item() if tensor.numel() else 0.0
        torch.testing.assert_close(
            found.tensors[name],
            tensor,
            rtol=0,
            atol=tolerance * max(1.0, largest) if tensor.is_floating_point() else 0,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    assert found.history.keys() == wanted.history.keys()
    for name, column in wanted.history.items():
        np.testing.assert_allclose(
            found.history[name], column, rtol=10 * tolerance, atol=10 * tolerance, err_msg=name
        )
