"""The prior of a model: drawn as the program draws, scored as it scores, and left early."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.poutine.runtime import _PYRO_STACK
from scipy import stats
from torch import Tensor

from pyro_decomp import AggregateELBO
from pyro_decomp.programs.prior_program import PriorProgram
from pyro_decomp.programs.traces import TracePair
from tests.checking import Recorder
from tests.example_programs import PROGRAMS, Programs, hierarchy
from tests.statistics import FAILURE_RATE, assert_mean

B, N = 50, 200


def prior_of(model: Callable[[Tensor], None], guide: Callable[[Tensor], None]) -> PriorProgram:
    (pair,) = AggregateELBO().trace_pairs(model, guide, torch.zeros(B, 2))
    assert isinstance(pair, TracePair)
    return pair.prior


def normal(name: str, loc: Tensor | float = 0.0, scale: float = 1.0) -> Tensor:
    return pyro.sample(name, dist.Normal(torch.zeros(2) + loc, scale).to_event(1))


def made(prior: Callable[[], Tensor], *names: str) -> PriorProgram:
    """The prior program of a model whose decoder may run only in the model's own run."""
    runs = []

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = prior()
            runs.append(z)
            assert len(runs) == 1, "the decoder ran for prior samples"
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for name in names or ("z",):
                normal(name)

    return prior_of(model, guide)


@pytest.mark.parametrize("num_samples", [None, 1, 20, B, 120, 4000])
def test_as_many_as_asked_and_scored_by_hand(num_samples: int | None) -> None:
    prior = made(lambda: normal("z", 2.0, 0.5))
    values, log_pz = prior.draw(num_samples)
    assert values["z"].shape == (num_samples or B, 2)
    expected = dist.Normal(2.0, 0.5).log_prob(values["z"]).sum(-1)
    torch.testing.assert_close(log_pz, expected)
    torch.testing.assert_close(prior.log_prob(values), expected)


@pytest.mark.parametrize("num_samples", [None, 20, 120])
def test_the_draws_are_independent_and_of_the_prior(num_samples: int | None) -> None:
    prior = made(lambda: normal("z", 2.0, 0.5))
    draws = torch.cat([prior.draw(num_samples)[0]["z"] for _ in range(40)])
    assert len(draws.unique(dim=0)) == len(draws)
    for column in draws.T:
        assert stats.kstest(column.numpy(), stats.norm(2.0, 0.5).cdf).pvalue > FAILURE_RATE


def test_a_mixture_is_drawn_in_its_proportions_and_scored_once() -> None:
    weights, locs = torch.tensor([0.7, 0.3]), torch.tensor([[-3.0, 0.0], [3.0, 1.0]])

    def mixture() -> Tensor:
        components = dist.Normal(locs, 0.5).to_event(1)
        return pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(weights), components))

    values, log_pz = made(mixture).draw(2000)
    assert_mean((values["z"][:, 0] < 0).float(), 0.7)
    squares = (values["z"][:, None] - locs).square().sum(-1)
    density = (weights * torch.exp(-squares / 0.5) / (2 * torch.pi * 0.25)).sum(-1)
    torch.testing.assert_close(log_pz, density.log())


def test_a_hierarchy_is_drawn_from_parent_to_child() -> None:
    def parent_and_child() -> Tensor:
        return normal("z2", 2 * normal("z1"), 0.5)

    prior = made(parent_and_child, "z1", "z2")
    values, log_pz = prior.draw(3010)
    assert values.keys() == {"z1", "z2"}
    residual = values["z2"] - 2 * values["z1"]
    for column, scale in [(values["z1"], 1.0), (residual, 0.5), (values["z2"], 4.25**0.5)]:
        p = stats.kstest(column.flatten().numpy(), stats.norm(0, scale).cdf).pvalue
        assert p > FAILURE_RATE
    expected = dist.Normal(0.0, 1.0).log_prob(values["z1"]).sum(-1)
    expected = expected + dist.Normal(0.0, 0.5).log_prob(residual).sum(-1)
    torch.testing.assert_close(log_pz, expected)
    reordered = {name: values[name].flip(0) for name in ("z2", "z1")}
    torch.testing.assert_close(prior.log_prob(reordered), expected.flip(0))


def test_a_site_in_a_nested_plate_counts_for_its_datum() -> None:
    programs = PROGRAMS["nested plates"]()
    (pair,) = AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x)
    values, log_pz = pair.prior.draw(15)  # the batch is 6
    assert values["part"].shape == (4, 15)
    expected = dist.Normal(0.0, 1.0).log_prob(values["part"]).sum(0)
    torch.testing.assert_close(log_pz, expected)
    torch.testing.assert_close(pair.prior.log_prob(values), expected)


def test_global_latents_keep_the_values_that_the_guide_drew() -> None:
    def model(x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        with pyro.plate("data", N, subsample=x):
            z = normal("z", shift, 0.01)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("shift", dist.Normal(100.0, 1.0))
        with pyro.plate("data", N, subsample=x):
            normal("z")

    (pair,) = AggregateELBO().trace_pairs(model, guide, torch.zeros(B, 2))
    values, log_pz = pair.prior.draw(80)
    shift = pair.guide.nodes["shift"]["value"]
    assert shift > 90
    assert (values["z"] - shift).abs().max() < 0.1
    torch.testing.assert_close(log_pz, dist.Normal(shift, 0.01).log_prob(values["z"]).sum(-1))


def test_a_learned_prior_gets_gradients_through_draws_and_density() -> None:
    loc = torch.zeros(2, requires_grad=True)
    prior = made(lambda: normal("z", loc))
    values, _ = prior.draw(120)
    (through_draws,) = torch.autograd.grad(values["z"].sum(), loc, retain_graph=True)
    assert through_draws.tolist() == [120.0, 120.0]
    given = {"z": torch.full((7, 2), 3.0)}
    (through_density,) = torch.autograd.grad(prior.log_prob(given).sum(), loc)
    assert through_density.tolist() == [21.0, 21.0]
    assert prior.without_gradient == []


def test_it_leaves_no_handler_behind_and_asks_none() -> None:
    prior = made(lambda: normal("z"))
    with pyro.poutine.trace() as outer:
        depth = len(_PYRO_STACK)
        prior.draw(120)
        assert len(_PYRO_STACK) == depth
    assert not _PYRO_STACK
    assert not outer.trace.nodes


def test_an_error_in_the_program_comes_through_and_leaves_no_handler() -> None:
    calls = Recorder()

    def fails_later() -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError
        return normal("z")

    prior = made(fails_later)
    with pytest.raises(ZeroDivisionError):
        prior.draw()
    assert not _PYRO_STACK


@pytest.mark.full(but=["VAE", "nested plates", "user's mask"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_pyro_goes_on_after_every_kind_of_model(name: str) -> None:
    programs: Programs = PROGRAMS[name]()
    (pair,) = AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x)
    values, log_pz = pair.prior.draw(4)
    assert values.keys() == set(pair.latents)
    assert log_pz.shape == (4,)
    assert not _PYRO_STACK
    svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.01}), loss=Trace_ELBO())
    svi.step(programs.x)


def test_scoring_takes_any_number_of_values() -> None:
    programs = hierarchy("mean-field")
    (pair,) = AggregateELBO().trace_pairs(programs.model, programs.guide, programs.x)
    values, log_pz = pair.prior.draw(31)
    for count in (1, 6, 31):
        some = {name: value[:count] for name, value in values.items()}
        torch.testing.assert_close(pair.prior.log_prob(some), log_pz[:count])
