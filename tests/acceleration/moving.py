"""A small experiment whose parts change between steps, in ways that tests choose."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.callbacks import Training
from pyro_decomp.training.run import Run
from tests.callbacks import Step

N = 24
DATA = torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)


class Programs(nn.Module):
    """Two layers, a scale kept in Python, and one kept as a buffer."""

    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), *([layer] if layer else []), nn.Tanh())
        self.head, self.decoder = nn.Linear(4, 4), nn.Linear(2, 3)
        self.scale = 1.0
        self.register_buffer("noise", torch.tensor(0.5))
        self.double()

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", dist.Normal(self.decoder(z), self.noise).to_event(1), obs=x)

    def prior(self) -> Any:
        return dist.Normal(torch.zeros(2, dtype=torch.double), self.scale).to_event(1)

    def guide(self, x: Tensor) -> None:
        loc, log_scale = self.head(self.encoder(x)).chunk(2, -1)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


Change = Callable[[Experiment, Any, int], None]
"""Takes the experiment, its programs and the step that was taken."""


def build(programs: Callable[[], Programs] = Programs, **options: Any) -> tuple[Experiment, Any]:
    set_seed(5)
    found = programs()
    defaults: dict[str, Any] = {
        "data": DATA,
        "elbo": AggregateELBO(beta=1.5, alpha=0.5),
        "epochs": 40,
        "optimizer": partial(torch.optim.AdamW, lr=0.02, weight_decay=0.1, fused=True),
    }
    return Experiment(found.model, found.guide, **defaults | options), found


def trained(
    folder: Path,
    how: str,
    change: Change | None = None,
    programs: Callable[[], Programs] = Programs,
    *,
    resume: bool = False,
    **options: Any,
) -> Run:
    def report(training: Training) -> None:
        if change is not None:
            experiment: Any = training.experiment
            change(experiment, experiment.model.__self__, training.step)

    def experiment() -> Experiment:
        return build(programs, **options)[0]

    return train(
        experiment,
        folder,
        seed=2,
        execution=Execution(how),
        callbacks=[Step(report)],
        resume=resume,
    )


def assert_same(one: Run, other: Run) -> None:
    """Parameters, buffers and history but for rounding in 64 bits."""
    for module, its in zip(one.state.modules, other.state.modules, strict=True):
        for name, tensor in module.state_dict().items():
            torch.testing.assert_close(its.state_dict()[name], tensor, rtol=1e-8, atol=1e-10)
    assert one.history.keys() == other.history.keys()
    for name, column in one.history.items():
        torch.testing.assert_close(
            torch.tensor(other.history[name]), torch.tensor(column), rtol=1e-8, atol=1e-10, msg=name
        )
