"""Data of several tensors, and data that are stored, through training, evaluation and pictures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, FactorELBO, evaluate, load, plots, train
from pyro_decomp.analysis import evaluation, pictures
from pyro_decomp.analysis.encoding import encode, evenly_spaced
from pyro_decomp.data.stored import StoredArray, memory_mapped
from pyro_decomp.errors import RunError
from pyro_decomp.networks import Discriminator
from pyro_decomp.seeds import derive
from pyro_decomp.training.loop import BATCH_STREAM
from pyro_decomp.training.run import Run
from tests.callbacks import Step
from tests.checking import Recorder
from tests.training.test_training import Killed, files, kill_at

N, CLASSES = 20, 3
X = torch.randn(N, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % CLASSES
IS_LABELLED = torch.arange(N) < 12
SEVERAL = (X, LABELS, IS_LABELLED)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five passes over the data for an evaluation in place of 500."""
    monkeypatch.setattr(evaluation, "MIN_SAMPLES", 100)
    monkeypatch.setattr(evaluation, "MAX_SAMPLES", 100)


def build(data: Any = SEVERAL, *, seen: list[Any] | None = None, **options: Any) -> Experiment:
    """Half-labelled data: z says what x is, and the label where it is known, which it sees first.

    Of ``x`` alone, the labels are those of nobody. What programs are called with goes to ``seen``.
    """
    pyro.set_rng_seed(1)
    encoder, decoder, classifier = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, CLASSES)

    def model(x: Tensor, labels: Tensor | None = None, is_labelled: Tensor | None = None) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            if labels is not None and is_labelled is not None:
                with pyro.poutine.mask(mask=is_labelled):
                    pyro.sample("label", dist.Categorical(logits=classifier(z)), obs=labels)
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x: Tensor, *others: Tensor) -> None:
        if seen is not None:
            seen.append((x, *others))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    defaults = {"elbo": AggregateELBO(), "epochs": 3, "batch_size": 8}
    return Experiment(model, guide, data=data, **defaults | options)


def test_every_tensor_is_gathered_in_the_order_of_seed_and_epoch(tmp_path: Path) -> None:
    seen = Recorder()
    train(build(seen=seen), tmp_path / "run", seed=5)
    batches = seen[-9:]  # before, what was looked at
    assert [tensor.dtype for tensor in batches[0]] == [torch.float32, torch.int64, torch.bool]
    for epoch in range(3):
        generator = torch.Generator().manual_seed(derive(5, BATCH_STREAM, epoch))
        order = torch.randperm(N, generator=generator)
        parts = zip(*batches[3 * epoch : 3 * epoch + 3], strict=True)
        for whole, found in zip(SEVERAL, parts, strict=True):
            assert torch.equal(torch.cat(found), whole[order])


@pytest.mark.full
def test_a_tensor_that_no_program_uses_changes_no_bit(tmp_path: Path) -> None:
    alone = train(build(X), tmp_path / "alone", seed=3)
    both = train(build((X, LABELS)), tmp_path / "both", seed=3)
    assert both.history.keys() == alone.history.keys()
    for name, column in alone.history.items():
        assert np.array_equal(both.history[name], column, equal_nan=True)
    for name, parameter in alone.state.parameters.items():
        assert torch.equal(both.state.parameters[name], parameter)
    measured = [evaluate(run, num_importance_samples=20) for run in (alone, both)]
    assert measured[0] == measured[1]


@pytest.mark.full(but=["4"])
@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_killed_run_of_several_tensors_resumes_to_the_same_bytes(
    tmp_path: Path, step: int
) -> None:
    train(build(), tmp_path / "whole", seed=3)
    with pytest.raises(Killed):
        train(build(), tmp_path / "run", seed=3, callbacks=[Step(kill_at(step))])
    run = train(build(), tmp_path / "run", seed=3, resume=True)
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    loaded = load(tmp_path / "run", experiment=build())
    for name, column in run.history.items():
        np.testing.assert_array_equal(loaded.history[name], column)


@pytest.mark.parametrize(
    "other",
    [(X, LABELS.flip(0), IS_LABELLED), (X, LABELS.int(), IS_LABELLED), (X, LABELS)],
    ids=["values", "type", "number"],
)
def test_other_tensors_beside_x_are_other_data(tmp_path: Path, other: Any) -> None:
    train(build(), tmp_path / "run")
    with pytest.raises(RunError, match="it was started with different data"):
        train(build(other), tmp_path / "run", resume=True)


def test_an_auxiliary_network_gets_codes_of_several_tensors(tmp_path: Path) -> None:
    seen = Recorder()
    elbo = FactorELBO(2.0, Discriminator(2, (4,)))
    run = train(build(seen=seen, elbo=elbo), tmp_path / "run")
    assert "discriminator_loss" in run.history
    assert {len(batch) for batch in seen} == {3}


@pytest.mark.full
def test_labels_count_in_what_a_run_is_worth(tmp_path: Path) -> None:
    run = train(build(test_data=tuple(tensor[:10] for tensor in SEVERAL)), tmp_path / "run")
    with torch.no_grad():
        (pair,) = encode(run, run.data)
        assert pair.observed == ["label", "x"]
        assert torch.equal(pair.model.nodes["label"]["value"], LABELS)
    metrics = evaluate(run, num_importance_samples=10)
    assert metrics["train"]["importance_weighted_data"] == N
    assert metrics["test"]["importance_weighted_data"] == 10
    assert metrics["train"]["log_likelihood"] < 0


def test_data_are_spread_as_one(tmp_path: Path) -> None:
    run = train(build(epochs=1), tmp_path / "run")
    x, labels, is_labelled = evenly_spaced(run.data, 5)
    rows = [0, 4, 8, 12, 16]
    assert torch.equal(x, X[rows])
    assert torch.equal(labels, LABELS[rows])
    assert torch.equal(is_labelled, IS_LABELLED[rows])
    assert torch.equal(evenly_spaced(X, 5), X[rows])


@pytest.mark.full
def test_the_picture_of_reconstructions_shows_x_whatever_is_observed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []

    def record(x: np.ndarray, reconstruction: np.ndarray) -> Any:
        drawn.extend([x, reconstruction])
        return original(x, reconstruction)

    original = plots.reconstructions
    monkeypatch.setattr(plots, "reconstructions", record)
    data = StoredArray(X.numpy()), LABELS, IS_LABELLED
    paths = pictures.draw(train(build(data, epochs=1), tmp_path / "run"))
    assert "reconstructions.png" in [path.name for path in paths]
    assert np.array_equal(drawn[0], X.numpy())
    assert drawn[1].shape == X.shape


BYTES = (X * 20 + 100).clamp(0, 255).byte()


def on_disk(array: np.ndarray, folder: Path) -> StoredArray:
    np.save(folder / "x.npy", array)
    return memory_mapped(folder / "x.npy")


STORED: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda folder: StoredArray(BYTES.numpy()),
    "bytes on disk": lambda folder: on_disk(BYTES.numpy(), folder),
    "doubles on disk": lambda folder: on_disk(BYTES.double().numpy(), folder),
}


@pytest.mark.full(but=["doubles on disk-None"])
@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize("store", STORED.values(), ids=STORED)
def test_how_data_are_stored_changes_no_bit(
    tmp_path: Path, store: Callable[[Path], Any], batch_size: int | None
) -> None:
    def run_of(data: Any, name: str, **options: Any) -> Run:
        trial = build((data, *SEVERAL[1:]), batch_size=batch_size)
        return train(trial, tmp_path / name, seed=3, **options)

    loose = run_of(BYTES, "loose")
    stored = run_of(store(tmp_path), "stored")
    assert files(tmp_path / "stored") == files(tmp_path / "loose")
    assert stored.config["data_blake2b"] == loose.config["data_blake2b"]
    measure = partial(evaluate, num_importance_samples=10)
    assert measure(stored) == measure(loose)
    again = run_of(store(tmp_path), "loose", resume=True)
    assert again.step == loose.step


def test_one_stored_tensor_is_data_like_another(tmp_path: Path) -> None:
    run = train(build(on_disk(X.numpy(), tmp_path)), tmp_path / "run", seed=3)
    train(build(X), tmp_path / "loose", seed=3)
    assert files(tmp_path / "run") == files(tmp_path / "loose")
    assert torch.equal(run.data.x[4:6], X[4:6])
    assert torch.equal(evenly_spaced(run.data, 5), X[::4])
