from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, relu, softplus

from pyro_decomp.networks import ConvDecoder32, ConvEncoder32
from tests.networks.normalisation import standardised


def test_the_convolutional_encoder_is_its_description() -> None:
    network = ConvEncoder32(3).double()
    first, second, third = (layer.weight for layer in network.body if isinstance(layer, nn.Conv2d))
    x = torch.rand(6, 1, 32, 32, dtype=torch.float64)
    h = leaky_relu(conv2d(x, first, stride=2, padding=1), 0.2)
    h = leaky_relu(standardised(conv2d(h, second, stride=2, padding=1)), 0.2)
    h = leaky_relu(standardised(conv2d(h, third, stride=2, padding=1)), 0.2)
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, conv2d(h, network.loc.weight)[..., 0, 0])
    torch.testing.assert_close(
        output.scale, softplus(conv2d(h, network.scale.weight)[..., 0, 0]) + 1e-6
    )


def test_the_convolutional_decoder_is_its_description() -> None:
    network = ConvDecoder32(3).double()
    layers = [layer.weight for layer in network.body if isinstance(layer, nn.ConvTranspose2d)]
    z = torch.randn(6, 3, dtype=torch.float64)
    h = relu(standardised(conv_transpose2d(z[..., None, None], layers[0])))
    h = relu(standardised(conv_transpose2d(h, layers[1], stride=2, padding=1)))
    h = relu(standardised(conv_transpose2d(h, layers[2], stride=2, padding=1)))
    expected = conv_transpose2d(h, layers[3], stride=2, padding=1)
    torch.testing.assert_close(network(z).base_dist.loc, expected)


@pytest.mark.parametrize("make", [lambda: ConvEncoder32(50), lambda: ConvDecoder32(50)])
def test_convolutions_start_as_in_dcgan(make: Callable[[], nn.Module]) -> None:
    for name, module in make().named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            weight, error = module.weight, 4.3 / module.weight.numel() ** 0.5
            assert abs(weight.mean() / 0.02) < error, name
            assert abs(weight.std() / 0.02 - 1.0) < error, name
            assert module.bias is None or not module.bias.any(), name
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1.0).all(), name
            assert not module.bias.any(), name


@pytest.mark.parametrize(
    ("make", "shape"), [(lambda: ConvEncoder32(5), (1, 32, 32)), (lambda: ConvDecoder32(5), (5,))]
)
def test_a_datum_depends_on_its_batch_only_while_training(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    network = make()
    x = torch.randn(8, *shape)
    alone, together = network(x[:4]).base_dist.loc, network(x).base_dist.loc[:4]
    assert (alone - together).abs().max() > 1e-3 * together.abs().max()
    network.eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.testing.assert_close(network(x[:4]).base_dist.loc, network(x).base_dist.loc[:4])
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_the_decoder_wants_a_positive_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale: expected a positive number, got"):
        ConvDecoder32(2, scale=scale)
