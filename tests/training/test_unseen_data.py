"""Data that are not in memory are looked at as they are first trained on, on every path."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.data import Data, Stored, memory_mapped
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.seeds import derive
from pyro_decomp.training.data_support import Unseen
from pyro_decomp.training.loop import BATCH_STREAM
from pyro_decomp.training.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.training.test_data_support import D, Programs, bernoulli

ROWS, LATE = 2500, 2301  # more than are looked at before the first step


class Chunks(Stored):
    """Data that somebody reads a batch at a time, and that nobody has looked at."""

    def __init__(self, array: Any) -> None:
        super().__init__(array.shape, torch.float32 if array.dtype.kind == "f" else torch.int64)
        self.array = array

    def read(self, rows: Any) -> Tensor:
        return torch.from_numpy(self.array[rows.numpy() if isinstance(rows, Tensor) else rows])


def late(value: float, size: int = ROWS) -> Any:
    array = np.ones((size, D), dtype=np.float32)
    array[LATE, 1] = value
    return array


def mapped(path: Path, value: float) -> StoredArray:
    np.save(path / "data.npy", late(value))
    return memory_mapped(path / "data.npy")


def labelled(path: Path) -> tuple[Stored, Stored]:
    labels = np.arange(ROWS) % 4
    labels[LATE] = 4
    return Chunks(late(1.0)), Chunks(labels)


def gaussian(h: Tensor) -> Any:
    return dist.Normal(h, 1.0).to_event(1)


TABLE = nn.Embedding(4, D)
UNSEEN: dict[str, tuple[Any, Any, Any, str]] = {
    "mapped, outside the support": (
        lambda path: mapped(path, 255.0),
        bernoulli,
        lambda x: x,
        "the data for site 'x' .* first in row 2301, column 1 with 255",
    ),
    "what programs make of it": (
        lambda path: mapped(path, 255.0),
        bernoulli,
        lambda x: x * 1.0,
        "the data for site 'x' .* first in row 2301, column 1 with 255",
    ),
    "an edge": (
        lambda path: mapped(path, 0.0),
        lambda h: dist.Gamma(h.exp() + 1.0, 1.0).to_event(1),
        lambda x: x,
        "the data for site 'x' .* at an edge .* first in row 2301, column 1 with 0",
    ),
    "not a number": (
        lambda path: Chunks(late(np.nan)),
        gaussian,
        lambda x: x,
        "data: expected finite numbers, got nan in row 2301, column 1",
    ),
    "infinite, in a further argument": (
        lambda path: (Chunks(late(1.0)), Chunks(late(np.inf))),
        gaussian,
        lambda x, w: x * w,
        r"data\[1\]: expected finite numbers, got inf in row 2301, column 1",
    ),
    "a label out of range": (
        labelled,
        gaussian,
        lambda x, y: x + TABLE(y).detach(),
        "the programs cannot be run on row 2301 of the data: IndexError: index out of range",
    ),
}


@pytest.mark.full(but=["mapped, outside the support-auto", "not a number-captured"])
@pytest.mark.parametrize("steps", ["eager", "captured", "auto"])
@pytest.mark.parametrize(("data", "family", "observed", "message"), UNSEEN.values(), ids=UNSEEN)
def test_data_on_disk_are_looked_at_as_they_are_first_trained_on(  # noqa: PLR0917
    data: Any, family: Any, observed: Any, message: str, steps: str, tmp_path: Path
) -> None:
    def run(**more: Any) -> None:
        programs = Programs(family, observed, size=ROWS)
        trial = Experiment(
            programs.model, programs.guide, data(tmp_path), BetaELBO(), epochs=2, batch_size=250
        )
        train(trial, tmp_path / "run", execution=Execution(steps), **more)

    order = Data((torch.empty(ROWS),)).order(derive(0, BATCH_STREAM, 0)).tolist()
    step = order.index(LATE) // 250
    assert step > 0  # or nothing would be proved of the state before it
    for more in ({}, {"resume": True}):
        with pytest.raises((ModelError, DataError), match=message) as raised:
            run(**more)
        assert "\n" not in str(raised.value)
        checkpoint = RunFolder(tmp_path / "run").read_checkpoint()
        assert checkpoint["step"] == step


def test_all_data_at_once_are_looked_at_before_the_first_step(tmp_path: Path) -> None:
    programs = Programs(gaussian, size=ROWS)
    data = Chunks(late(np.nan))
    trial = Experiment(programs.model, programs.guide, data, BetaELBO(), epochs=2)
    with pytest.raises(
        ModelError, match=r"site 'x' are not all finite, first at \[2301, 1\] with nan"
    ):
        train(trial, tmp_path / "run")


def test_nothing_is_looked_at_twice() -> None:
    programs = Programs(bernoulli, observed=lambda x: x * 1.0, size=ROWS)
    data = Chunks(late(1.0))
    trial = Experiment(programs.model, programs.guide, data, BetaELBO(), batch_size=250)
    unseen = Unseen(trial, prepare(trial).modules, 0, BATCH_STREAM)
    data.array[LATE, 1] = np.nan  # after what is looked at before training
    batches = list(data_batches(trial))
    for step, batch in enumerate(batches):
        if bool(batch[0].isnan().any()):
            with pytest.raises(DataError, match="row 2301"):
                unseen.check(step, batch)
        else:
            unseen.check(step, batch)
    assert unseen.is_due
    unseen.check(len(batches), (torch.full((250, D), torch.nan),))
    assert not unseen.is_due


def data_batches(trial: Experiment) -> Any:
    return trial.data.shuffled(250, seed=derive(0, BATCH_STREAM, 0))
