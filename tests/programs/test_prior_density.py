"""Priors that are given something of the datum, in steps that do not run the programs."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, TotalCorrelationELBO, train
from pyro_decomp.acceleration.execution import Execution
from pyro_decomp.divergences import MMD, ExclusiveKL, InclusiveKL
from pyro_decomp.elbo import TermsELBO

N = 24


class Given(nn.Module):
    """A prior given u, or a label that is given u, under a handler of the user's."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.prior, self.encoder = nn.Linear(1, 2), nn.Linear(2, 2)
        self.locs = nn.Parameter(torch.randn(2, 2))

    def around(self, u: Tensor, *, latent: bool) -> AbstractContextManager[object]:
        """The mask, weight or annealing of a batch."""
        if self.kind == "mask":
            return poutine.mask(mask=u[:, 0] > -1)
        if self.kind == "weight":
            return poutine.scale(scale=u[:, 0].exp())
        is_annealed = self.kind == "annealing" and latent
        return poutine.scale(scale=0.4) if is_annealed else nullcontext()

    def model(self, x: Tensor, u: Tensor, y: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            loc = self.prior(u)
            if self.kind == "label":
                labels = dist.Categorical(logits=torch.cat([u, -u], -1))
                loc = self.locs[pyro.sample("y", labels, obs=y)]
            with self.around(u, latent=True):
                z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            with self.around(u, latent=False):
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, u: Tensor, y: Tensor) -> None:
        with pyro.plate("data", N, subsample=x), self.around(u, latent=True):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


OBJECTIVES = {
    "exclusive": AggregateELBO(1.0, 1.0, ExclusiveKL()),
    "inclusive": AggregateELBO(1.0, 1.0, InclusiveKL()),
    "MMD": AggregateELBO(1.0, 1.0, MMD()),
    "total correlation": TotalCorrelationELBO(0.8, 3.0),
}


@pytest.mark.full(but=["plain-inclusive"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param("plain", "exclusive", marks=pytest.mark.slow),
        ("plain", "inclusive"),
        pytest.param("plain", "MMD", marks=pytest.mark.slow),
        ("plain", "total correlation"),
        pytest.param("mask", "inclusive", marks=pytest.mark.slow),
        ("mask", "total correlation"),
        pytest.param("weight", "exclusive", marks=pytest.mark.slow),
        pytest.param("weight", "MMD", marks=pytest.mark.slow),
        pytest.param("annealing", "total correlation", marks=pytest.mark.slow),
        ("label", "exclusive"),
    ],
)
def test_a_captured_step_is_the_same_step(kind: str, name: str, tmp_path: Path) -> None:
    elbo: TermsELBO = OBJECTIVES[name]
    trained = []
    for way in ("eager", "captured"):
        pyro.set_rng_seed(0)
        programs = Given(kind)
        data = torch.randn(N, 2), torch.randn(N, 1), torch.randint(2, (N,))
        experiment = Experiment(
            programs.model, programs.guide, data=data, elbo=elbo, epochs=3, batch_size=8
        )
        before = [p.detach().clone() for p in programs.parameters()]
        run = train(experiment, tmp_path / way, execution=Execution(way))
        trained.append([p.detach() for p in run.state.parameters.values()])
        assert any(not torch.equal(p, old) for p, old in zip(trained[-1], before, strict=True))
    for one, other in zip(*trained, strict=True):
        assert torch.equal(one, other)
