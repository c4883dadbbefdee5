"""Masks, weights and scales over the data plate: what a row that is masked or weighted means."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_decomp.divergences import (
    MMD,
    RBF,
    AdversarialDivergence,
    CovariancePenalty,
    DimensionwiseMMD,
    EnergyDistance,
    ExclusiveKL,
    InclusiveKL,
    SlicedWasserstein,
)
from pyro_decomp.elbo import (
    AggregateELBO,
    AnnealedPriorELBO,
    BetaELBO,
    CapacityELBO,
    DIPELBO,
    EntropyRegularizedELBO,
    FactorELBO,
    GroupedTotalCorrelationELBO,
    InfoELBO,
    TermsELBO,
    TotalCorrelationELBO,
    WassersteinELBO,
)
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import Discriminator

KEPT, PADDING, D = 6, 3, 3
SIZE = KEPT + PADDING
EXACT = {"rtol": 1e-10, "atol": 1e-10}


class Programs(nn.Module):
    """A model and a guide over SIZE rows, under a handler around all sites of a datum."""

    def __init__(self, around: Callable[[], Any] = nullcontext, size: int = SIZE) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.around, self.size = around, size
        for name, shape in (("encode", (D, 4)), ("decode", (2, D)), ("up", (D + 1, 2))):
            value = torch.randn(shape, generator=generator, dtype=torch.float64) / 2
            setattr(self, name, nn.Parameter(value))

    def data(self, x: Tensor) -> Any:
        return pyro.plate("data", self.size, subsample=x, dim=-1)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x @ self.encode
        return h[:, :2], (h[:, 2:] / 4 - 0.5).exp()

    def prior(self) -> Any:
        return dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        return dist.Normal(*self.heads(x)).to_event(1)

    def observe(self, z: Tensor, x: Tensor) -> None:
        pyro.sample("x", dist.Normal(z @ self.decode, 0.7).to_event(1), obs=x)

    def model(self, x: Tensor) -> None:
        with self.data(x), self.around():
            self.observe(pyro.sample("z", self.prior()), x)

    def guide(self, x: Tensor) -> None:
        with self.data(x), self.around():
            pyro.sample("z", self.posterior(x))


class LaplaceGuide(Programs):
    def posterior(self, x: Tensor) -> Any:
        return dist.Laplace(*self.heads(x)).to_event(1)


class FullCovariance(Programs):
    def posterior(self, x: Tensor) -> Any:
        loc, scale = self.heads(x)
        tril = scale.diag_embed() + 0.3 * torch.diag_embed(loc[:, :1], -1)
        return dist.MultivariateNormal(loc, scale_tril=tril)


class TwoSites(Programs):
    def model(self, x: Tensor) -> None:
        with self.data(x), self.around():
            zero = torch.zeros(1).double()
            a = pyro.sample("a", dist.Normal(zero, 1.0).to_event(1))
            b = pyro.sample("b", dist.Laplace(zero, 1.0).to_event(1))
            self.observe(torch.cat([a, b], -1), x)

    def guide(self, x: Tensor) -> None:
        loc, scale = self.heads(x)
        with self.data(x), self.around():
            pyro.sample("a", dist.Normal(loc[:, :1], scale[:, :1]).to_event(1))
            pyro.sample("b", dist.Normal(loc[:, 1:], scale[:, 1:]).to_event(1))


class Structured(TwoSites):
    def guide(self, x: Tensor) -> None:
        loc, scale = self.heads(x)
        with self.data(x), self.around():
            a = pyro.sample("a", dist.Normal(loc[:, :1], scale[:, :1]).to_event(1))
            h = torch.cat([x, a], -1) @ self.up
            pyro.sample("b", dist.Normal(h[:, :1], (h[:, 1:] / 4).exp()).to_event(1))


class Mixture(Programs):
    """The component is summed out of the model's density."""

    def component(self) -> Tensor:
        return pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7]).double()))

    def model(self, x: Tensor) -> None:
        with self.data(x), self.around():
            locs = torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double()
            self.observe(
                pyro.sample("z", dist.Normal(locs[self.component()], 0.5).to_event(1)), x
            )


class MixtureInGuide(Mixture):
    """The component is summed over in the expectation."""

    def guide(self, x: Tensor) -> None:
        with self.data(x), self.around():
            pyro.sample("c", dist.Categorical(logits=x @ self.encode[:, :2]))
            pyro.sample("z", self.posterior(x))


class NestedPlate(Programs):
    def model(self, x: Tensor) -> None:
        with self.data(x), self.around():
            with pyro.plate("k", 2, dim=-2):
                z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            self.observe(z.mT, x)

    def guide(self, x: Tensor) -> None:
        loc, scale = self.heads(x)
        with self.data(x), self.around(), pyro.plate("k", 2, dim=-2):
            pyro.sample("z", dist.Normal(loc.mT, scale.mT))


class Global(Programs):
    def model(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(D).double(), 1.0).to_event(1))
        with self.data(x), self.around():
            z = pyro.sample("z", self.prior())
            pyro.sample("x", dist.Normal(z @ self.decode + w, 0.7).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(self.up[:D, 0], 0.3).to_event(1))
        super().guide(x)


class Auxiliary(Programs):
    def guide(self, x: Tensor) -> None:
        with self.data(x), self.around():
            u = pyro.sample("u", self.posterior(x), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(2 * u, log_density=-2 * math.log(2), event_dim=1))


PROGRAMS: dict[str, type[Programs]] = {
    "Normal": Programs,
    "Laplace guide": LaplaceGuide,
    "full covariance": FullCovariance,
    "two sites": TwoSites,
    "structured": Structured,
    "mixture": Mixture,
    "mixture in the guide": MixtureInGuide,
    "nested plate": NestedPlate,
    "a global latent": Global,
    "an auxiliary site": Auxiliary,
}


def discriminator() -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Discriminator(2, hidden=(4,)).double()


def aggregate(divergence: Any) -> TermsELBO:
    return AggregateELBO(1.3, 2.0, divergence)


OBJECTIVES: dict[str, Callable[[], TermsELBO]] = {
    "beta": lambda: BetaELBO(2.0),
    "capacity": lambda: CapacityELBO(3.0, 1.0),
    "entropy": lambda: EntropyRegularizedELBO(2.0),
    "annealed": lambda: AnnealedPriorELBO(2.0),
    "total correlation": lambda: TotalCorrelationELBO(0.8, 4.0, 0.7),
    "grouped": lambda: GroupedTotalCorrelationELBO(0.9, 3.0, 2.0, 0.8),
    "DIP I": lambda: DIPELBO("I", lambda_od=3.0, lambda_d=1.0),
    "DIP II": lambda: DIPELBO("II", lambda_od=3.0, lambda_d=1.0),
    "covariance": lambda: aggregate(CovariancePenalty("II")),
    "inclusive": lambda: aggregate(InclusiveKL()),
    "exclusive": lambda: aggregate(ExclusiveKL()),
    "exclusive, weighted": lambda: aggregate(ExclusiveKL("weighted")),
    "exclusive, batch": lambda: aggregate(ExclusiveKL("batch")),
    "MMD": lambda: aggregate(MMD()),
    "MMD of a median": lambda: aggregate(MMD(RBF())),
    "dimension-wise MMD": lambda: aggregate(DimensionwiseMMD()),
    "energy": lambda: aggregate(EnergyDistance()),
    "sliced": lambda: aggregate(SlicedWasserstein(5)),
    "adversarial kl": lambda: aggregate(AdversarialDivergence(discriminator(), "kl")),
    "adversarial js": lambda: aggregate(AdversarialDivergence(discriminator(), "js")),
    "factor": lambda: FactorELBO(3.0, discriminator()),
    "info": lambda: InfoELBO(0.2, 20.0),
    "wasserstein": lambda: WassersteinELBO(3.0, InclusiveKL()),
    "particles": lambda: TotalCorrelationELBO(0.8, 4.0, 0.7, num_particles=2),
    "sum": lambda: aggregate(ExclusiveKL() + 3.0 * MMD()),
}


@pytest.fixture(autouse=True)
def noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Draws of a row that do not depend on how many rows there are; a call begins anew."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(40, 16, 16, generator=generator, dtype=torch.float64)
    calls = [0]

    def normal(shape: Any, dtype: torch.dtype, device: Any) -> Tensor:
        shape = torch.Size(shape)
        if len(shape) != 2:
            shape_1d = torch.Size([1] * (2 - len(shape))) + shape
            return normal(shape_1d, dtype, device).reshape(shape)
        calls[0] += 1
        return table[calls[0] % 40, : shape[0], : shape[1]].to(dtype)

    def laplace(self: Any, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        cdf = torch.special.ndtr(normal(shape, self.loc.dtype, None))
        value: Tensor = self.icdf(cdf)
        return value

    def drawn(self: Any, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            value: Tensor = self.rsample(sample_shape)
            return value

    def component(self: Any, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        row = normal(torch.Size([1, *shape])[-2:], torch.float64, None).reshape(shape)
        return (torch.special.ndtr(row) > 0.4).long()

    torch_distributions = torch.distributions
    for module in (torch_distributions.normal, torch_distributions.multivariate_normal):
        monkeypatch.setattr(module, "_standard_normal", normal)
    monkeypatch.setattr(torch_distributions.Normal, "sample", drawn)
    monkeypatch.setattr(torch_distributions.Laplace, "rsample", laplace)
    monkeypatch.setattr(torch_distributions.Laplace, "sample", drawn)
    monkeypatch.setattr(torch_distributions.Categorical, "sample", component)

    def restart() -> None:
        calls[0] = 0
        torch.manual_seed(7)

    yield restart


def rows(size: int = KEPT) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, D, generator=generator, dtype=torch.float64)


def padded() -> Tensor:
    return torch.cat([rows(), torch.full((PADDING, D), 4.0).double()])


REAL = torch.arange(SIZE) < KEPT


def found(
    elbo: TermsELBO, programs: Programs, x: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Terms and loss, and gradients by name."""
    programs.zero_grad()
    estimate = elbo.evaluate(programs.model, programs.guide, x)
    estimate.loss.backward()
    values = {**estimate.terms, "loss": estimate.loss, "elbo": estimate.elbo}
    gradients = {n: p.grad for n, p in programs.named_parameters() if p.grad is not None}
    return values, gradients


def assert_equal(ours: tuple[dict[str, Tensor], ...], expected: tuple[dict[str, Tensor], ...]) -> None:
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(mine[name], value, **EXACT, msg=lambda m: f"{name}: {m}")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_masking_a_row_is_deleting_it(
    objective: str, program: str, noise: Callable[[], None]
) -> None:
    made, build = PROGRAMS[program], OBJECTIVES[objective]
    deleted, masked = made(size=KEPT), made(partial(poutine.mask, mask=REAL))
    noise()
    try:
        expected = found(build(), deleted, rows())
    except ModelError:
        noise()
        with pytest.raises(ModelError):
            found(build(), masked, padded())
        return
    noise()
    assert_equal(found(build(), masked, padded()), expected)
