"""What every divergence between codes and prior promises, on programs that are small and known."""

import copy
import inspect
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from inspect import isclass
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Execution, Experiment, divergences, train
from pyro_decomp.divergences import Divergence, WeightedSum
from pyro_decomp.errors import ModelError
from tests.divergences.laws import DIVERGENCES, SHIFT, K, Row
from tests.divergences.sites import encoded, evaluate, given_the_datum, two_sites
from tests.example_programs import vae
from tests.statistics import STANDARD_ERRORS, assert_mean

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"
B = 9
REAL = torch.arange(B) < 6
WEIGHTS = torch.linspace(0.5, 3.0, B, dtype=torch.double)


FIRST = {row.family: name for name, row in reversed(DIVERGENCES.items())}  # of each family
ROWS = [
    pytest.param(row, id=name, marks=[] if FIRST[row.family] == name else pytest.mark.full)
    for name, row in DIVERGENCES.items()
]


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


def encodings(size: int = B) -> tuple[Tensor, Tensor]:
    """Locations and scales of encodings whose codes are draws of the standard Normal."""
    scale = 0.3 + 0.4 * torch.rand(size, K, dtype=torch.double)
    return (1 - scale.square()).sqrt() * torch.randn(size, K, dtype=torch.double), scale


def normal(loc: Tensor, scale: Tensor | float = 1.0) -> dist.TorchDistribution:
    return dist.Normal(loc, scale).to_event(1)


def mixture(locs: Tensor) -> dist.TorchDistribution:
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(2).double()), normal(locs, 0.5))


def value(divergence: Divergence, *programs: Any) -> Tensor:
    """The divergence with one seed: the same noise for the same shapes."""
    torch.manual_seed(1)
    return evaluate(divergence, *programs)


def weighted(scale: Tensor) -> Callable[[], AbstractContextManager[Any]]:
    return partial(poutine.scale, scale=scale)


def learned(prior: Callable[[Tensor], dist.TorchDistribution], size: int) -> Any:
    loc = torch.zeros(size, K).double()[0] if size == 1 else torch.eye(2, K).double()
    return encoded(normal(*encodings()), prior(loc.requires_grad_()))


CASES: dict[str, Callable[[], Any]] = {
    "one datum": lambda: encoded(normal(*encodings(1))),
    "a minibatch": lambda: encoded(normal(*encodings()), num_data=40),
    "a Delta guide": lambda: encoded(dist.Delta(encodings()[0], event_dim=1)),
    "a mixture as prior": lambda: encoded(normal(*encodings()), mixture(torch.eye(2, K).double())),
    "a learned prior": lambda: learned(normal, 1),
    "a learned prior without rsample": lambda: learned(mixture, 2),
    "a prior that is given the datum": given_the_datum,
    "sites that depend on one another": two_sites,
    "data that are masked": lambda: encoded(
        normal(*encodings()), around=partial(poutine.mask, mask=REAL)
    ),
    "data that are weighted": lambda: encoded(normal(*encodings()), around=weighted(WEIGHTS)),
}


@pytest.mark.full(but=["InclusiveKL-*", "MMD-*"])
@pytest.mark.parametrize("case", CASES)
def test_each_case_is_served_or_refused_in_one_sentence(row: Row, case: str) -> None:
    programs = CASES[case]()
    if case not in row.refused:
        assert value(row(), *programs).isfinite()
        return
    with pytest.raises(ModelError, match=row.refused[case]) as refusal:
        value(row(), *programs)
    assert "\n" not in str(refusal.value)


def test_without_gradients_a_prior_without_rsample_serves(row: Row) -> None:
    programs = CASES["a learned prior without rsample"]()
    with torch.no_grad():  # as in evaluation
        assert value(row(), *programs).isfinite()


def test_every_argument_changes_it(row: Row) -> None:
    arguments = inspect.signature(row.family).parameters
    assert row.others.keys() == arguments.keys()
    programs = encoded(normal(*encodings()), num_data=40)
    expected = value(row(), *programs)
    for name, other in row.others.items():
        is_same = value(row(**{name: other}), *programs) == expected
        assert is_same == (name in row.only_trained), name


def test_the_order_of_the_batch_does_not_count(row: Row) -> None:
    loc, scale = encodings()
    z = loc + scale * torch.randn(B, K, dtype=torch.double)
    values = []
    for order in (torch.arange(B), torch.randperm(B)):
        model, guide, x = encoded(normal(loc[order], scale[order]), num_data=40)
        drawn = poutine.trace(poutine.condition(guide, {"z": z[order]})).get_trace(x)
        drawn.nodes["z"]["is_observed"] = False
        values.append(value(row(), model, poutine.replay(guide, trace=drawn), x))
    assert torch.allclose(*values, rtol=1e-10)


def test_what_a_masked_row_holds_does_not_count(row: Row) -> None:
    loc, scale = encodings()
    far = loc.where(REAL[:, None], 50.0)
    around = partial(poutine.mask, mask=REAL)
    values = [value(row(), *encoded(normal(at, scale), around=around)) for at in (loc, far)]
    assert torch.equal(*values)
    assert not torch.allclose(values[0], value(row(), *encoded(normal(far, scale))))


def test_a_row_of_vanishing_weight_is_as_good_as_masked(row: Row) -> None:
    if "data that are weighted" in row.refused:
        pytest.skip("refuses weights, by the law of cases")
    fn, weights = normal(*encodings()), torch.where(REAL, 1.0, 1e-12).double()
    masked = value(row(), *encoded(fn, around=partial(poutine.mask, mask=REAL)))
    found = value(row(), *encoded(fn, around=weighted(weights)))
    assert torch.allclose(found, masked, rtol=1e-9) != row.counts_rows
    assert not torch.allclose(found, value(row(), *encoded(fn)))


def test_weights_count_by_their_ratios_alone(row: Row) -> None:
    if "data that are weighted" in row.refused:
        pytest.skip("refuses weights, by the law of cases")
    fn = normal(*encodings())
    found = [value(row(), *encoded(fn, around=weighted(w * WEIGHTS))) for w in (1.0, 7.0)]
    assert torch.allclose(*found, rtol=1e-10)
    assert not torch.allclose(found[0], value(row(), *encoded(fn)))


def test_gradients_reach_all_that_is_trained(row: Row) -> None:
    """In every entry, and they are the slopes of the value where the noise is the same."""
    loc, scale = encodings()
    leaves = {"loc": loc, "scale": scale, "prior": torch.tensor([0.3, -0.2]).double()}
    is_learned = "a learned prior" not in row.refused
    leaves = {n: leaf.requires_grad_(n != "prior" or is_learned) for n, leaf in leaves.items()}

    def at(loc: Tensor, scale: Tensor, prior: Tensor) -> Tensor:
        return value(row(), *encoded(normal(loc, scale), normal(prior), num_data=40))

    trained = [name for name, leaf in leaves.items() if leaf.requires_grad]
    found = torch.autograd.grad(at(**leaves), [leaves[name] for name in trained], allow_unused=True)
    for name, gradient in zip(trained, found, strict=True):
        reaches = gradient is not None and bool((gradient != 0).all())
        assert reaches == (name in row.trains), name
        if reaches and row.has_exact_gradient:
            direction = torch.randn_like(gradient)
            with torch.no_grad():
                ahead, behind = (
                    at(**leaves | {name: leaves[name] + step * direction}) for step in (1e-6, -1e-6)
                )
            slope = (ahead - behind) / 2e-6
            torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.full(but=["InclusiveKL", "energy", "adversarial js"])
def test_codes_far_from_the_prior_are_farther_than_its_own_draws(row: Row) -> None:
    """Codes twice as wide and moved; the lower limit of a mean over 20 batches is above zero."""
    far, near = [], []
    for _ in range(20):
        loc, scale = encodings(30)
        far.append(evaluate(row(), *encoded(normal(SHIFT + 2 * loc, 2 * scale))))
        near.append(evaluate(row(), *encoded(normal(loc, scale))))
    excess = torch.stack(far) - torch.stack(near)
    assert excess.mean() > STANDARD_ERRORS * excess.std() / 20**0.5


@pytest.mark.full(but=["ExclusiveKL", "energy"])
def test_its_mean_where_codes_are_draws_of_the_prior_is_zero_or_biased_as_it_says(
    row: Row,
) -> None:
    values = torch.stack(
        [evaluate(row(), *encoded(normal(*encodings()), num_data=10**6)) for _ in range(60)]
    )
    if row.at_equality == 0:
        assert_mean(values, 0.0)
    else:
        limit = values.mean() * row.at_equality - STANDARD_ERRORS * values.std() / 60**0.5
        assert limit > 0


def test_it_grows_with_its_unit(row: Row) -> None:
    if row.power is None:
        pytest.skip("holds a scale of its own")
    loc, scale = encodings()
    zero = torch.zeros(K).double()
    first, other = (
        value(row(), *encoded(normal(by * loc, by * scale), normal(zero, by))) for by in (1.0, 3.0)
    )
    assert torch.allclose(other, 3.0**row.power * first, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_it_has_the_precision_of_the_codes(row: Row, dtype: torch.dtype) -> None:
    torch.set_default_dtype(torch.float32 if dtype == torch.float64 else torch.float64)
    fn = normal(*(each.to(dtype) for each in encodings()))
    networks = {
        name: copy.deepcopy(setting).to(dtype)
        for name, setting in row.settings.items()
        if isinstance(setting, nn.Module)
    }
    found = value(row(**networks), *encoded(fn, normal(torch.zeros(K, dtype=dtype))))
    assert found.dtype == dtype


def test_it_adds_and_takes_weights(row: Row) -> None:
    programs, divergence = encoded(normal(*encodings())), row()
    one = value(divergence, *programs)
    assert torch.allclose(value(2 * divergence + 5 * Nothing(), *programs), 2 * one, rtol=1e-12)
    weight = torch.tensor(3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(value(Nothing() + weight * divergence, *programs), weight)
    assert torch.allclose(slope.double(), one, rtol=1e-6)


def test_the_page_on_objectives_has_a_row_for_every_family() -> None:
    rows = re.findall(r"^\|.*\| (yes|no) \| [^|]* \| `(\w+)` \|$", PAGE.read_text(), re.M)
    takes_weights = {name: answer == "yes" for answer, name in rows}
    assert takes_weights == {
        family.__name__: "data that are weighted" not in DIVERGENCES[first].refused
        for family, first in FIRST.items()
        if family is not WeightedSum
    }
    classes = {name for name in divergences.__all__ if isclass(getattr(divergences, name))}
    families = {n for n in classes if issubclass(getattr(divergences, n), Divergence)}
    assert takes_weights.keys() == families - {"Divergence", "WeightedSum"}


class Nothing(Divergence):
    """Zero, without a draw."""

    def __call__(self, traces: Any) -> Tensor:
        return torch.zeros(())


def test_in_an_objective_it_is_subtracted_alpha_times(row: Row) -> None:
    programs = encoded(normal(*encodings()))
    torch.manual_seed(1)
    estimate = AggregateELBO(0.5, 2.0, row()).evaluate(*programs)
    terms = estimate.terms
    assert torch.equal(terms["divergence"], value(row(), *programs))
    expected = terms["log_likelihood"] - 0.5 * terms["kl"] - 2 * terms["divergence"]
    assert torch.allclose(estimate.objective, expected, rtol=1e-12)


@pytest.mark.full(but=["InclusiveKL"])
def test_a_captured_step_is_the_eager_one(row: Row, tmp_path: Path) -> None:
    if "discriminator" in row.settings:
        pytest.skip("networks of its own are trained on traces, which captured steps have none of")
    histories = []
    for steps in ("eager", "captured"):
        torch.manual_seed(0)
        programs, elbo = vae(), AggregateELBO(0.5, 2.0, row())
        experiment = Experiment(
            programs.model,
            programs.guide,
            torch.randn(20, 3, dtype=torch.double),
            elbo,
            epochs=3,
            batch_size=10,
        )
        run = train(experiment, tmp_path / steps, execution=Execution(steps, threads=1))
        histories.append(run.history["divergence"].tolist())
    assert histories[0] == histories[1]
    assert len(set(histories[0])) == 6
