import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, relu, softplus

from pyro_decomp.networks import FacesConvDecoder, FacesConvEncoder
from tests.networks.normalisation import standardised


def test_the_encoder_is_its_description() -> None:
    network = FacesConvEncoder(3).double()
    layers = [layer for layer in network.body if isinstance(layer, nn.Conv2d)]
    x = torch.rand(4, 1, 64, 64, dtype=torch.float64)
    h = x
    for layer in layers[:-1]:
        h = relu(standardised(conv2d(h, layer.weight, layer.bias, stride=2, padding=1)))
    h = relu(standardised(conv2d(h, layers[-1].weight, layers[-1].bias)))[..., 0, 0]
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, h @ network.loc.weight.T + network.loc.bias)
    torch.testing.assert_close(
        output.scale, softplus(h @ network.scale.weight.T + network.scale.bias) + 1e-6
    )


def test_the_decoder_is_its_description() -> None:
    network = FacesConvDecoder(3).double()
    first, second, *others = (
        layer for layer in network.body if isinstance(layer, nn.ConvTranspose2d)
    )
    z = torch.randn(4, 3, dtype=torch.float64)
    h = conv_transpose2d(z[..., None, None], first.weight, first.bias)
    h = conv_transpose2d(relu(standardised(h)), second.weight, second.bias)
    for layer in others:
        h = relu(standardised(h))
        h = conv_transpose2d(h, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(network(z).base_dist.logits, h)
