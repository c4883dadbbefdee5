from functools import partial

import pytest
import torch
from torch import nn

from pyro_decomp.acceleration.precision import in_precision

LAYERS = {  # made in the test, from its seed
    "linear": (partial(nn.Linear, 8, 4), (5, 8)),
    "convolution": (partial(nn.Conv2d, 2, 3, 4, 2, 1), (5, 2, 8, 8)),
    "transposed convolution": (partial(nn.ConvTranspose2d, 2, 3, 4, 2, 1), (5, 2, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_products_are_of_rounded_numbers(name: str) -> None:
    make, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape)
    with in_precision("bfloat16"):
        found = layer(x)
    exact = layer.double()(x.double())
    sizes = make().double()  # of what is summed
    sizes.load_state_dict({n: tensor.abs() for n, tensor in layer.state_dict().items()})
    # Inputs, weights and the sum are rounded to 8 bits, and so are up to 4 overlapping parts of it.
    bound = 7 * 2.0**-9 * sizes(x.abs().double())
    layer.float()
    assert found.dtype == torch.bfloat16
    assert ((found - exact).abs() <= 1.01 * bound).all()
    assert (found - exact).abs().max() > 1e-5 * exact.abs().max()
    with in_precision("float32"):
        assert torch.equal(layer(x), layer(x))
        assert (layer(x) - exact).abs().max() / exact.abs().max() < 1e-5


def test_gradients_arrive_in_32_bits() -> None:
    layer, x = nn.Linear(8, 4), torch.randn(5, 8)
    with in_precision("bfloat16"):
        layer(x).square().sum().backward()
    assert layer.weight.grad is not None
    found = layer.weight.grad.clone()
    layer.zero_grad()
    layer(x).square().sum().backward()
    assert found.dtype == torch.float32
    relative = (found - layer.weight.grad).norm() / layer.weight.grad.norm()
    assert 1e-5 < relative < 2e-2


def test_distributions_of_networks_are_of_32_bits() -> None:
    layer, x = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.ReLU()), torch.randn(5, 8)
    with in_precision("bfloat16"):
        hidden = layer(x)
        loc, scale = hidden.flatten(1).chunk(2, -1)
        normal = torch.distributions.Normal(loc, nn.functional.softplus(scale))
        coins = torch.distributions.Bernoulli(logits=layer(x))
        drawn = normal.rsample()
    assert hidden.dtype == torch.bfloat16
    for value in (normal.loc, normal.scale, drawn, normal.log_prob(drawn), coins.logits):
        assert value.dtype == torch.float32


def test_nothing_else_is_rounded() -> None:
    x, y = torch.randn(30, 40), torch.randn(40, 20)
    with in_precision("bfloat16"):
        inside = x @ y, x.exp(), torch.distributions.Normal(x, 1.0).log_prob(x + 1)
    for one, other in zip(
        inside, (x @ y, x.exp(), torch.distributions.Normal(x, 1.0).log_prob(x + 1)), strict=True
    ):
        assert torch.equal(one, other)


def test_double_precision_is_left_alone() -> None:
    layer, x = nn.Linear(8, 4).double(), torch.randn(5, 8, dtype=torch.double)
    with in_precision("bfloat16"):
        assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    with in_precision("bfloat16"):
        assert layer(x).dtype == torch.double
