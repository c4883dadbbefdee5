"""Runs to draw: three clusters, which an encoder that is known tells apart."""

from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.analysis.pictures.picture_data import PictureData
from pyro_decomp.training.run import finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare

N = 60
LOCS = torch.tensor([[0.0, 9.0, 0.0], [0.0, -9.0, 0.0], [9.0, 0.0, 0.0]], dtype=torch.double)
CLASSES = torch.arange(N) % 3
NOISE = torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
X = LOCS[CLASSES] + torch.tensor([1.0, 0.5, 0.0]) * NOISE
DECODING = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]], dtype=torch.double)
ONE = torch.ones(3, dtype=torch.double)


def normal(loc: Tensor, scale: Any = 0.1) -> Any:
    return dist.Normal(loc, scale).to_event(1)


def mixture() -> Any:
    weights = dist.Categorical(torch.ones(3, dtype=torch.double))
    return pyro.sample("z", dist.MixtureSameFamily(weights, normal(LOCS, 1.0)))


def summed_mixture() -> Any:
    c = pyro.sample("c", dist.Categorical(torch.ones(3, dtype=torch.double)))
    return pyro.sample("z", normal(LOCS[c], 1.0))


def plain() -> Any:
    return pyro.sample("z", normal(0 * ONE, 1.0))


def picture_data(folder: Path, prior: Any = plain, qz_x: Any = normal) -> PictureData:
    """z|x has the mean x, and x|z the mean z times a diagonal matrix."""
    layer = nn.Linear(1, 1, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("x", normal(prior() @ DECODING, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", qz_x(x + 0 * layer(x[:, :1])))

    elbo = AggregateELBO(alpha=0.0)
    trial = Experiment(model, guide, data=X, elbo=elbo, factors=CLASSES)
    return PictureData(finish(RunFolder(folder), trial, prepare(trial), {}, 0), 0)
