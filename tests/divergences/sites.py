"""Encodings of one's own, and three latent sites of different shapes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_decomp.divergences.base import Divergence
from pyro_decomp.elbo import AggregateELBO
from pyro_decomp.programs.traces import TracePair

Program = Callable[[Tensor], Any]


def encoded(
    qz_x: dist.TorchDistribution,
    prior: dist.TorchDistribution | Callable[[], Any] | None = None,
    num_data: int | None = None,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Program, Program, Tensor]:
    """A model, a guide that gives these encodings, and a batch of as many data.

    Args:
        qz_x: The encodings, one a datum.
        prior: The prior or a program that draws from it; by default the standard Normal.
        num_data: N; by default as many as the batch has.
        around: What handles all sites of a datum, such as a mask.
    """
    size = qz_x.batch_shape[0]
    if prior is None:
        prior = dist.Normal(torch.zeros(qz_x.event_shape).double(), 1.0).to_event(1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", num_data or size, subsample=x), around():
            z = prior() if not isinstance(prior, dist.Distribution) else pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z[..., :1], 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", num_data or size, subsample=x), around():
            pyro.sample("z", qz_x)

    return model, guide, torch.zeros(size, 1, dtype=torch.double)


def three_sites() -> tuple[Program, Program, Tensor]:
    """A scalar, a pair in a plate of three inside the data plate, and a correlated pair."""
    x = torch.randn(9, 4, dtype=torch.double)
    loc = (x @ torch.randn(4, 3, 2, dtype=torch.double).movedim(1, 0)).requires_grad_()  # 3, 9, 2
    factor = torch.tensor([[0.5, 0.0], [0.3, 0.4]], dtype=torch.double)

    def model(x: Tensor) -> None:
        zero = torch.zeros(2, dtype=torch.double)
        with pyro.plate("data", 9, subsample=x, dim=-1):
            a = pyro.sample("a", dist.Normal(zero[0], 1.0))
            with pyro.plate("parts", 3, dim=-2):
                pyro.sample("b", dist.Normal(zero, 1.0).to_event(1))
            pyro.sample("c", dist.MultivariateNormal(zero, torch.eye(2).double()))
            pyro.sample("x", dist.Normal(a[:, None], 1.0).expand([9, 4]).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 9, subsample=x, dim=-1):
            pyro.sample("a", dist.Normal(x[:, 0], 0.7))
            with pyro.plate("parts", 3, dim=-2):
                pyro.sample("b", dist.Normal(loc, x[:, :2].exp()).to_event(1))
            pyro.sample("c", dist.MultivariateNormal(x[:, 1:3], scale_tril=factor))

    return model, guide, x


def two_sites() -> tuple[Program, Program, Tensor]:
    """Two sites of a datum of which the guide draws the second given the first."""
    zero = torch.zeros(1, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample=x):
            z = pyro.sample("a", dist.Normal(zero, 1.0).to_event(1))
            pyro.sample("b", dist.Normal(zero, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample=x):
            a = pyro.sample("a", dist.Normal(x, 0.7).to_event(1))
            pyro.sample("b", dist.Normal(0.5 * a, 0.8).to_event(1))

    return model, guide, torch.randn(9, 1, dtype=torch.double)


def given_the_datum() -> tuple[Program, Program, Tensor]:
    """A prior of each datum of its own, so that p(z) is the mixture of them."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample=x):
            z = pyro.sample("z", dist.Normal(x, 0.8).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample=x):
            pyro.sample("z", dist.Normal(0.7 * x, 0.5).to_event(1))

    return model, guide, torch.randn(9, 2, dtype=torch.double)


def evaluate(divergence: Divergence, *programs: Any) -> Tensor:
    """The divergence as an objective's term."""
    elbo = AggregateELBO(alpha=1.0, divergence=divergence)
    return elbo.evaluate(*programs).terms["divergence"]


def traced(*programs: Any) -> TracePair:
    """The traces of one run."""
    return next(AggregateELBO().trace_pairs(*programs))
