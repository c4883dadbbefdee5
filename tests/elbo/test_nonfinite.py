"""What a step without a finite number is put down to, and that the advice helps."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_decomp import VAE, AggregateELBO, Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.errors import NonFiniteError

N, D = 40, 3
SGD = partial(torch.optim.SGD, lr=1e-2)


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D, 2)

    def forward(self, x: Tensor) -> Any:
        return dist.Normal(self.linear(x), 0.5).to_event(1)


class Decoder(nn.Module):
    """A likelihood that a function makes of a location and of a free number for each column."""

    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.free, self.make = nn.Linear(2, D), nn.Parameter(torch.ones(D)), make

    def forward(self, z: Tensor) -> Any:
        return self.make(self.linear(z), self.free).to_event(1)


def unit(h: Tensor, free: Tensor) -> Any:
    return dist.Normal(h, 1.0 + 0.0 * free)


def data() -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1))


def constant() -> Tensor:
    x = data()
    x[:, 1] = 3.0
    return x


def tall() -> Tensor:
    return data() * torch.tensor([1.0, 300.0, 1.0])


def trial(
    x: Tensor, make: Callable[[Tensor, Tensor], Any] = unit, optimizer: Any = SGD, epochs: int = 60
) -> Experiment:
    torch.manual_seed(0)
    vae = VAE(prior, Encoder(), Decoder(make), size=N)
    elbo = AggregateELBO(alpha=0.0)
    return Experiment(
        vae.model, vae.guide, x, elbo, epochs=epochs, batch_size=8, optimizer=optimizer
    )


def rectified(h: Tensor, free: Tensor) -> Any:
    return dist.Normal(h, free.relu())


def bounded(h: Tensor, free: Tensor) -> Any:
    return dist.Normal(h, softplus(free) + 1e-3)


def tiny(h: Tensor, free: Tensor) -> Any:
    return dist.Normal(h, 1e-25 * free)


def overflowing(h: Tensor, free: Tensor) -> Any:
    return dist.Normal(1e30 * h, free)


def rooted(h: Tensor, free: Tensor) -> Any:
    return dist.Normal(h + (0.0 * h).sqrt(), free)


FAST = partial(torch.optim.Adam, lr=3e-2)
CAUSES: dict[str, tuple[Callable[[], Experiment], str, Callable[[], Experiment] | None]] = {
    "the learning rate": (
        lambda: trial(data(), optimizer=partial(torch.optim.SGD, lr=3.0)),
        r"step ([2-9]|\d\d+): .*\(try a smaller learning rate[,)]",
        lambda: trial(data(), optimizer=partial(torch.optim.SGD, lr=0.3)),
    ),
    "a column of another scale": (
        lambda: trial(tall()),
        r"column 1 of the batch ranges from -.* to .*: standardise the data, as \(x - x\.mean\(0\)",
        lambda: trial((tall() - tall().mean(0)) / tall().std(0)),
    ),
    "a constant column": (
        lambda: trial(constant(), rectified, FAST, 200),
        r"scale of site 'x' is as small as 0 in column 1, where all data are 3: leave constant",
        lambda: trial(constant(), bounded, FAST),
    ),
    "a scale that has vanished": (
        lambda: trial(data(), tiny),
        r"step 1: .* scale of site 'x' is as small as 1e-25 in column 0: bound it from below, as",
        lambda: trial(data(), bounded),
    ),
    "numbers that overflow at step 1": (
        lambda: trial(data(), overflowing),
        r"step 1: log_likelihood = -inf, .*\(no step was taken before it, so it is in the pro",
        None,
    ),
    "a slope that is infinite at step 1": (
        lambda: trial(data(), rooted),
        r"step 1: the gradient of encoder.*\(no step was taken before it, so it is in the pro",
        lambda: trial(data()),
    ),
}


@pytest.mark.full(but=["the learning rate-eager", "a scale that has vanished-captured"])
@pytest.mark.parametrize("steps", ["eager", "captured", "auto"])
@pytest.mark.parametrize(("failing", "message", "mended"), CAUSES.values(), ids=CAUSES)
def test_the_cause_is_named_and_its_remedy_trains(
    failing: Any, message: str, mended: Any, steps: str, tmp_path: Path
) -> None:
    with pytest.raises(NonFiniteError, match=message) as raised:
        train(failing(), tmp_path / "run", execution=Execution(steps))
    told = str(raised.value)
    assert "\n" not in told
    assert ("learning rate" in told) == ("learning rate" in message)
    if mended is not None:
        run = train(mended(), tmp_path / "mended", execution=Execution(steps))
        assert torch.tensor(run.history["elbo"]).isfinite().all()
