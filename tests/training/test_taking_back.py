"""A step that fails is taken back: what is saved resumes to the bytes of a run without failure."""

import csv
import errno
import itertools
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, train
from pyro_decomp.acceleration import EagerStep, Execution, GraphStep
from pyro_decomp.data.stored import Rows, Stored
from pyro_decomp.errors import RunError
from pyro_decomp.training import loop
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.taking_back import BegunStep, is_same
from tests.callbacks import Step
from tests.training.test_training import DATA, build, files

FAILS_AT = 7  # of 12 steps, three an epoch
Make = Callable[[], Experiment]


class Noisy(Stored):
    """Data that draw as they are read."""

    def read(self, rows: Rows) -> Tensor:
        return DATA[rows] + 0.1 * torch.rand(1) + 0.1 * float(np.random.rand())

    def telling(self) -> Any:
        yield DATA


class Unreadable(Noisy):
    """Data that draw, and then fail, where a test asks for it."""

    def __init__(self) -> None:
        super().__init__((len(DATA), 2))
        self.errors: list[OSError] = []

    def read(self, rows: Rows) -> Tensor:
        torch.rand(3)
        if self.errors:
            raise self.errors.pop()
        return DATA[rows]


class Unlike(Stored):
    """Data that are others at each reading."""

    def __init__(self, calls: Iterator[int]) -> None:
        super().__init__((len(DATA), 2))
        self.calls = calls

    def read(self, rows: Rows) -> Tensor:
        return DATA[rows] + 0.001 * next(self.calls)


def programs(**options: Any) -> Experiment:
    """Programs without any state but their parameters, or as the options have them."""
    net, back = nn.Linear(2, 1), nn.Linear(1, 2)
    with torch.no_grad():
        for parameter in (*net.parameters(), *back.parameters()):
            parameter.fill_(0.3)
    count = options.pop("count", lambda: 0)
    size = len(DATA)

    def model(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            loc = back(z) + 0.01 * (count() % 5)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    usual: dict[str, Any] = {"data": DATA, "elbo": AggregateELBO(), "epochs": 4, "batch_size": 8}
    return Experiment(model, guide, **usual | options)


def counted() -> Experiment:
    count = itertools.count()
    return programs(count=lambda: next(count))


class Numbers:
    def __init__(self) -> None:
        self.calls, self.seen = 0, [0]

    def __call__(self) -> int:
        self.calls += 1
        self.seen[0] += 2
        return self.calls + self.seen[0]


class Growing:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self) -> int:
        self.seen.append(len(self.seen))
        return len(self.seen)


KINDS: dict[str, tuple[Make, str]] = {  # what is trained, and how
    "plain, fused": (programs, "fused"),
    "plain, captured": (programs, "captured"),
    "plain, eager": (programs, "eager"),
    "batch statistics, generators, pyro.param": (build, "eager"),
    "an iterator": (counted, "auto"),
    "attributes": (lambda: programs(count=Numbers()), "auto"),
    "a list that grows": (lambda: programs(count=Growing()), "auto"),
    "data that draw": (lambda: programs(data=Noisy((len(DATA), 2))), "eager"),
}


def fail_once(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have a step fail once it has computed its gradients."""
    for kind in (EagerStep, GraphStep):

        def compute(self: Any, batch: Any, step: int, *, before: Any = kind.__call__) -> Any:
            result = before(self, batch, step)
            if step == FAILS_AT and errors:
                raise errors.pop()
            return result

        patch.setattr(kind, "__call__", compute)
    errors = [error]


def rows(folder: Path) -> int:
    with (folder / "history.csv").open() as file:
        return sum(1 for _ in csv.DictReader(file))


def history(folder: Path) -> bytes:
    return (folder / "history.csv").read_bytes()


def checkpoint(folder: Path) -> dict[str, Any]:
    """All of it but Python's generator, from which the tests' checks of types draw too."""
    found = RunFolder(folder).read_checkpoint()
    assert found is not None
    found["random"].pop("python")
    return found


def saved_step(folder: Path) -> int:
    return int(checkpoint(folder)["step"])


@pytest.mark.full(but=["plain, eager", "a list that grows"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_saved_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make, steps = KINDS[kind]
    go = partial(train, seed=3, execution=Execution(steps, threads=1))
    go(make(), tmp_path / "whole")
    step = FAILS_AT - 1
    fail_once(monkeypatch, RuntimeError("once"))
    with pytest.raises(RuntimeError, match="once") as caught:
        go(make(), tmp_path / "run")
    assert caught.value.__notes__ == [
        f"step {step} is saved in {tmp_path / 'run'}: --resume (resume=True) goes on from it, "
        "--force (force=True) begins anew"
    ]
    assert (saved_step(tmp_path / "run"), rows(tmp_path / "run")) == (step, FAILS_AT - 1)
    go(make(), tmp_path / "run", resume=True)
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert is_same(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "whole"))


@pytest.mark.full(but=["KeyboardInterrupt"])
@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit, Exception])
def test_whatever_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    error = kind("once")
    expected = Interrupted if isinstance(error, KeyboardInterrupt) else type(error)
    fail_once(monkeypatch, error)
    with pytest.raises(expected) as caught:
        train(programs(), tmp_path / "run", seed=3)
    assert saved_step(tmp_path / "run") == FAILS_AT - 1
    if isinstance(caught.value, Interrupted):
        assert (caught.value.step, caught.value.signal) == (FAILS_AT - 1, signal.SIGINT)


@pytest.mark.full(but=["True"])
@pytest.mark.parametrize("is_once", [True, False])
def test_of_an_update_that_fails_halfway_the_steps_before_are_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_once: bool
) -> None:
    monkeypatch.setattr(loop.Loop, "_checkpoint_is_due", lambda loop: loop.step == 2)

    class Failing(torch.optim.SGD):
        steps = 0

        def step(self, closure: Any = None) -> None:
            self.steps += 1
            if self.steps == FAILS_AT or (self.steps > FAILS_AT and not is_once):
                self.param_groups[0]["params"][0].data.fill_(7.0)
                raise ValueError("half")
            super().step(closure)

    with pytest.raises(ValueError, match="half") as caught:
        train(programs(optimizer=lambda p: Failing(p, lr=0.1)), tmp_path / "run", seed=3)
    step = FAILS_AT - 1 if is_once else 2  # the checkpoint
    assert caught.value.__notes__[0].startswith(f"step {step} is saved in")
    assert (saved_step(tmp_path / "run"), rows(tmp_path / "run")) == (step, FAILS_AT - 1)
    go = partial(train, programs(optimizer=lambda p: torch.optim.SGD(p, lr=0.1)), seed=3)
    go(tmp_path / "run", resume=True)
    go(tmp_path / "whole")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_steps_that_come_to_something_else_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BegunStep, "take_back", lambda *_: False)
    fail_once(monkeypatch, RuntimeError("once"))
    calls = itertools.count()
    with pytest.raises(RuntimeError, match="once") as caught:
        train(programs(data=Unlike(calls)), tmp_path / "run", seed=3)
    assert caught.value.__notes__[0].startswith("step 0 is saved in")
    assert (saved_step(tmp_path / "run"), rows(tmp_path / "run")) == (0, FAILS_AT - 1)


@pytest.mark.full
def test_data_that_cannot_be_read_once(tmp_path: Path) -> None:
    data = Unreadable()

    def fail(training: Training) -> None:
        if training.step == FAILS_AT - 1:
            data.errors.append(OSError("gone"))

    go = partial(train, seed=3)
    with pytest.raises(OSError, match="gone") as caught:
        go(programs(data=data), tmp_path / "run", callbacks=[Step(fail)])
    assert caught.value.__notes__[0].startswith(f"step {FAILS_AT - 1} is saved in")
    go(programs(data=data), tmp_path / "run", resume=True)
    go(programs(data=data), tmp_path / "whole")
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert is_same(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "whole"))


@pytest.mark.full
def test_a_callback_that_fails_once_is_of_the_step_that_is_saved(tmp_path: Path) -> None:
    def fail(training: Training) -> None:
        if training.step == FAILS_AT:
            raise OSError("full")

    go = partial(train, seed=3)
    with pytest.raises(RunError, match="the callback Step failed in `step`: OSError: full") as told:
        go(programs(), tmp_path / "run", callbacks=[Step(fail)])
    assert told.value.__notes__[0].startswith(f"step {FAILS_AT} is saved in")
    go(programs(), tmp_path / "run", resume=True)
    go(programs(), tmp_path / "whole")
    assert history(tmp_path / "run") == history(tmp_path / "whole")
    assert is_same(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "whole"))


@pytest.mark.full
def test_where_a_callback_fails_the_others_are_told_of_all_of_the_step(tmp_path: Path) -> None:
    class Record(Callback):
        def epoch(self, training: Training) -> None:
            training.record({"share": training.step / 12})

    def fail(training: Training) -> None:
        if training.step == 6 and errors:
            raise errors.pop()

    go = partial(train, seed=3, callbacks=[Step(fail), Record()])
    errors = [OSError("full")]
    with pytest.raises(RunError, match="the callback Step failed in `step`: OSError: full"):
        go(programs(), tmp_path / "run")
    assert saved_step(tmp_path / "run") == 6
    go(programs(), tmp_path / "run", resume=True)
    go(programs(), tmp_path / "whole")
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_a_run_is_whole_where_its_resources_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "resources.json")

    monkeypatch.setattr(RunFolder, "write_resources", full)
    with pytest.warns(UserWarning, match="the run is whole, but .*No space left on device"):
        assert train(programs(), tmp_path / "run").step == 12


def test_an_error_without_a_folder_leaves_one_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fail_once(monkeypatch, RuntimeError("once"))
    with pytest.raises(RuntimeError, match="once") as caught:
        train(programs(), seed=3)
    (folder,) = tmp_path.iterdir()
    assert f"step {FAILS_AT - 1} is saved in {folder}:" in caught.value.__notes__[0]
    assert train(programs(), folder, seed=3, resume=True).step == 12
