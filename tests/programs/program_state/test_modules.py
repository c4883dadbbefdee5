from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_decomp import VAE
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.programs.program_state.modules import buffers_kept, find_modules

NET = nn.Linear(1, 1)


def by_global(x: Any) -> Any:
    return NET(x)


def by_global_function(x: Any) -> Any:
    return by_global(x)


def by_default(x: Any, net: nn.Module = NET) -> Any:
    return net(x)


def by_argument(net: nn.Module, x: Any) -> Any:
    return net(x)


def closure(thing: Any) -> Callable[..., Any]:
    def program(x: Any) -> Any:
        return thing(x)

    return program


class Holder:
    """A plain object, no module."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def model(self, x: Any) -> Any:
        return self.net(x)

    def __call__(self, x: Any) -> Any:
        return self.net(x)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(NET, id="module"),
        pytest.param(NET.forward, id="bound method of a module"),
        pytest.param(by_global, id="global"),
        pytest.param(by_global_function, id="global through a function"),
        pytest.param(by_default, id="default argument"),
        pytest.param(closure(NET), id="closure"),
        pytest.param(closure(closure(NET)), id="closure over a closure"),
        pytest.param(partial(by_argument, NET), id="partial, by position"),
        pytest.param(partial(by_argument, net=NET), id="partial, by name"),
        pytest.param(Holder(NET), id="callable object"),
        pytest.param(Holder(NET).model, id="bound method of an object"),
        pytest.param(poutine.scale(by_global, scale=2.0), id="poutine.scale"),
        pytest.param(poutine.trace(closure(NET)), id="poutine.trace"),
        pytest.param(config_enumerate(by_default), id="config_enumerate"),
    ],
)
def test_a_network_is_found(program: Callable[..., Any]) -> None:
    assert find_modules([program]) == [NET]
    assert find_modules([program, by_global, NET]) == [NET]


def test_a_pyro_module_is_found_as_model_and_guide() -> None:
    class Pair(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = PyroModule[nn.Linear](1, 1)

        def model(self, x: Any) -> Any:
            return self.net(x)

        def guide(self, x: Any) -> Any:
            return self.net(x)

    pair = Pair()
    assert find_modules([pair.model, pair.guide]) == [pair]


def test_a_part_of_another_module_is_not_listed_again() -> None:
    body = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    assert find_modules([body[0], closure(body)]) == [body]


def test_modules_come_in_the_order_of_the_programs() -> None:
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    assert find_modules([closure(first), closure(second)]) == [first, second]
    assert find_modules([closure(second), closure(first)]) == [second, first]


def prior(net: nn.Module) -> Any:
    return pyro.sample("z", dist.Normal(net(torch.ones(1)), 1.0).to_event(1))


@pytest.mark.parametrize(
    "bind",
    [lambda net: partial(prior, net), lambda net: lambda: prior(net)],
    ids=["partial", "closure"],
)
def test_the_network_of_a_prior_is_found_inside_other_modules(
    bind: Callable[[nn.Module], Callable[[], Any]],
) -> None:
    net = nn.Linear(1, 1)
    vae = VAE(bind(net), MLPEncoder(1, 1), MLPDecoder(1, 1), size=1)
    assert find_modules([vae.model]) == [vae, net]
    wrapper = nn.Module()
    wrapper.vae = vae
    assert find_modules([closure(wrapper)]) == [wrapper, net]


def test_a_network_in_a_container_is_found_and_a_class_is_no_network() -> None:
    assert find_modules([closure({"net": [NET]}), closure(nn.Linear)]) == [NET]
    assert find_modules([closure(Holder(nn.Identity)), closure(nn.Linear)]) == []


def test_functions_that_call_one_another_end() -> None:
    def even(x: int) -> Any:
        return NET(x) if x == 0 else odd(x - 1)

    def odd(x: int) -> Any:
        return even(x - 1)

    assert find_modules([odd]) == [NET]


class TestBuffersKept:
    """Buffers of networks are put back, or take what they came to hold."""

    @staticmethod
    def network(buffer: Tensor) -> nn.Module:
        network = nn.Identity()
        network.register_buffer("first", torch.zeros(2))
        network.register_buffer("seen", buffer)
        return network

    def test_another_tensor_is_copied_into_the_buffer_if_it_is_kept(self) -> None:
        network = self.network(torch.zeros(2))
        buffer = network.seen
        with buffers_kept([network]):
            network.seen = torch.ones(2)
        assert network.seen is buffer
        assert buffer.tolist() == [0, 0]
        with buffers_kept([network]) as keep:
            network.seen = torch.ones(2)
            keep()
        assert network.seen is buffer
        assert buffer.tolist() == [1, 1]

    def test_a_tensor_of_another_type_takes_the_place_of_the_buffer_if_it_is_kept(self) -> None:
        network = self.network(torch.tensor(1))
        with buffers_kept([network]) as keep:
            network.seen = 0.5 * network.seen
            keep()
        assert float(network.seen) == 0.5

    def test_a_buffer_of_another_shape_is_refused_and_put_back(self) -> None:
        was = torch.zeros(1)
        network = self.network(was)
        first = network.first

        def run() -> None:
            with buffers_kept([network]) as keep:
                network.first, network.seen = torch.ones(2), torch.zeros(2)
                keep()

        with pytest.raises(ModelError, match=r"'seen' of Identity .* \(2,\) .* \(1,\)"):
            run()
        assert network.seen is was
        assert network.first is first
