"""Data without a density are found in any row, on every path, before they are trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, BetaELBO, Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.data import Data, Stored, memory_mapped
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.seeds import derive
from pyro_decomp.training import data_support
from pyro_decomp.training.data_support import Unseen, check_data
from pyro_decomp.training.loop import BATCH_STREAM
from pyro_decomp.training.run import Run
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare

N, D = 40, 3


class Programs(nn.Module):
    """A VAE whose likelihood is a function of D numbers, and what it observes one of the data."""

    def __init__(
        self, family: Callable[[Tensor], Any], observed: Any = lambda x: x, size: int = N
    ) -> None:
        super().__init__()
        self.size = size
        self.net = nn.Linear(2, D)
        self.family, self.observed = family, observed

    def model(self, *data: Tensor) -> None:
        with pyro.plate("data", self.size, subsample=data[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.family(self.net(z)), obs=self.observed(*data))

    def guide(self, *data: Tensor) -> None:
        with pyro.plate("data", self.size, subsample=data[0]):
            loc = data[0].reshape(len(data[0]), -1)[:, :1].float().expand(-1, 2)
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


def experiment_of(data: Any, family: Any, observed: Any = lambda x: x, **more: Any) -> Experiment:
    programs = Programs(family, observed)
    more = {"batch_size": 8, "elbo": AggregateELBO(alpha=0.0)} | more
    return Experiment(programs.model, programs.guide, data, **more)


def bernoulli(h: Tensor) -> Any:
    return dist.Bernoulli(logits=h).to_event(1)


FAMILIES: dict[str, tuple[Any, Any, Any, str]] = {
    "Bernoulli": (bernoulli, 1.0, 0.5, "outside the support of Bernoulli, Boolean()"),
    "Poisson, negative": (lambda h: dist.Poisson(h.exp()).to_event(1), 3.0, -1.0, "whole counts"),
    "Poisson, fraction": (lambda h: dist.Poisson(h.exp()).to_event(1), 3.0, 0.5, "whole counts"),
    "LogNormal at 0": (lambda h: dist.LogNormal(h, 1.0).to_event(1), 2.0, 0.0, "LogNormal"),
    "Gamma at 0": (lambda h: dist.Gamma(h.exp() + 1.0, 1.0).to_event(1), 2.0, 0.0, "at an edge"),
    "Beta at 1": (lambda h: dist.Beta(h.exp() + 1.0, 2.0).to_event(1), 0.5, 1.0, "at an edge"),
    "Beta at 0": (lambda h: dist.Beta(h.exp() + 1.0, 2.0).to_event(1), 0.5, 0.0, "at an edge"),
    "ContinuousBernoulli": (
        lambda h: dist.ContinuousBernoulli(logits=h).to_event(1),
        1.0,
        1.5,
        "ContinuousBernoulli",
    ),
    "Binomial": (lambda h: dist.Binomial(5, logits=h).to_event(1), 5.0, 6.0, "Binomial"),
    "mixture": (
        lambda h: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)), dist.Exponential(h[..., None].exp().expand(-1, -1, 2))
        ).to_event(1),
        0.0,
        -0.5,
        "MixtureSameFamily",
    ),
    "mixture of Betas at 1": (
        lambda h: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)), dist.Beta(h[..., None].exp() + torch.ones(2), 2.0)
        ).to_event(1),
        0.5,
        1.0,
        "at an edge of the support of MixtureSameFamily",
    ),
    "mixture of vectors at 0": (
        lambda h: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)),
            dist.Gamma(h[:, None].exp() + 1.0, torch.ones(2, 1)).to_event(1),
        ),
        0.5,
        0.0,
        "at an edge",
    ),
    "support of a latent": (
        lambda h: dist.Uniform(h - 100.0, h + 100.0).to_event(1),
        1.0,
        1e4,
        "support of Uniform",
    ),
    "Categorical": (
        lambda h: dist.Categorical(logits=h[:, :, None].expand(-1, -1, 4)).to_event(1),
        3.0,
        4.0,
        "number the labels from 0",
    ),
}


@pytest.mark.parametrize(("family", "good", "bad", "message"), FAMILIES.values(), ids=FAMILIES)
def test_a_value_without_density_in_a_late_row_is_named(
    family: Any, good: float, bad: float, message: str
) -> None:
    data = torch.full((N, D), good)
    trial = experiment_of(data, family)
    state = prepare(trial)
    check_data(trial, state.modules, Data.of(data))
    data[33, 1] = bad
    with pytest.raises(ModelError, match=rf"site 'x'.*row 33, column 1 with {bad:g}: ") as caught:
        check_data(trial, state.modules, Data.of(data))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", ["eager", "captured", "auto"])
def test_no_step_is_taken_however_steps_are_computed(tmp_path: Any, steps: str) -> None:
    data = torch.ones(N, D)
    data[33, 1] = 255.0
    with pytest.raises(ModelError, match="row 33, column 1 with 255"):
        train(experiment_of(data, bernoulli), tmp_path / "run", execution=Execution(steps))
    assert not (tmp_path / "run").exists()


@pytest.mark.full
def test_test_data_are_looked_at_too(tmp_path: Any) -> None:
    test = torch.ones(N, D)
    test[7, 2] = 0.5
    trial = experiment_of(torch.ones(N, D), bernoulli, test_data=test)
    with pytest.raises(ModelError, match=r"the test data for site 'x' .* row 7, column 2 with 0.5"):
        train(trial, tmp_path / "run")
    run = Run(RunFolder(tmp_path / "no"), trial, prepare(trial), {}, 0)
    found = evaluate(run, only=["elbo"])
    assert "elbo" in found["train"]
    assert "elbo" not in found["test"]
    assert found["test"]["left_out"]["elbo"].startswith("the test data for site 'x'")


VECTORS: dict[str, tuple[Any, list[float], list[float]]] = {
    "one of three": (lambda h: dist.OneHotCategorical(logits=h), [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]),
    "counts of 5": (lambda h: dist.Multinomial(5, logits=h), [1.0, 2.0, 2.0], [4.0, 2.0, 2.0]),
    "shares": (lambda h: dist.Dirichlet(h.exp()), [0.25, 0.25, 0.5], [0.25, 0.25, 0.75]),
    "shares of none": (lambda h: dist.Dirichlet(h.exp() + 1), [0.25, 0.25, 0.5], [0.0, 0.5, 0.5]),
}


@pytest.mark.parametrize(("family", "good", "bad"), VECTORS.values(), ids=VECTORS)
def test_vectors_are_named_by_their_row(family: Any, good: list[float], bad: list[float]) -> None:
    data = torch.tensor(good).repeat(N, 1)
    trial = experiment_of(data, family)
    state = prepare(trial)
    check_data(trial, state.modules, Data.of(data))
    data[21] = torch.tensor(bad)
    with pytest.raises(ModelError, match="first in row 21"):
        check_data(trial, state.modules, Data.of(data))


def test_what_programs_make_of_the_data_is_looked_at() -> None:
    data = torch.ones(N, D)
    trial = experiment_of(data, bernoulli, observed=lambda x: x - 1.0)
    state = prepare(trial)
    check_data(trial, state.modules, Data.of(data))
    data[33, 1] = 1.5
    with pytest.raises(ModelError, match=r"row 33, column 1 with 0\.5"):
        check_data(trial, state.modules, Data.of(data))


TABLE = torch.arange(4.0)


def by_name(y: Tensor) -> Tensor:
    return torch.tensor([{k: float(k) for k in range(4)}[int(k)] for k in y])


def asserted(y: Tensor) -> Tensor:
    assert (y < 4).all(), "no such label"
    return y


@pytest.mark.parametrize(
    ("looked_up", "reason"),
    [
        (lambda y: TABLE[y], "IndexError: index 4 is out of"),
        (nn.Embedding(4, 1), "IndexError: index out of"),
        (by_name, "KeyError: 4"),
        (asserted, "AssertionError: no such label"),
    ],
    ids=["tensor", "embedding", "dictionary", "assertion"],
)
def test_a_label_out_of_range_in_a_late_row_is_told_before_training(
    looked_up: Any, reason: str
) -> None:
    labels = torch.randint(4, (N,))
    data = (torch.randn(N, D), labels)

    def observed(x: Tensor, y: Tensor) -> Tensor:
        return x + looked_up(y).detach().reshape(-1, 1)

    trial = experiment_of(data, lambda h: dist.Normal(h, 1.0).to_event(1), observed)
    state = prepare(trial)
    check_data(trial, state.modules, trial.data)
    labels[33] = 4
    with pytest.raises(ModelError, match=rf"on row 33 of the data: {reason}.*in range\?"):
        check_data(trial, state.modules, trial.data)


@pytest.mark.full(but=["eager-0.0", "captured--1.0"])
@pytest.mark.parametrize("weight", [-1.0, 0.0])
@pytest.mark.parametrize("steps", ["eager", "captured", "auto"])
def test_a_weight_that_is_not_positive_is_told_before_training(
    weight: float, steps: str, tmp_path: Path
) -> None:
    weights = torch.ones(N)
    programs = Programs(lambda h: dist.Normal(h, 1.0).to_event(1), lambda x, w: x)

    def weighted(program: Any) -> Any:
        def run(x: Tensor, w: Tensor) -> None:
            with poutine.scale(scale=w):
                program(x, w)

        return run

    def run() -> None:
        both = weighted(programs.model), weighted(programs.guide)
        trial = Experiment(*both, (torch.randn(N, D), weights), BetaELBO(), epochs=2, batch_size=8)
        train(trial, tmp_path / "run", execution=Execution(steps))

    weights[33] = weight
    with pytest.raises(ModelError, match="on row 33 of the data: ValueError: Expected scale > 0"):
        run()
    assert not (tmp_path / "run").exists()
    weights[33] = 1.0
    run()


def test_the_range_told_is_that_of_all_data() -> None:
    data = torch.full((N, D), 0.5)
    data[33, 1], data[4, 0] = 0.0, 0.75
    trial = experiment_of(data, lambda h: dist.Beta(h.exp() + 1.0, 2.0).to_event(1))
    with pytest.raises(ModelError, match=r"range from 0 to 0\.75, at an edge .* row 33, column 1"):
        check_data(trial, prepare(trial).modules, Data.of(data))


def test_stored_data_are_looked_at_in_part() -> None:
    array = np.ones((N, D), dtype=np.uint8)
    array[33, 1] = 7
    trial = experiment_of(StoredArray(array), bernoulli)
    with pytest.raises(ModelError, match="row 33, column 1 with 7"):
        check_data(trial, prepare(trial).modules, trial.data)


def test_an_evaluation_looks_at_all_stored_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_support, "SAMPLED", 5)  # rows 0 to 5, 8, 16, 24 and 32
    array = np.ones((N, D), dtype=np.uint8)
    array[33, 1] = 7
    trial = experiment_of(StoredArray(array), bernoulli)
    state = prepare(trial)
    check_data(trial, state.modules, trial.data)
    with pytest.raises(ModelError, match="row 33, column 1 with 7"):
        check_data(trial, state.modules, trial.data, is_whole=True)
    run = Run(RunFolder(tmp_path / "no"), trial, state, {}, 0)
    assert "row 33, column 1 with 7" in evaluate(run, only=["elbo"])["train"]["left_out"]["elbo"]


def test_looking_leaves_networks_and_generators_as_they_were() -> None:
    data = torch.ones(N, D)
    trial = experiment_of(data, bernoulli, observed=lambda x: x - 1.0)
    state = prepare(trial)
    before = torch.random.get_rng_state(), [module.training for module in state.modules]
    check_data(trial, state.modules, Data.of(data))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert [module.training for module in state.modules] == before[1]


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


EMBEDDING = nn.Embedding(4, D)
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
        lambda x, y: x + EMBEDDING(y).detach(),
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
