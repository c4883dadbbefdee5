"""Runs that were never trained: a program with its parameters as they began is as good as any."""

from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_decomp import BetaELBO, Experiment
from pyro_decomp.training.run import Run
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.example_programs import D, N, Programs


def run_of(programs: Programs, data: Any = None, **settings: Any) -> Run:
    """A run of a row of the tables, on N data of length D."""
    if data is None:
        data = torch.randn(N, D, dtype=torch.double)
    experiment = Experiment(programs.model, programs.guide, data, BetaELBO(), **settings)
    state = prepare(experiment)
    state.train(False)
    return Run(RunFolder(Path("absent")), experiment, state, {}, 0)


def parameter(run: Run, name: str) -> Tensor:
    """A parameter's value, constrained as the programs see it."""
    with torch.no_grad(), poutine.trace() as found:
        run.guide(*run.data[:2])
        with poutine.block(hide_types=["sample"]):
            run.model(*run.data[:2])
    value: Tensor = found.trace.nodes[name]["value"]
    return value.detach()
