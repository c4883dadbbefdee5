"""What the prior is computed from, found by running it."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO
from pyro_decomp.divergences import MMD, ExclusiveKL, InclusiveKL
from pyro_decomp.programs.prior_inputs import PLACE
from pyro_decomp.programs.traces import TracePair
from tests.divergences.sites import traced

N = 6
X = torch.randn(N, 2, dtype=torch.double)
U = torch.linspace(-1, 1, N, dtype=torch.double)[:, None]
ZERO = torch.zeros(2, dtype=torch.double)


def normal(loc: Tensor | float) -> dist.TorchDistribution:
    return dist.Normal(ZERO + loc, 1.0).to_event(1)


class Untrained(nn.Linear):
    """A network of the prior that gives zeros."""

    def __init__(self) -> None:
        super().__init__(1, 2, dtype=torch.double)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


UNTRAINED = Untrained()
WIDE = nn.Linear(1, N, dtype=torch.double)
PLACES = torch.randn(3, 2, dtype=torch.double)


class Table(nn.Module):
    """A row of the prior for each datum, all alike at first."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(N, 2, dtype=torch.double))


TABLE = Table()


def in_place(u: Tensor) -> Tensor:
    loc = torch.zeros(len(u), 2, dtype=torch.double)
    loc[:, 0] = u[:, 0]
    return loc


class Doubled(torch.autograd.Function):
    """An operation of one's own."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        return u * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


GIVEN: dict[str, Callable[[Tensor, Tensor], dist.TorchDistribution]] = {
    "an argument": lambda x, u: normal(u),
    "a column": lambda x, u: normal(x[:, :1]),
    "an index": lambda x, u: normal(PLACES[(u[:, 0] > 0).long()]),
    "a network that is not trained": lambda x, u: normal(UNTRAINED(u)),
    "a scale": lambda x, u: dist.Normal(ZERO, u.exp()).to_event(1),
    "written in place": lambda x, u: normal(in_place(u)),
    "an operation of one's own": lambda x, u: normal(Doubled.apply(u)),
    "a tensor from elsewhere": lambda x, u: normal(U[: len(x)]),
    "a table of which all rows are alike yet": lambda x, u: normal(TABLE.rows),
    "such a table in Pyro's store": lambda x, u: normal(pyro.param("rows", torch.zeros_like(x))),
    "numbers of Python": lambda x, u: normal(torch.tensor(u.tolist(), dtype=torch.double)),
    "in no gradient": lambda x, u: normal(u.detach()),
}
SHARED: dict[str, Callable[[Tensor, Tensor], dist.TorchDistribution]] = {
    "nothing": lambda x, u: normal(0.0),
    "the type of an argument": lambda x, u: normal(x.new_zeros(2)),
    "its shape": lambda x, u: normal(torch.zeros_like(x)),
    "its length": lambda x, u: normal(torch.zeros(len(x), 2).to(x)),
    "its type, by type_as": lambda x, u: normal(torch.zeros(2).type_as(u).expand_as(x)),
    "a network as wide as the batch": lambda x, u: normal(WIDE(x.new_ones(1, 1)).mean()),
    "filled": lambda x, u: normal(x.new_full((len(x), 2), 0.3)),
}


def pair_of(
    prior: Callable[[Tensor, Tensor], dist.TorchDistribution], x: Tensor = X, u: Tensor = U
) -> TracePair:
    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", prior(x, u))
            pyro.sample("x", normal(z), obs=x)

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", normal(x + u))

    return traced(model, guide, x, u)


@pytest.mark.parametrize("prior", GIVEN.values(), ids=GIVEN)
def test_what_enters_is_seen(prior: Callable[[Tensor, Tensor], dist.TorchDistribution]) -> None:
    pair = pair_of(prior)
    assert pair.prior_inputs.given
    assert pair.aggregate_prior is not None


@pytest.mark.parametrize("prior", SHARED.values(), ids=SHARED)
def test_a_shape_is_no_dependence(
    prior: Callable[[Tensor, Tensor], dist.TorchDistribution],
) -> None:
    assert not pair_of(prior).prior_inputs.given


def test_what_is_the_same_in_the_first_batch_is_seen() -> None:
    assert pair_of(GIVEN["an argument"], u=torch.zeros_like(U)).prior_inputs.given


def test_it_is_named() -> None:
    assert pair_of(GIVEN["an argument"]).prior_inputs.given == {"the argument 'u'"}
    assert pair_of(GIVEN["a column"]).prior_inputs.given == {"the argument 'x'"}
    assert pair_of(GIVEN["a tensor from elsewhere"]).prior_inputs.given == {PLACE}


def test_the_indices_of_the_plate_are_of_the_datum() -> None:
    table = torch.randn(N, 2, dtype=torch.double, requires_grad=True)

    def model(rows: Tensor) -> None:
        with pyro.plate("data", N, subsample=rows) as index:
            z = pyro.sample("z", normal(table[index]))
            pyro.sample("x", normal(z), obs=X[rows])

    def guide(rows: Tensor) -> None:
        with pyro.plate("data", N, subsample=rows):
            pyro.sample("z", normal(X[rows]))

    assert traced(model, guide, torch.tensor([0, 3, 4])).prior_inputs.given


def test_arguments_by_name_and_in_containers() -> None:
    def model(x: Tensor, *, more: dict[str, list[Tensor]]) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", normal(more["u"][0]))
            pyro.sample("x", normal(z), obs=x)

    def guide(x: Tensor, *, more: dict[str, list[Tensor]]) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", normal(x))

    (pair,) = AggregateELBO().trace_pairs(model, guide, X, more={"u": [U]})
    assert pair.prior_inputs.given == {"the argument 'more'"}
    assert ExclusiveKL()(pair).isfinite()
    assert InclusiveKL()(pair).isfinite()


def test_sites_that_a_site_is_computed_from() -> None:
    def model(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            a = pyro.sample("a", normal(0.0))
            b = pyro.sample("b", normal(u))
            c = pyro.sample("c", normal(a * b))
            pyro.sample("x", normal(c), obs=x)

    def guide(x: Tensor, u: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for name in "abc":
                pyro.sample(name, normal(x))

    inputs = traced(model, guide, X, U).prior_inputs
    assert inputs.sites == {"a": frozenset(), "b": frozenset(), "c": {"a", "b"}}
    assert inputs.data == {"a": frozenset(), "b": {"the argument 'u'"}, "c": frozenset()}


def test_dropout_and_generators_are_left_alone() -> None:
    """Networks are run as in evaluation, so that noise is not taken for data."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)).double()

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            a = pyro.sample("a", normal(0.0))
            z = pyro.sample("z", normal(network(a)))
            pyro.sample("x", normal(z), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("a", normal(x))
            pyro.sample("z", normal(x))

    pair = traced(model, guide, X)
    before, mean = torch.get_rng_state(), network[2].running_mean.clone()
    assert not pair.prior_inputs.given
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(network[2].running_mean, mean)
    assert all(part.training for part in network)


@pytest.mark.parametrize("divergence", [InclusiveKL(), ExclusiveKL(), MMD()])
def test_an_argument_that_enters_alike_changes_nothing(divergence: Any) -> None:
    """Scored as a mixture, where the components are all the same: slower and as right."""
    pyro.set_rng_seed(0)
    shared = divergence(pair_of(SHARED["nothing"]))
    pyro.set_rng_seed(0)
    given = divergence(pair_of(lambda x, u: normal(0.0 * u)))
    if not isinstance(divergence, MMD):  # which leaves out the pairs of one datum
        torch.testing.assert_close(given, shared, rtol=1e-12, atol=1e-12)
    assert given.isfinite()
