"""Want of memory while programs run is of the family of errors, wherever they are run."""

from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Execution, Experiment, amortization_gap, train
from pyro_decomp.callbacks import Callback
from pyro_decomp.errors import DecompError, OutOfMemoryError
from pyro_decomp.training.run import Run

TOO_MANY = 2**58  # float32, that no machine has room for


class Hunger(Callback):
    """Has the programs of a run take more memory than there is, from the second step on."""

    def step(self, training: Any) -> None:
        Programs.many = TOO_MANY


class Programs(nn.Module):
    many = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def model(self, x: Tensor) -> None:
        pyro.module("layer", self.layer)
        with pyro.plate("data", 4, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            torch.ones(self.many)
            pyro.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", 4, subsample=x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))


def trial() -> Experiment:
    programs = Programs()
    return Experiment(programs.model, programs.guide, torch.randn(4, 2), BetaELBO(), epochs=3)


CALLS: dict[str, Callable[[Run], object]] = {
    "latents": lambda run: run.latents(),
    "reconstruct": lambda run: run.reconstruct(),
    "log_likelihood": lambda run: run.log_likelihood(),
    "sample_prior": lambda run: run.sample_prior(3),
    "traverse": lambda run: run.traverse("z", [0.0, 1.0], dim=0),
    "amortization_gap": lambda run: amortization_gap(run, run.data[:2]),
    "summary": lambda run: run.summary(),
    "train": lambda run: run.train(epochs=1),
}


@pytest.fixture(scope="module")
def run() -> Run:
    return train(trial(), execution=Execution(steps="eager"))


@pytest.fixture(autouse=True)
def fed() -> Iterator[None]:
    yield
    Programs.many = 1


@pytest.mark.full
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_want_of_memory_is_of_the_family(run: Run, call: Callable[[Run], object]) -> None:
    Programs.many = TOO_MANY
    with pytest.raises(OutOfMemoryError, match=r"^not enough memory: .* takes less"):
        call(run)


def test_so_it_is_halfway_through_a_training() -> None:
    with pytest.raises(MemoryError, match="smaller batch_size, or less data, takes less") as caught:
        train(trial(), execution=Execution(steps="eager"), callbacks=[Hunger()])
    assert isinstance(caught.value, DecompError)
    assert "is saved in" in caught.value.__notes__[0]
