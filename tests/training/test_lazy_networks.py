"""Lazy networks find their sizes before parameters are collected."""

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AdversarialDivergence, AggregateELBO, Experiment, train
from pyro_decomp.analysis.latents import codes
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.run import load
from pyro_decomp.training.state import prepare

N = 12


def prior() -> Any:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


class Encoder(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Any:
        return dist.Normal(self.layers(x), 0.5).to_event(1)


class Decoder(nn.Module):
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


def experiment_of(encoder: str, decoder: str, elbo: Any = None, **more: Any) -> Experiment:
    torch.manual_seed(0)
    vae = VAE(prior, Encoder(*ENCODERS[encoder]()), Decoder(DECODERS[decoder]()), size=N)
    elbo = AggregateELBO() if elbo is None else elbo
    return Experiment(vae.model, vae.guide, torch.randn(N, 1, 4, 4), elbo, epochs=2, **more)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_all_parameters_are_trained(encoder: str, decoder: str) -> None:
    trial = experiment_of(encoder, decoder, batch_size=5)
    state = prepare(trial)
    expected = [p for module in state.modules for p in module.parameters()]
    assert {id(p) for p in state.parameters.values()} == {id(p) for p in expected}
    before = [module.training for module in state.modules]
    assert all(before)
    again = prepare(experiment_of(encoder, decoder, batch_size=5))
    for name, parameter in again.parameters.items():
        assert torch.equal(parameter, state.parameters[name])


def test_statistics_have_seen_nothing_yet() -> None:
    state = prepare(experiment_of("batch normalisation", "plain"))
    norm = next(m for m in state.modules[0].modules() if isinstance(m, nn.BatchNorm1d))
    assert int(norm.num_batches_tracked) == 0
    assert torch.equal(norm.running_mean, torch.zeros(16))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_run_is_trained_loaded_and_resumed(tmp_path: Path, encoder: str) -> None:
    run = train(experiment_of(encoder, "lazy"), tmp_path / "run")
    again = load(tmp_path / "run", experiment=experiment_of(encoder, "lazy"))
    torch.testing.assert_close(codes(again), codes(run))  # the order of memory may differ
    train(experiment_of(encoder, "lazy"), tmp_path / "run", resume=True)


def test_programs_that_register_modules_with_pyro() -> None:
    net, out = nn.LazyLinear(2), nn.LazyLinear(16)

    def model(x: Tensor) -> None:
        pyro.module("out", out)
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(out(z), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

    state = prepare(Experiment(model, guide, torch.randn(N, 16), AggregateELBO()))
    assert len(state.parameters) == 4


def test_a_discriminator_may_be_lazy() -> None:
    divergence = AdversarialDivergence(nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1)))
    state = prepare(experiment_of("linear", "lazy", AggregateELBO(divergence=divergence)))
    assert all(p.numel() for module in state.modules for p in module.parameters())


def test_a_lazy_network_that_is_never_run_is_named() -> None:
    trial = experiment_of("linear", "lazy")
    trial.modules = [nn.LazyLinear(3)]
    with pytest.raises(ExperimentError, match="the size of weight, bias is not known, as neither"):
        prepare(trial)
