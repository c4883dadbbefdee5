"""An experiment of any unusual program, objective and optimiser."""

from typing import Literal

import torch

from pyro_decomp import Experiment
from pyro_decomp.schedules import Constant, Linear, Schedule
from tests.unusual.base import NUM_DATA, WIDTH
from tests.unusual.objectives import OBJECTIVES
from tests.unusual.optimizers import OPTIMIZERS
from tests.unusual.programs import PROGRAMS
from tests.unusual.state import HARMLESS, STATEFUL

SCHEDULES: dict[str, dict[str, Schedule]] = {
    "none": {},
    "ramps": {"beta": Linear(0.0, 2.0, until=30), "alpha": Linear(0.0, 1.0, until=20)},
    "late": {
        "beta": Constant(0.0, until=10).then(Linear(0.0, 2.0, until=30)),
        "alpha": Constant(0.0, until=20).then(Linear(0.0, 1.0, until=40)),
    },
}


def experiment(  # noqa: PLR0917 (a configuration is a long signature)
    program: str = "usual",
    objective: str = "beta",
    optimizer: str = "Adam",
    batch_size: int = 16,
    clip: float = 0.0,
    schedules: Literal["none", "ramps", "late"] = "none",
    epochs: int = 12,
    double: bool = True,
) -> Experiment:
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    build_optimizer = OPTIMIZERS[optimizer]
    if program in STATEFUL:
        row = STATEFUL[program]
        programs = row.build()
        build_optimizer = row.optimizer(programs)
    else:
        programs = {**PROGRAMS, **HARMLESS}[program]()
    x = torch.randn(NUM_DATA, WIDTH, generator=torch.Generator().manual_seed(3))
    return Experiment(
        programs.model,
        programs.guide,
        x,
        OBJECTIVES[objective](),
        epochs=epochs,
        batch_size=batch_size or None,
        optimizer=build_optimizer,
        clip_grad_norm=clip or None,
        schedules=SCHEDULES[schedules],
        modules=[programs],
    )
