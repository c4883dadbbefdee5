"""Programs run on data for the first time: number types, lazy sizes, and sentences on failures."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AdversarialDivergence, AggregateELBO, Experiment, train
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.analysis.latents import codes, reconstruct
from pyro_decomp.data import as_tensor
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError, ExperimentError, ModelError, OutOfMemoryError
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
    with pytest.raises(ValueError, match="expected a floating-point tensor of shape"):
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


NUM_DATA = 12


def lazy_prior() -> Any:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


class LazyEncoder(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Any:
        return dist.Normal(self.layers(x), 0.5).to_event(1)


class LazyDecoder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Any:
        return dist.Normal(self.layer(z).unflatten(-1, (1, 4, 4)), 0.5).to_event(3)


ENCODERS: dict[str, Any] = {
    "linear": lambda: (nn.Flatten(), nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(2)),
    "convolution": lambda: (nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(2)),
    "batch normalisation": lambda: (nn.Flatten(), nn.LazyBatchNorm1d(), nn.LazyLinear(2)),
    "no lazy one": lambda: (nn.Flatten(), nn.Linear(16, 2)),
}
DECODERS: dict[str, Any] = {"lazy": lambda: nn.LazyLinear(16), "plain": lambda: nn.Linear(2, 16)}


def lazy_experiment(encoder: str, decoder: str, elbo: Any = None, **more: Any) -> Experiment:
    torch.manual_seed(0)
    networks = LazyEncoder(*ENCODERS[encoder]()), LazyDecoder(DECODERS[decoder]())
    vae = VAE(lazy_prior, *networks, size=NUM_DATA)
    elbo = AggregateELBO() if elbo is None else elbo
    return Experiment(vae.model, vae.guide, torch.randn(NUM_DATA, 1, 4, 4), elbo, epochs=2, **more)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_all_parameters_are_trained(encoder: str, decoder: str) -> None:
    trial = lazy_experiment(encoder, decoder, batch_size=5)
    state = prepare(trial)
    expected = [p for module in state.modules for p in module.parameters()]
    assert {id(p) for p in state.parameters.values()} == {id(p) for p in expected}
    before = [module.training for module in state.modules]
    assert all(before)
    again = prepare(lazy_experiment(encoder, decoder, batch_size=5))
    for name, parameter in again.parameters.items():
        assert torch.equal(parameter, state.parameters[name])


def test_statistics_have_seen_nothing_yet() -> None:
    state = prepare(lazy_experiment("batch normalisation", "plain"))
    norm = next(m for m in state.modules[0].modules() if isinstance(m, nn.BatchNorm1d))
    assert int(norm.num_batches_tracked) == 0
    assert torch.equal(norm.running_mean, torch.zeros(16))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_run_is_trained_loaded_and_resumed(tmp_path: Path, encoder: str) -> None:
    run = train(lazy_experiment(encoder, "lazy"), tmp_path / "run")
    again = load(tmp_path / "run", experiment=lazy_experiment(encoder, "lazy"))
    torch.testing.assert_close(codes(again), codes(run))  # the order of memory may differ
    train(lazy_experiment(encoder, "lazy"), tmp_path / "run", resume=True)


def test_programs_that_register_modules_with_pyro() -> None:
    net, out = nn.LazyLinear(2), nn.LazyLinear(16)

    def model(x: Tensor) -> None:
        pyro.module("out", out)
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(out(z), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    state = prepare(Experiment(model, guide, torch.randn(NUM_DATA, 16), AggregateELBO()))
    assert len(state.parameters) == 4


def test_a_discriminator_may_be_lazy() -> None:
    divergence = AdversarialDivergence(nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1)))
    state = prepare(lazy_experiment("linear", "lazy", AggregateELBO(divergence=divergence)))
    assert all(p.numel() for module in state.modules for p in module.parameters())


def test_a_lazy_network_that_is_never_run_is_named() -> None:
    trial = lazy_experiment("linear", "lazy")
    trial.modules = [nn.LazyLinear(3)]
    with pytest.raises(ExperimentError, match="the size of weight, bias is not known, as neither"):
        prepare(trial)


class Encoder(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Flatten(), nn.LazyLinear(2))

    def forward(self, x: Tensor) -> Any:
        return dist.Normal(self.layers(x), 0.5).to_event(1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 9)

    def forward(self, z: Tensor) -> Any:
        return dist.Normal(self.layer(z).unflatten(-1, (1, 3, 3)), 0.5).to_event(3)


def normal_prior() -> Any:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment_of(norm: nn.Module, size: int = 9, batch_size: int | None = 4) -> Experiment:
    vae = VAE(normal_prior, Encoder(norm), Decoder(), size=size)
    data = torch.randn(size, 1, 3, 3)
    elbo = AggregateELBO(alpha=0.0)
    return Experiment(vae.model, vae.guide, data, elbo, epochs=1, batch_size=batch_size)


def test_the_layer_and_the_sizes_are_named_and_the_remedy_helps(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"9 data in batches of 4 leave a batch of 1, .* 'encoder\.layers\.1' \(BatchNorm2d\) "
        r".* choose another batch_size, such as 3, or ",
    ):
        train(experiment_of(nn.BatchNorm2d(4)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(experiment_of(nn.BatchNorm2d(4), batch_size=3), tmp_path / "run")


def test_a_second_run_of_the_same_experiment_is_no_other() -> None:
    trial = experiment_of(nn.BatchNorm2d(4))
    for module in (trial.model.__self__, trial.guide.__self__):  # type: ignore[attr-defined]
        module.eval()
    with pytest.raises(ModelError, match="leave a batch of 1"):
        prepare(trial)


@pytest.mark.parametrize(("size", "batch_size"), [(9, 1), (1, None)])
def test_batches_of_one_throughout(size: int, batch_size: int | None) -> None:
    with pytest.raises(ModelError, match=f"{size} data in batches of 1 leave a batch of 1"):
        prepare(experiment_of(nn.BatchNorm2d(4), size, batch_size))


NORMS = {
    "of a datum": lambda: nn.GroupNorm(2, 4),
    "of an instance": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.InstanceNorm2d(4)),
    "none": nn.Dropout2d,
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_other_layers_take_a_batch_of_one(norm: Any) -> None:
    prepare(experiment_of(norm()))


def test_a_normalisation_over_pixels_takes_a_batch_of_one() -> None:
    trial = experiment_of(nn.Sequential(nn.Upsample(scale_factor=3), nn.BatchNorm2d(4)))
    prepare(trial)


def normal(h: Tensor) -> Any:
    return dist.Normal(h, 0.5).to_event(1)


class Part(nn.Module):
    def __init__(self, sizes: tuple[int, int], make: Any = normal, see: Any = lambda x: x) -> None:
        super().__init__()
        self.linear, self.make, self.see = nn.Linear(*sizes), make, see

    def forward(self, x: Tensor) -> Any:
        return self.make(self.linear(self.see(x)))


def exponential(h: Tensor) -> Any:
    return dist.Normal(0.0, h.exp()).to_event(1)


def trial(
    data: Any = None, encoder: nn.Module | None = None, decoder: nn.Module | None = None
) -> Experiment:
    vae = VAE(normal_prior, encoder or Part((3, 2)), decoder or Part((2, 3)), size=9)
    data = torch.randn(9, 3) if data is None else data
    return Experiment(vae.model, vae.guide, data, AggregateELBO(alpha=0.0), epochs=1, batch_size=4)


COUNTS = (torch.rand(9, 3) * 1e6).round()
TALL = torch.randn(9, 3) * torch.tensor([1.0, 3e4, 1.0])
UNRUNNABLE: dict[str, tuple[Any, str, Any]] = {  # what is tried, what is said, the remedy
    "an encoder of another width": (
        lambda: trial(encoder=Part((5, 2))),
        r"a batch of shape \(4, 3\): RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        trial,
    ),
    "a decoder of another latent": (
        lambda: trial(decoder=Part((5, 3))),
        r"a batch of shape \(4, 3\): RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        trial,
    ),
    "networks of 16 bits": (
        lambda: trial(encoder=Part((3, 2)).half(), decoder=Part((2, 3)).half()),
        r"networks are float16 and the data float32: make them the same, as network\.float\(",
        lambda: trial(encoder=Part((3, 2)).half().float(), decoder=Part((2, 3)).half().float()),
    ),
    "two tensors for a VAE": (
        lambda: trial(data=(torch.randn(9, 3), torch.randn(9, 3))),
        r"the data are 2 tensors, with which the model\(x: .*\) cannot be called",
        trial,
    ),
    "a scale that is not positive": (
        lambda: trial(decoder=Part((2, 3), lambda h: dist.Normal(h, h * 0.0).to_event(1))),
        r"expected the scale of a Normal to be positive and finite, as softplus\(h\) \+ 1e-3 is$",
        lambda: trial(
            decoder=Part(
                (2, 3),
                lambda h: dist.Normal(h, nn.functional.softplus(h * 0.0) + 1e-3).to_event(1),
            )
        ),
    ),
    "a column of another scale": (
        lambda: trial(data=TALL, encoder=Part((3, 2), exponential)),
        r"; column 1 of the batch ranges from -.*: standardise the data, as \(x - x\.mean\(0",
        lambda: trial(data=(TALL - TALL.mean(0)) / TALL.std(0), encoder=Part((3, 2), exponential)),
    ),
    "counts": (
        lambda: trial(data=COUNTS, encoder=Part((3, 2), exponential)),
        r"of the batch ranges from .*: let the encoder see x\.log1p\(\)",
        lambda: trial(data=COUNTS, encoder=Part((3, 2), exponential, torch.log1p)),
    ),
}


@pytest.mark.parametrize(("wrong", "message", "right"), UNRUNNABLE.values(), ids=UNRUNNABLE)
def test_why_programs_cannot_be_run_is_told_and_the_remedy_helps(
    wrong: Any, message: str, right: Any
) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        prepare(wrong())
    assert "\n" not in str(raised.value)
    prepare(right())


def test_a_last_batch_that_programs_cannot_take_is_named() -> None:
    fours = Part((3, 2), see=lambda x: x.reshape(-1, 4, 3).flatten(0, 1))
    message = (
        r"cannot be run on the last batch of shape \(1, 3\): RuntimeError: shape '\[-1, 4, 3\]'"
    )
    with pytest.raises(ModelError, match=message):
        prepare(trial(encoder=fours))


def test_large_values_are_not_named_for_what_they_did_not_do() -> None:
    with pytest.raises(ModelError, match=r"cannot be multiplied [^;]*$"):
        prepare(trial(data=TALL, encoder=Part((5, 2))))


@pytest.mark.parametrize("where", ["model", "guide"])
def test_want_of_memory_is_no_fault_of_the_programs_data(tmp_path: Path, where: str) -> None:
    trial = of_numbers(torch.randn(N, 3))
    program = getattr(trial, where)

    def greedy(x: Tensor) -> None:
        torch.ones(2**58)
        program(x)

    setattr(trial, where, greedy)
    said = "a batch of shape .*: not enough memory: .* were asked for, and .* a smaller batch_size "
    with pytest.raises(OutOfMemoryError, match=said):
        train(trial, tmp_path / "run")
