import operator
import random
import weakref
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.data import Data
from pyro_decomp.errors import ExperimentError, ModelError
from pyro_decomp.seeds import random_state, set_random_state, set_seed
from pyro_decomp.training.state import prepare

DATA = torch.linspace(-1, 1, 6)[:, None]


def normal_model(x: Tensor) -> None:
    with pyro.plate("data", len(DATA), subsample=x):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def experiment(guide_of: Any, model: Any = normal_model, **options: Any) -> Experiment:
    """An experiment whose guide is Normal around ``guide_of(x)``."""

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(DATA), subsample=x):
            pyro.sample("z", dist.Normal(guide_of(x), 1.0).to_event(1))

    return Experiment(model, guide, data=DATA, elbo=AggregateELBO(), **options)


def draws() -> tuple[float, float, float]:
    return torch.rand(()).item(), np.random.rand(), random.random()


def test_preparing_leaves_generators_and_buffers_as_they_were() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(x) + sum(draws())
            return out

    net = Noisy()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = random_state()
    expected = draws()
    set_random_state(state)
    prepare(experiment(net))
    assert draws() == expected
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_random_state_survives_a_round_trip_of_every_generator() -> None:
    set_seed(5)
    np.random.randn()
    state = random_state()
    expected = (*draws(), np.random.randn())
    set_seed(6)
    set_random_state(state)
    assert (*draws(), np.random.randn()) == expected


def test_parameters_of_several_networks_are_named_apart() -> None:
    encoder, decoder = nn.Linear(1, 1), nn.Linear(1, 1, bias=False)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(DATA), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    state = prepare(experiment(encoder, model))
    assert list(state.parameters) == ["0.weight", "1.weight", "1.bias"]
    assert list(prepare(experiment(encoder)).parameters) == ["weight", "bias"]


def test_a_parameter_that_two_networks_share_is_trained_once() -> None:
    shared = nn.Linear(1, 1)
    first, second = nn.Sequential(shared), nn.Sequential(shared)
    state = prepare(experiment(lambda x: first(x) + second(x)))
    assert list(state.parameters) == ["0.0.weight", "0.0.bias"]


def test_frozen_parameters_are_kept_but_not_trained() -> None:
    net = nn.Linear(1, 1)
    net.weight.requires_grad_(False)
    state = prepare(experiment(net))
    assert list(state.parameters) == ["bias"]
    assert list(state.tensors()["modules"][0]) == ["weight", "bias"]


def test_pyro_params_are_found_unconstrained_and_put_back() -> None:
    def location(x: Tensor) -> Tensor:
        slope: Tensor = pyro.param("slope", torch.tensor(2.0), constraint=constraints.positive)
        return slope * x

    trial = experiment(location)
    state = prepare(trial)
    assert state.parameters["slope"].item() == pytest.approx(np.log(2.0))
    state.load_tensors({"modules": [], "parameters": {"slope": torch.tensor(0.0)}})
    trace = pyro.poutine.trace(trial.guide).get_trace(DATA)
    assert torch.equal(trace.nodes["z"]["fn"].mean, DATA)


def test_experiments_that_use_the_same_names_share_nothing() -> None:
    def location(x: Tensor) -> Tensor:
        slope: Tensor = pyro.param("slope", torch.tensor(1.0))
        return slope * x

    one, other = experiment(location), experiment(location)
    states = [prepare(one), prepare(other)]
    with torch.no_grad():
        states[0].parameters["slope"].fill_(3.0)
    traces = [pyro.poutine.trace(e.guide).get_trace(DATA) for e in (one, other)]
    assert [t.nodes["slope"]["value"].item() for t in traces] == [3.0, 1.0]
    assert len(pyro.get_param_store()) == 0


def test_an_experiment_keeps_its_parameters_when_it_is_prepared_again() -> None:
    def location(x: Tensor) -> Tensor:
        slope: Tensor = pyro.param("slope", torch.tensor(1.0))
        return slope * x

    trial = experiment(location)
    parameter = prepare(trial).parameters["slope"]
    assert prepare(trial).parameters["slope"] is parameter


class Slope(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.slope = PyroParam(torch.tensor(1.0), constraint=constraints.positive)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.slope) * x


def test_pyro_modules_of_the_same_name_share_nothing() -> None:
    nets = [Slope(), Slope()]
    states = [prepare(experiment(net)) for net in nets]
    with torch.no_grad():
        states[0].parameters["slope_unconstrained"].fill_(2.0)
    again = prepare(experiment(nets[1]))
    assert list(again.parameters) == ["slope_unconstrained"]
    assert again.parameters["slope_unconstrained"].item() == 0.0


def test_an_automatic_guide_that_makes_its_parameters_late_can_be_used() -> None:
    def model(x: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(DATA), subsample=x):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([1]).to_event(1), obs=x)

    state = prepare(Experiment(model, AutoNormal(model), data=DATA, elbo=AggregateELBO()))
    assert set(state.parameters) == {"locs.loc_unconstrained", "scales.loc_unconstrained"}


def test_a_network_in_a_container_is_trained() -> None:
    nets = {"encoder": [nn.Linear(1, 1)]}

    def location(x: Tensor) -> Tensor:
        out: Tensor = pyro.module("encoder", nets["encoder"][0])(x)
        return out

    state = prepare(experiment(location))
    assert state.modules == nets["encoder"]
    assert list(state.parameters) == ["weight", "bias"]


def test_a_network_that_cannot_be_found_is_an_error_that_says_what_to_give() -> None:
    net = nn.Linear(1, 1)
    hidden = weakref.ref(net)

    def location(x: Tensor) -> Tensor:
        out: Tensor = pyro.module("encoder", hidden())(x)
        return out

    with pytest.raises(ExperimentError, match=r"'encoder' cannot be found from .*modules="):
        prepare(experiment(location))
    state = prepare(experiment(location, modules=[net]))
    assert list(state.parameters) == ["weight", "bias"]


def test_what_the_objective_depends_on_and_nothing_trains_is_refused() -> None:
    net, location = nn.Linear(1, 1), nn.Parameter(torch.zeros(1))
    hidden = partial(operator.mul, location)  # of C, which nothing looks into

    def prior(x: Tensor) -> None:
        with pyro.plate("data", len(DATA), subsample=x):
            pyro.sample("z", dist.Normal(hidden(torch.ones(1)), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=x)

    with pytest.raises(ExperimentError, match=r"of shape \(1,\) that would not be trained"):
        prepare(experiment(net, prior))
    location.requires_grad_(False)
    assert set(prepare(experiment(net, prior)).parameters) == {"weight", "bias"}


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ExperimentError, match="no parameters to train: expected networks"):
        prepare(experiment(lambda x: x))


def test_a_plate_of_another_size_is_an_error() -> None:
    net = nn.Linear(1, 1)
    trial = experiment(net)
    trial.data = Data((DATA[:4],))
    with pytest.raises(ModelError, match="opened with size 6, expected 4"):
        prepare(trial)


@pytest.mark.parametrize(
    "tensors",
    [
        {"modules": [], "parameters": {}},
        {"modules": [nn.Linear(2, 1).state_dict()], "parameters": {}},
        {"modules": [nn.Linear(1, 1).state_dict()] * 2, "parameters": {}},
        {"modules": [nn.Linear(1, 1).state_dict()], "parameters": {"slope": torch.zeros(())}},
    ],
)
def test_tensors_of_another_experiment_are_refused(tensors: dict[str, Any]) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        prepare(experiment(nn.Linear(1, 1))).load_tensors(tensors)


@pytest.mark.parametrize("parameters", [{}, {"slope": torch.zeros(1)}, {"other": torch.zeros(())}])
def test_pyro_params_of_another_experiment_are_refused(parameters: dict[str, Tensor]) -> None:
    def location(x: Tensor) -> Tensor:
        slope: Tensor = pyro.param("slope", torch.tensor(1.0))
        return slope * x

    with pytest.raises(ValueError, match="expected parameters"):
        prepare(experiment(location)).load_tensors({"modules": [], "parameters": parameters})


def test_training_mode_reaches_every_network() -> None:
    first, second = nn.Dropout(), nn.Linear(1, 1)
    state = prepare(experiment(lambda x: second(first(x))))
    state.train(False)
    assert not first.training
    assert not second.training
    state.train(True)
    assert first.training
    assert second.training


def test_an_expanded_buffer_is_refused_in_one_sentence() -> None:
    net = nn.Linear(1, 1)
    net.register_buffer("probs", torch.ones(1).expand(3))
    with pytest.raises(ExperimentError, match=r"buffer 'probs' is an expanded view.*\.clone\(\)"):
        prepare(experiment(net))
