"""An experiment is a description: training changes neither it nor a run returned earlier."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment, FactorELBO, train
from pyro_decomp.errors import ExperimentError, ModelError
from pyro_decomp.networks import Discriminator, MLPDecoder, MLPEncoder
from pyro_decomp.schedules import Linear
from pyro_decomp.training.run import Run

N = 12
DATA = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
DECODER = nn.Linear(2, 3)


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))  # type: ignore[no-any-return]


def of_vae() -> Experiment:
    vae = VAE(prior, MLPEncoder(3, 2, (4,)), MLPDecoder(2, 3, (4,)), size=N)
    schedules = {"beta": Linear(0.0, 2.0)}
    return Experiment(vae.model, vae.guide, DATA, AggregateELBO(), epochs=3, schedules=schedules)


def of_functions() -> Experiment:
    encoder = nn.Sequential(nn.LazyLinear(4))

    def model(x: Tensor) -> None:
        scale = pyro.param(
            "scale", lambda: torch.rand(3).exp(), constraint=dist.constraints.positive
        )
        with pyro.plate("data", N, subsample=x):
            pyro.sample("x", dist.Normal(DECODER(prior()), scale).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        h = encoder(x)
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(h[..., :2], h[..., 2:].exp()).to_event(1))

    return Experiment(model, guide, DATA, AggregateELBO(), epochs=3)


def of_discriminator() -> Experiment:
    made = of_vae()
    elbo = FactorELBO(2.0, Discriminator(2, (4,)))
    return Experiment(made.model, made.guide, DATA, elbo, epochs=3, batch_size=5)


def of_automatic_guide() -> Experiment:
    decoder = nn.Linear(2, 3)

    def model(x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("x", dist.Normal(w + decoder(torch.ones(2)), 1.0).to_event(1), obs=x)

    return Experiment(model, AutoNormal(model), DATA, AggregateELBO(), epochs=3)


MAKERS = {
    "VAE": of_vae,
    "functions": of_functions,
    "auxiliary network": of_discriminator,
    "automatic guide": of_automatic_guide,
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[], Experiment]:
    found: Callable[[], Experiment] = request.param
    return found


def values(run: Run) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in run.state.parameters.items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.full(but=["functions"])
def test_the_same_call_twice_gives_the_same_bits(make: Callable[[], Experiment]) -> None:
    described = make()
    first = train(described, seed=1)
    kept = values(first)
    other = values(train(described, seed=2))
    assert_same(values(train(described, seed=1)), kept)
    assert_same(values(first), kept)
    assert any(not torch.equal(kept[name], other[name]) for name in kept)


@pytest.mark.full(but=["functions"])
def test_a_function_gives_initial_values_of_the_seed(make: Callable[[], Experiment]) -> None:
    first = train(make, seed=1)
    assert_same(values(train(make, seed=1)), values(first))
    described = make()
    by_seed = [train(make, seed=s).history["elbo"][0] for s in (1, 2)]
    assert by_seed[0] != by_seed[1]
    assert train(described, seed=1).seed == 1


def test_what_is_described_stays_as_it_was() -> None:
    described = of_vae()
    vae: Any = described.model.__self__  # type: ignore[attr-defined]
    before = copy.deepcopy(vae.state_dict())
    run = train(described)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert vae.training
    assert described.elbo.beta == 1.0  # type: ignore[attr-defined]
    assert run.experiment.elbo.beta == 2.0  # type: ignore[attr-defined]
    assert run.experiment.data.x.data_ptr() == described.data.x.data_ptr()


def test_a_global_network_and_a_store_are_left_alone() -> None:
    before = copy.deepcopy(DECODER.state_dict())
    pyro.clear_param_store()
    for described in (of_functions(), of_functions):
        train(described)
        assert all(torch.equal(v, before[name]) for name, v in DECODER.state_dict().items())
    assert len(pyro.get_param_store()) == 0


@pytest.mark.full(but=["functions"])
def test_a_run_can_be_trained_anew_from_where_it_ended(make: Callable[[], Experiment]) -> None:
    run = train(make(), seed=1)
    kept = values(run)
    train(run.experiment, seed=1)
    assert_same(values(run), kept)


def test_no_folder_is_needed_and_none_is_left() -> None:
    run = train(of_vae())
    path = run.path
    assert (path / "checkpoint.pt").exists()
    del run
    assert not path.exists()


class Counted:
    """Programs that count their runs in their class, which no copy has for itself."""

    runs = 0

    def __init__(self) -> None:
        made: Any = of_vae()
        self.vae, self.data = made.model.__self__, made.data

    def model(self, x: Tensor) -> None:
        type(self).runs += 1
        self.vae.model(x)

    def guide(self, x: Tensor) -> None:
        self.vae.guide(x)


def test_what_a_class_keeps_is_refused(tmp_path: Path) -> None:
    counted = Counted()
    described = Experiment(counted.model, counted.guide, DATA, AggregateELBO())
    with pytest.raises(ModelError, match=r"^model\.runs: expected something that the run can"):
        train(described, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert Counted.runs == 0


def test_a_function_may_make_what_cannot_be_copied() -> None:
    def make(runs: int = 1000) -> Experiment:
        made, rates = of_vae(), (1.0 for _ in range(runs))
        model = made.model

        def rated(x: Tensor) -> None:
            with pyro.poutine.scale(scale=next(rates)):
                model(x)

        made.model = rated
        return made

    with pytest.warns(UserWarning, match=r"`model\.rates` moved"):
        assert train(make).step == 3
    with pytest.raises(ModelError, match=r"^model\.rates: expected .* give train a function"):
        train(make())


@pytest.mark.parametrize(
    ("given", "arguments", "match"),
    [
        (of_vae, {"alpha": 1}, "arguments: got an unexpected keyword argument 'alpha'"),
        (lambda size: of_vae(), {}, "arguments: missing a required argument: 'size'"),
        (lambda: DATA, {}, "expected a function that returns an Experiment, .* returns Tensor"),
    ],
)
def test_what_builds_no_experiment_is_refused(given: Any, arguments: Any, match: str) -> None:
    with pytest.raises(ExperimentError, match=match):
        train(given, arguments=arguments)


def test_arguments_are_for_what_builds_an_experiment() -> None:
    with pytest.raises(ExperimentError, match=r"arguments: expected none with an Experiment"):
        train(of_vae(), arguments={"alpha": 1})
