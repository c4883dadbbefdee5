"""Why programs cannot be run on the first batch, or on the last, is told before the run."""

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment, train
from pyro_decomp.errors import ModelError
from pyro_decomp.training.state import prepare


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


def prior() -> Any:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment_of(norm: nn.Module, size: int = 9, batch_size: int | None = 4) -> Experiment:
    vae = VAE(prior, Encoder(norm), Decoder(), size=size)
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
    vae = VAE(prior, encoder or Part((3, 2)), decoder or Part((2, 3)), size=9)
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
