"""Programs are given the types of numbers that they take: found on a dry batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment, train
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.analysis.latents import codes, reconstruct
from pyro_decomp.data import as_tensor
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.training.run import load
from pyro_decomp.training.state import prepare

N, LENGTH, WORDS = 12, 4, 7


def prior() -> Any:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def of_numbers(data: Any, **more: Any) -> Experiment:
    vae = VAE(prior, MLPEncoder(3, 2, (4,)), MLPDecoder(2, 3, (4,)), size=N)
    return Experiment(vae.model, vae.guide, data, AggregateELBO(), epochs=2, **more)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 3)
        self.encoder = nn.Linear(3 * LENGTH, 2)
        self.decoder = nn.Linear(2, LENGTH * WORDS)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.decoder(z).unflatten(-1, (LENGTH, WORDS))
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            loc = self.encoder(self.table(x).flatten(-2))
            pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))


def of_tokens(data: Any, **more: Any) -> Experiment:
    tokens = Tokens()
    return Experiment(tokens.model, tokens.guide, data, AggregateELBO(), epochs=2, **more)


TOKENS = torch.randint(WORDS, (N, LENGTH), generator=torch.Generator().manual_seed(0))
FORMS = {
    "int64": TOKENS,
    "int32": TOKENS.int(),
    "bytes": TOKENS.to(torch.uint8).numpy(),
    "whole floats": TOKENS.float(),
    "stored": StoredArray(TOKENS.numpy()),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_tokens_that_look_up_an_embedding_are_int64(data: Any) -> None:
    trial = of_tokens(data, test_data=data, batch_size=5)
    prepare(trial)
    assert torch.equal(trial.data.x[:], TOKENS)
    assert torch.equal(trial.test_data.x[:], TOKENS)
    prepare(trial)
    assert trial.data.x.dtype == torch.int64


@pytest.mark.full
def test_tokens_are_trained_on_evaluated_and_reconstructed(tmp_path: Path) -> None:
    run = train(of_tokens(TOKENS), tmp_path / "run")
    assert reconstruct(run).shape == TOKENS.shape
    assert codes(run, TOKENS).shape == (N, 2)
    assert np.isfinite(evaluate(run, only=["elbo"])["train"]["elbo"])
    again = load(tmp_path / "run", experiment=of_tokens(TOKENS))
    assert torch.equal(codes(again), codes(run))
    train(of_tokens(TOKENS), tmp_path / "run", resume=True)
    twice = of_tokens(TOKENS)
    train(twice, tmp_path / "twice")
    train(twice, tmp_path / "twice", resume=True)


def test_whole_numbers_stay_floats_where_programs_take_them() -> None:
    trial = of_numbers(torch.ones(N, 3, dtype=torch.long))
    prepare(trial)
    assert trial.data.x.dtype == torch.float32


def test_tokens_of_test_data_must_be_whole_too() -> None:
    test = TOKENS.float()
    test[2, 0] = 0.5
    with pytest.raises(DataError, match=r"test_data: the programs take whole .* others in row 2"):
        prepare(of_tokens(TOKENS, test_data=test))


def test_float64_is_given_to_programs_in_float32_if_nothing_is_lost() -> None:
    data = torch.randn(N, 3, dtype=torch.float64)
    trial = of_numbers(data, test_data=data)
    prepare(trial)
    assert torch.equal(trial.data.x, data.float())
    assert torch.equal(trial.test_data.x, data.float())


def test_what_float32_would_spoil_is_refused_and_subtracting_the_mean_is_the_remedy() -> None:
    data = torch.rand(N, 3, dtype=torch.float64)
    data[:, 1] += 1.7e9
    with pytest.raises(DataError, match=r"programs compute in float32, .* column 1 for .* mean"):
        prepare(of_numbers(data))
    prepare(of_numbers(data - data.mean(0)))
    with pytest.warns(UserWarning, match="column 1"):
        read = as_tensor(data.numpy())
    prepare(of_numbers((read - read.mean(0)) / read.std(0)))


def test_the_default_type_is_followed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(N, 3))
    torch.set_default_dtype(torch.float64)
    try:
        for data in (values, values.tolist(), torch.from_numpy(values).float(), [*values]):
            assert as_tensor(data).dtype == torch.float64
        assert torch.equal(as_tensor(values), torch.from_numpy(values))
        run = train(of_numbers(values), tmp_path / "run")
        assert run.data.x.dtype == torch.float64
        assert {p.dtype for p in run.state.parameters.values()} == {torch.float64}
        again = load(tmp_path / "run", experiment=of_numbers(values))
        assert torch.equal(codes(again), codes(run))
        assert StoredArray(values.astype(np.float32))[:].dtype == torch.float64
        prepare(of_numbers(StoredArray(values)))
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_error_of_the_programs_is_their_own() -> None:
    trial = of_numbers(torch.ones(N, 5))
    with pytest.raises(ValueError, match="expected an input of shape"):
        prepare(trial)
    assert trial.data.x.dtype == torch.float32


class Labelled(nn.Module):
    """A VAE whose decoder is given a label, as one of four."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 2), nn.Linear(2 + 4, 3)

    def model(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            both = torch.cat([z, nn.functional.one_hot(y, 4).to(z)], -1)
            pyro.sample("x", dist.Normal(self.decoder(both), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))


@pytest.mark.parametrize("x", [torch.randn(N, 3), torch.ones(N, 3)], ids=["numbers", "counts"])
def test_labels_given_as_floats_are_int64_where_they_are_indices(x: Tensor) -> None:
    programs, labels = Labelled(), torch.arange(N) % 4
    data, test = (x, labels.float()), (x, labels.float())
    trial = Experiment(programs.model, programs.guide, data, AggregateELBO(), test_data=test)
    prepare(trial)
    for kept in (trial.data, trial.test_data):
        assert [tensor.dtype for tensor in kept.tensors] == [torch.float32, torch.int64]
        assert torch.equal(kept.tensors[1], labels)
