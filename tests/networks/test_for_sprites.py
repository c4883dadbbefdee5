import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, relu, softplus

from pyro_decomp.networks import (
    SpritesConvDecoder,
    SpritesConvEncoder,
    SpritesMLPDecoder,
    SpritesMLPEncoder,
)


@pytest.mark.parametrize("size", [32, 64])
def test_the_encoder_is_its_description(size: int) -> None:
    network = SpritesConvEncoder(3, size, channels=2, hidden=5).double()
    *convolutions, linear, a, loc, b, scale, c = network.parameters()
    x = torch.rand(4, 2, size, size, dtype=torch.float64)
    h = x
    for weight, bias in zip(convolutions[::2], convolutions[1::2], strict=True):
        h = relu(conv2d(h, weight, bias, stride=2, padding=1))
    h = h.reshape(4, -1) @ linear.T + a  # no ReLU behind it
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, h @ loc.T + b)
    torch.testing.assert_close(output.scale, softplus(h @ scale.T + c) + 1e-6)


@pytest.mark.parametrize("size", [32, 64])
def test_the_decoder_is_its_description(size: int) -> None:
    network = SpritesConvDecoder(3, size, channels=2, hidden=5).double()
    first, a, second, b, *convolutions = network.parameters()
    z = torch.randn(4, 3, dtype=torch.float64)
    h = relu(z @ first.T + a) @ second.T + b
    h = h.reshape(4, 64, size // 16, size // 16)
    for weight, bias in zip(convolutions[::2], convolutions[1::2], strict=True):
        h = conv_transpose2d(relu(h), weight, bias, stride=2, padding=1)
    torch.testing.assert_close(network(z).base_dist.logits, h)


@pytest.mark.parametrize("make", [SpritesConvEncoder, SpritesConvDecoder])
@pytest.mark.parametrize("size", [0, -16, 28])
def test_a_size_that_four_strides_do_not_divide_is_named(make: type[nn.Module], size: int) -> None:
    with pytest.raises(ValueError, match=f"size: expected a positive multiple of 16, got {size}$"):
        make(10, size=size)


def test_the_perceptron_that_encodes_is_its_description() -> None:
    network = SpritesMLPEncoder(3, size=4, hidden=(6, 5)).double()
    first, a, second, b, loc, c, scale, d = network.parameters()
    x = torch.rand(7, 1, 4, 4, dtype=torch.float64)
    h = relu(relu(x.reshape(7, 16) @ first.T + a) @ second.T + b)
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, h @ loc.T + c)
    torch.testing.assert_close(output.scale, softplus(h @ scale.T + d) + 1e-6)


def test_the_perceptron_that_decodes_is_its_description() -> None:
    network = SpritesMLPDecoder(3, size=4, hidden=(6, 5)).double()
    first, a, second, b, last, c = network.parameters()
    z = torch.randn(7, 3, dtype=torch.float64)
    h = torch.tanh(torch.tanh(z @ first.T + a) @ second.T + b)
    logits = network(z).base_dist.logits
    torch.testing.assert_close(logits, (h @ last.T + c).reshape(7, 1, 4, 4))
