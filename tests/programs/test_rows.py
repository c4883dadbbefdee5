"""Masks, weights and scales over the data plate: what a row that is masked or weighted means."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from csv import DictReader
from functools import partial
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor, nn

from pyro_decomp import Experiment, evaluate, train
from pyro_decomp.acceleration.execution import Execution
from pyro_decomp.aggregate_posterior import Exact
from pyro_decomp.analysis import evaluation
from pyro_decomp.divergences import (
    EnergyDistance,
    ExclusiveKL,
    InclusiveKL,
)
from pyro_decomp.elbo import (
    DIPELBO,
    AggregateELBO,
    AnnealedPriorELBO,
    BetaELBO,
    CapacityELBO,
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
from pyro_decomp.training.run import finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.state import prepare
from tests.divergences.laws import DIVERGENCES, Row
from tests.statistics import assert_mean

KEPT, PADDING, D = 6, 3, 3
SIZE = KEPT + PADDING
ONCE = torch.Size()
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
            self.observe(pyro.sample("z", dist.Normal(locs[self.component()], 0.5).to_event(1)), x)


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


class Conditional(Programs):
    """The prior is given the datum, so that p(z) is a mixture over the rows that are data."""

    def model(self, x: Tensor) -> None:
        with self.data(x), self.around():
            self.observe(pyro.sample("z", dist.Normal(0.7 * x[:, :2], 0.8).to_event(1)), x)


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
    "a conditional prior": Conditional,
}


def discriminator() -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Discriminator(2, hidden=(4,)).double()


def aggregate(divergence: Any) -> TermsELBO:
    return AggregateELBO(1.3, 2.0, divergence)


def aggregate_of(row: Row) -> TermsELBO:
    return aggregate(row())


OBJECTIVES: dict[str, Callable[[], TermsELBO]] = {
    "beta": lambda: BetaELBO(2.0),
    "capacity": lambda: CapacityELBO(3.0, 1.0),
    "entropy": lambda: EntropyRegularizedELBO(2.0),
    "annealed": lambda: AnnealedPriorELBO(2.0),
    "total correlation": lambda: TotalCorrelationELBO(0.8, 4.0, 0.7),
    "grouped": lambda: GroupedTotalCorrelationELBO(0.9, 3.0, 2.0, 0.8),
    "DIP I": lambda: DIPELBO("I", lambda_od=3.0, lambda_d=1.0),
    "DIP II": lambda: DIPELBO("II", lambda_od=3.0, lambda_d=1.0),
    **{name: partial(aggregate_of, row) for name, row in DIVERGENCES.items()},
    "factor": lambda: FactorELBO(3.0, discriminator()),
    "info": lambda: InfoELBO(0.2, 20.0),
    "wasserstein": lambda: WassersteinELBO(3.0, InclusiveKL()),
    "particles": lambda: TotalCorrelationELBO(0.8, 4.0, 0.7, num_particles=2),
}


@pytest.fixture(autouse=True)
def noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
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

    def drawn(self: Any, sample_shape: Any = ONCE) -> Tensor:
        with torch.no_grad():
            value: Tensor = self.rsample(sample_shape)
            return value

    def component(self: Any, sample_shape: Any = ONCE) -> Tensor:
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

    return restart


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


def assert_equal(
    ours: tuple[dict[str, Tensor], ...], expected: tuple[dict[str, Tensor], ...]
) -> None:
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(mine[name], value, **EXACT)


SOON = {"Normal", "structured", "a conditional prior", "mixture in the guide"}


@pytest.mark.full(but=["beta-*", "*-structured"])
@pytest.mark.parametrize(
    "program", [pytest.param(p, marks=() if p in SOON else pytest.mark.slow) for p in PROGRAMS]
)
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


def both(mask: Any) -> Callable[[], Any]:
    return partial(poutine.mask, mask=mask)


def nested() -> Any:
    stack = poutine.mask(mask=torch.arange(SIZE) < SIZE - 1)
    return _Two(stack, poutine.mask(mask=REAL))


class _Two:
    def __init__(self, first: Any, second: Any) -> None:
        self.each = first, second

    def __enter__(self) -> None:
        for each in self.each:
            each.__enter__()

    def __exit__(self, *error: Any) -> None:
        for each in reversed(self.each):
            each.__exit__(*error)


class MaskedDistributions(Programs):
    """The mask is on the distributions."""

    def prior(self) -> Any:
        return super().prior().expand([self.size]).mask(REAL)

    def posterior(self, x: Tensor) -> Any:
        return super().posterior(x).mask(REAL)

    def observe(self, z: Tensor, x: Tensor) -> None:
        fn = dist.Normal(z @ self.decode, 0.7).to_event(1).mask(REAL)
        pyro.sample("x", fn, obs=x)


MASKS: dict[str, Callable[[], Programs]] = {
    "[B]": lambda: Programs(both(REAL)),
    "nested": lambda: Programs(nested),
    "[1, B] of a nested plate": lambda: NestedPlate(both(REAL[None])),
    "[2, B] of a nested plate, all the same": lambda: NestedPlate(both(REAL)),
    "of distributions": MaskedDistributions,
}


@pytest.mark.full(but=["*-ExclusiveKL", "*-total correlation"])
@pytest.mark.parametrize(
    "objective", ["total correlation", "ExclusiveKL", "MMD", "DIP II", "entropy", "annealed"]
)
@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_given_in_any_form(kind: str, objective: str, noise: Callable[[], None]) -> None:
    masked, build = MASKS[kind](), OBJECTIVES[objective]
    plain = NestedPlate if isinstance(masked, NestedPlate) else Programs
    noise()
    expected = found(build(), plain(size=KEPT), rows())
    noise()
    assert_equal(found(build(), masked, padded()), expected)


def test_a_mask_that_is_true_is_none(noise: Callable[[], None]) -> None:
    noise()
    expected = found(aggregate(ExclusiveKL()), Programs(), padded())
    noise()
    assert_equal(found(aggregate(ExclusiveKL()), Programs(both(True)), padded()), expected)


@pytest.mark.parametrize("mask", [False, torch.zeros(SIZE, dtype=torch.bool)], ids=["False", "[B]"])
def test_where_all_is_masked_there_are_no_data(mask: Any) -> None:
    programs = Programs(both(mask))
    estimate = BetaELBO(2.0).evaluate(programs.model, programs.guide, padded())
    assert estimate.loss == 0
    assert all(value == 0 for value in estimate.terms.values())
    with pytest.raises(ModelError, match="9 rows of which 0 are not masked: expected at least 1"):
        found(aggregate(ExclusiveKL()), Programs(both(mask)), padded())


def test_exact_encodings_leave_out_masked_rows(noise: Callable[[], None]) -> None:
    x = padded()
    exact = TotalCorrelationELBO(beta=3.0, estimator=Exact(x[[0, 1, 2, 6, 3, 4, 5, 7, 8]]))
    real = Programs(lambda: poutine.mask(mask=REAL))
    (pair,) = exact.trace_pairs(real.model, real.guide, x)
    some = pair.encodings(x)
    z = {"z": pair.guide.nodes["z"]["value"]}
    expected = pair.guide.nodes["z"]["fn"].log_prob(z["z"][:, None])[:, :KEPT].logsumexp(1)
    torch.testing.assert_close(some.log_prob(z), expected - math.log(KEPT))
    assert some.mass == KEPT


HALF = SIZE // 3


@pytest.mark.full(but=["Normal-*", "mixture in the guide-*"])
@pytest.mark.parametrize("around", [both(REAL[:HALF]), both(torch.tensor([True, False, True]))])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_plain_loss_is_pyros_on_a_minibatch(
    program: str, around: Any, noise: Callable[[], None]
) -> None:
    programs, x = PROGRAMS[program](around, size=20), padded()[:HALF]
    noise()
    values, gradients = found(BetaELBO(analytic_kl=False), programs, x)
    if "mixture" in program:
        reference: Any = TraceEnum_ELBO(max_plate_nesting=1)
        model, guide = config_enumerate(programs.model), config_enumerate(programs.guide)
    else:
        reference, model, guide = Trace_ELBO(), programs.model, programs.guide
    noise()
    programs.zero_grad()
    expected = reference.differentiable_loss(model, guide, x)
    expected.backward()
    if "mixture" not in program:
        torch.testing.assert_close(values["loss"], expected.detach(), **EXACT)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, dict(programs.named_parameters())[name].grad)


class OneProgram(Programs):
    """A handler of one program's latent site alone."""

    def __init__(self, model: Any = nullcontext, guide: Any = nullcontext) -> None:
        super().__init__()
        self.of_model, self.of_guide = model, guide

    def model(self, x: Tensor) -> None:
        with self.data(x):
            with self.of_model():
                z = pyro.sample("z", self.prior())
            self.observe(z, x)

    def guide(self, x: Tensor) -> None:
        with self.data(x), self.of_guide():
            pyro.sample("z", self.posterior(x))


class Ragged(NestedPlate):
    """A mask that leaves out a part of each datum."""

    part = (torch.arange(2)[:, None] + torch.arange(SIZE)) % 3 != 0

    def model(self, x: Tensor) -> None:
        with self.data(x):
            with pyro.plate("k", 2, dim=-2), poutine.mask(mask=self.part):
                z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            self.observe(z.mT, x)

    def guide(self, x: Tensor) -> None:
        with poutine.mask(mask=self.part):
            super().guide(x)


class MaskedDimension(Programs):
    """A mask inside of the event."""

    def prior(self) -> Any:
        zero = torch.zeros(2).double()
        return dist.Normal(zero, 1.0).mask(torch.tensor([True, False])).to_event(1)


class ScaledPart(Ragged):
    """A scale of each part of a datum."""

    def model(self, x: Tensor) -> None:
        with self.data(x):
            with pyro.plate("k", 2, dim=-2), poutine.scale(scale=VARYING[:2, None]):
                z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            self.observe(z.mT, x)

    def guide(self, x: Tensor) -> None:
        with poutine.scale(scale=VARYING[:2, None]):
            NestedPlate.guide(self, x)


VARYING = torch.linspace(0.5, 2.0, SIZE).double()

REFUSED: dict[str, tuple[Callable[[], Programs], str]] = {
    "masked in the guide alone": (
        lambda: OneProgram(guide=both(REAL)),
        "latent site 'z' is masked in the guide for rows for which 'z' is not so in the model",
    ),
    "masked in the model alone": (
        lambda: OneProgram(model=both(REAL)),
        "latent site 'z' is masked in the model for rows for which 'z' is not so in the guide",
    ),
    "other rows masked": (
        lambda: OneProgram(model=both(REAL), guide=both(~REAL)),
        "latent site 'z' is masked in the .* for rows for which",
    ),
    "the likelihood is not masked": (
        lambda: OneProgram(model=both(REAL), guide=both(REAL)),
        "the model's site 'x' counts for rows that are masked at latent site 'z'",
    ),
    "ragged": (Ragged, "the guide's site 'z' is masked for a part of a datum"),
    "a dimension": (MaskedDimension, "the model's site 'z' is masked for a part of a datum"),
    "a scale of the guide alone": (
        lambda: OneProgram(guide=partial(poutine.scale, scale=0.3)),
        "latent site 'z' has another scale in the model than 'z' in the guide",
    ),
    "weights of the latents alone": (
        lambda: OneProgram(*[partial(poutine.scale, scale=VARYING)] * 2),
        "scale of site 'z' varies from datum to datum, and that of no observed site does so",
    ),
    "a scale for a part of a datum": (
        ScaledPart,
        "the guide's site 'z' has a scale for a part of a datum",
    ),
    "learned weights": (
        lambda: Programs(partial(poutine.scale, scale=VARYING.clone().requires_grad_())),
        "the weights of data at site 'z' are learned",
    ),
}


@pytest.mark.full(but=["*-MMD", "*-DIP II"])
@pytest.mark.parametrize(
    "objective", ["total correlation", "ExclusiveKL", "InclusiveKL", "DIP II", "MMD"]
)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_q_has_no_meaning_for_is_refused(kind: str, objective: str) -> None:
    build, message = REFUSED[kind]
    programs, elbo = build(), OBJECTIVES[objective]()
    with pytest.raises(ModelError, match=message) as refusal:
        elbo.evaluate(programs.model, programs.guide, padded())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", REFUSED)
def test_an_elbo_alone_is_pyros_with_any_mask_and_scale(
    kind: str, noise: Callable[[], None]
) -> None:
    """What the refusals advise."""
    programs = REFUSED[kind][0]()
    noise()
    values, gradients = found(BetaELBO(analytic_kl=False), programs, padded())
    noise()
    programs.zero_grad()
    expected = Trace_ELBO().differentiable_loss(programs.model, programs.guide, padded())
    expected.backward()
    torch.testing.assert_close(values["loss"], expected.detach(), **EXACT)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, dict(programs.named_parameters())[name].grad)


def test_one_row_that_is_not_masked_tells_nothing_of_the_others() -> None:
    programs = Programs(both(torch.tensor([True, False, False])), size=20)
    message = "3 rows of which 1 are not masked: expected at least 2 for terms of q"
    for objective in ("ExclusiveKL", "InclusiveKL", "total correlation"):
        with pytest.raises(ModelError, match=message):
            OBJECTIVES[objective]().evaluate(programs.model, programs.guide, padded()[:3])


def test_a_mask_of_the_likelihood_alone_removes_nothing(noise: Callable[[], None]) -> None:
    class Missing(Programs):
        def observe(self, z: Tensor, x: Tensor) -> None:
            with poutine.mask(mask=REAL):
                super().observe(z, x)

    noise()
    expected, _ = found(aggregate(ExclusiveKL()), Programs(), padded())
    noise()
    values, _ = found(aggregate(ExclusiveKL()), Missing(), padded())
    for name in ("kl", "divergence"):
        torch.testing.assert_close(values[name], expected[name], **EXACT)
    assert values["log_likelihood"] > expected["log_likelihood"]


THIRDS = torch.full((SIZE,), 0.3, dtype=torch.float64)  # a scale that does not in fact vary


@pytest.mark.full(but=["beta-*-0.3", "total correlation-Normal-*", "ExclusiveKL-structured-*"])
@pytest.mark.parametrize("scale", [0.3, torch.tensor(0.3, dtype=torch.float64)])
@pytest.mark.parametrize("program", ["Normal", "structured", "two sites", "nested plate"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_scale_of_the_latent_sites_multiplies_the_kl_in_the_objective_alone(
    objective: str, program: str, scale: Any, noise: Callable[[], None]
) -> None:
    class Annealed(PROGRAMS[program]):  # type: ignore[misc]
        def observe(self, z: Tensor, x: Tensor) -> None:
            with poutine.scale(scale=1 / scale):
                super().observe(z, x)

    elbo = OBJECTIVES[objective]()
    noise()
    try:
        plain = elbo.evaluate(*programs_of(PROGRAMS[program]()), padded())
    except ModelError:
        return
    noise()
    around = partial(poutine.scale, scale=scale)
    annealed = elbo.evaluate(*programs_of(Annealed(around)), padded())
    for name, term in plain.terms.items():
        torch.testing.assert_close(annealed.terms[name], term, **EXACT)
    torch.testing.assert_close(annealed.elbo, plain.elbo, **EXACT)
    weights = elbo.weights()
    expected = sum(
        weights[name] * term * (0.3 if name in elbo.of_kl else 1.0)
        for name, term in plain.terms.items()
    )
    torch.testing.assert_close(annealed.objective, expected, **EXACT)


def test_a_scale_that_does_not_in_fact_vary_is_annealing(noise: Callable[[], None]) -> None:
    scaled = OneProgram(*[partial(poutine.scale, scale=THIRDS)] * 2)
    noise()
    estimate = TotalCorrelationELBO(beta=3.0).evaluate(*programs_of(scaled), padded())
    terms = estimate.terms
    expected = terms["log_likelihood"] - 0.3 * (terms["kl"] + 2 * terms["total_correlation"])
    torch.testing.assert_close(estimate.objective, expected, **EXACT)


def programs_of(programs: Programs) -> tuple[Any, Any]:
    return programs.model, programs.guide


def repeated(x: Tensor, times: Tensor) -> Tensor:
    return x.repeat_interleave(times, 0)


TIMES = torch.tensor([1, 3, 2, 1, 4, 2])


@pytest.mark.parametrize(
    "objective", ["beta", "entropy", "annealed", "capacity", "DIP I", "DIP II"]
)
def test_weights_are_repeated_rows_where_no_draw_enters(
    objective: str, noise: Callable[[], None]
) -> None:
    """All but the likelihood is in closed form, and that is fixed by a guide of little spread."""

    class Narrow(Programs):
        def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
            loc, scale = super().heads(x)
            return loc, 1e-9 * scale

    scale = partial(poutine.scale, scale=TIMES.double())
    values, gradients = found(OBJECTIVES[objective](), Narrow(scale, size=KEPT), rows())
    x = repeated(rows(), TIMES)
    expected, gradients_expected = found(OBJECTIVES[objective](), Narrow(size=len(x)), x)
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value, rtol=1e-7, atol=1e-7)
    for name, gradient in gradients_expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("program", ["Normal", "Laplace guide", "full covariance", "structured"])
def test_weights_are_repeated_rows_as_a_density(program: str) -> None:
    scale = partial(poutine.scale, scale=TIMES.double())
    made, x = PROGRAMS[program], repeated(rows(), TIMES)
    (weighted,) = BetaELBO().trace_pairs(*programs_of(made(scale, size=KEPT)), rows())
    (plain,) = BetaELBO().trace_pairs(*programs_of(made(size=len(x))), x)
    z = {name: plain.guide.nodes[name]["value"] for name in plain.latents}
    torch.testing.assert_close(
        weighted.aggregate_posterior.log_prob(z), plain.aggregate_posterior.log_prob(z)
    )
    assert weighted.total == TIMES.sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", ["ExclusiveKL", "InclusiveKL", "total correlation", "MMD", "energy"]
)
def test_weights_are_repeated_rows_in_expectation(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terms have the same mean; MMD leaves out pairs of one datum, which a copy is not."""
    monkeypatch.undo()
    scale, x = partial(poutine.scale, scale=TIMES.double()), repeated(rows(), TIMES)
    elbo = OBJECTIVES[objective]()
    weighted, plain = Programs(scale, size=KEPT), Programs(size=len(x))
    if objective in {"MMD", "energy"}:  # its own mean: sum over pairs of two data, by weight
        x, plain = rows().repeat_interleave(1, 0), weighted
        values = [_pairs_of_two(elbo, weighted) for _ in range(300)]
        assert_mean(torch.stack([a - b for a, b in values]), 0.0)
        return
    apart = {"log_likelihood", "kl", "global_kl", "prior_information"}
    names = [n for n in elbo.weights() if n not in apart]
    torch.manual_seed(0)
    with torch.no_grad():
        ours = [elbo.evaluate(*programs_of(weighted), rows()).terms for _ in range(400)]
        theirs = [elbo.evaluate(*programs_of(plain), x).terms for _ in range(400)]
    for name in names:
        mine, other = (torch.stack([t[name] for t in terms]) for terms in (ours, theirs))
        error = (mine.var() / 400 + other.var() / 400).sqrt()
        assert (mine.mean() - other.mean()).abs() < 4.3 * error


def _pairs_of_two(elbo: TermsELBO, programs: Programs) -> tuple[Tensor, Tensor]:
    """The divergence, and the same by a sum over pairs of x, y written down."""
    with torch.no_grad():
        (pair,) = elbo.trace_pairs(*programs_of(programs), rows())
        state = torch.get_rng_state()
        value = elbo.divergence(pair)  # type: ignore[attr-defined]
        torch.set_rng_state(state)
        y, x, w = pair.prior_codes(), pair.codes(), TIMES.double()

        def f(a: Tensor, b: Tensor) -> Tensor:
            if isinstance(elbo.divergence, EnergyDistance):  # type: ignore[attr-defined]
                return -torch.cdist(a, b)
            squared = torch.cdist(a, b).square()
            c = [2 * 2 * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)]
            return sum((each / (each + squared) for each in c), torch.zeros(()))

        apart = w[:, None] * w * (1 - torch.eye(KEPT))
        within = sum((apart * f(a, a)).sum() / apart.sum() for a in (x, y))
        across = (w[:, None] * w * f(x, y)).sum() / w.sum().square()
    return value, within - 2 * across


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", ["mask", "weights"])
def test_terms_are_unbiased_over_all_minibatches(kind: str, size: int) -> None:
    """Loss on Pyro's scale: the sum over all data, in the mean over batches."""
    n, x = 5, rows()[:5]
    around: Any = torch.tensor([True, False, True, True, True])
    weights = TIMES[:n].double()

    def handler(index: Tensor) -> Any:
        if kind == "mask":
            return partial(poutine.mask, mask=around[index])
        return partial(poutine.scale, scale=weights[index])

    class Narrow(Programs):
        def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x @ self.encode[:, :2], torch.tensor(1e-9).double()

    def loss(index: Tensor) -> Tensor:
        programs = Narrow(handler(index), size=n)
        return BetaELBO(2.0).evaluate(*programs_of(programs), x[index]).loss

    batches = [loss(torch.tensor(index)) for index in combinations(range(n), size)]
    expected = loss(torch.arange(n))
    torch.testing.assert_close(torch.stack(batches).mean(), expected, rtol=1e-6, atol=1e-6)


def test_samples_that_do_not_count_the_same_are_refused_by_name() -> None:
    programs = Programs(partial(poutine.scale, scale=VARYING))
    for objective, name in (
        ("sliced", "SlicedWasserstein"),
        ("adversarial js", "AdversarialDivergence"),
        ("factor", "FactorELBO"),
    ):
        with pytest.raises(ModelError, match=f"gives data weights .* which {name} does not take"):
            OBJECTIVES[objective]().evaluate(*programs_of(programs), padded())
    with pytest.raises(ModelError, match="'stratified': expected rows that all count the same"):
        aggregate(ExclusiveKL("stratified")).evaluate(*programs_of(programs), padded())


def capturable(kind: str) -> Experiment:
    """A row's mask, weight or annealing, from data that change from step to step."""

    def around(x: Tensor) -> Any:
        scale = torch.tensor(0.4, dtype=torch.float64) if kind == "annealing" else x[:, 0].exp()
        return poutine.mask(mask=x[:, 0] > -1) if kind == "mask" else poutine.scale(scale=scale)

    class OfData(Programs):
        def model(self, x: Tensor) -> None:
            with self.data(x):
                with around(x):
                    z = pyro.sample("z", self.prior())
                with around(x) if kind != "annealing" else nullcontext():
                    self.observe(z, x)

        def guide(self, x: Tensor) -> None:
            with self.data(x), around(x):
                pyro.sample("z", self.posterior(x))

    x = rows(24)
    programs = OfData(size=len(x))
    return Experiment(
        programs.model, programs.guide, x, TotalCorrelationELBO(0.8, 3.0), epochs=3, batch_size=8
    )


@pytest.mark.full
@pytest.mark.parametrize("kind", ["mask", "weight", "annealing"])
def test_a_captured_step_follows_masks_and_scales_of_its_own_batch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    ways = ("eager", "captured")
    runs = [train(capturable(kind), tmp_path / w, execution=Execution(w)) for w in ways]
    histories = [(tmp_path / way / "history.csv").read_text() for way in ways]
    without_time = [
        [{k: v for k, v in row.items() if "second" not in k} for row in DictReader(StringIO(text))]
        for text in histories
    ]
    assert without_time[0] == without_time[1]
    for one, other in zip(*(run.guide.__self__.parameters() for run in runs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.full
def test_an_evaluation_is_of_the_rows_that_are_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    few = {"MAX_SAMPLES": 400, "MIN_SAMPLES": 400}
    for name, value in few.items():
        monkeypatch.setattr(evaluation, name, value)
    x = rows(40)
    padded_x = torch.cat([x, torch.full((40, D), 4.0).double()])
    real = torch.arange(80) < 40

    class OfArgument(Programs):
        def model(self, x: Tensor, real: Tensor) -> None:
            with poutine.mask(mask=real):
                super().model(x)

        def guide(self, x: Tensor, real: Tensor) -> None:
            with poutine.mask(mask=real):
                super().guide(x)

    def measured(data: Any, made: Programs, name: str) -> dict[str, Any]:
        trial = Experiment(made.model, made.guide, data=data, elbo=BetaELBO())
        run = finish(RunFolder(tmp_path / name), trial, prepare(trial), {}, 0)
        return evaluate(run, num_importance_samples=500)["train"]

    masked = measured((padded_x, real), OfArgument(size=80), "masked")
    plain = measured(x, Programs(size=40), "plain")
    for name in ("elbo", "kl", *evaluation.PARTS, "importance_weighted_log_px"):
        if name == "effective_sharing":
            continue
        error = plain.get(f"{name}_standard_error", 0.02 * abs(plain[name]) + 1e-9)
        assert abs(masked[name] - plain[name]) < 6.1 * error, name  # 4.3 times the root of 2
    assert masked["importance_weighted_data"] == 40
    for name, score in plain["scores"].items():
        if score["variant"].get("codes") == "mean":
            assert masked["scores"][name]["value"] == pytest.approx(score["value"], abs=1e-4)
    assert masked["mutual_information"] <= math.log(40)
