import torch
from torch.nn.functional import relu, softplus

from pyro_decomp.networks import SpritesMLPDecoder, SpritesMLPEncoder


def test_the_encoder_is_its_description() -> None:
    network = SpritesMLPEncoder(3, size=4, hidden=(6, 5)).double()
    first, a, second, b, loc, c, scale, d = network.parameters()
    x = torch.rand(7, 1, 4, 4, dtype=torch.float64)
    h = relu(relu(x.reshape(7, 16) @ first.T + a) @ second.T + b)
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, h @ loc.T + c)
    torch.testing.assert_close(output.scale, softplus(h @ scale.T + d) + 1e-6)


def test_the_decoder_is_its_description() -> None:
    network = SpritesMLPDecoder(3, size=4, hidden=(6, 5)).double()
    first, a, second, b, last, c = network.parameters()
    z = torch.randn(7, 3, dtype=torch.float64)
    h = torch.tanh(torch.tanh(z @ first.T + a) @ second.T + b)
    logits = network(z).base_dist.logits
    torch.testing.assert_close(logits, (h @ last.T + c).reshape(7, 1, 4, 4))
