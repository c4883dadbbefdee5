import re
from collections.abc import Callable
from typing import NamedTuple

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, relu, softplus

from pyro_decomp.networks import ConvDecoder32, ConvEncoder32, MLPDecoder, MLPEncoder


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    family: type
    num_parameters: int  # counted by hand


NETWORKS = {
    "MLPEncoder": Case(
        lambda: MLPEncoder(2, 3), (2,), (3,), dist.Normal, (2 * 100 + 100) + 2 * (100 * 3 + 3)
    ),
    "MLPEncoder, two layers": Case(
        lambda: MLPEncoder(5, 3, hidden=(7, 11)),
        (5,),
        (3,),
        dist.Normal,
        (5 * 7 + 7) + (7 * 11 + 11) + 2 * (11 * 3 + 3),
    ),
    "MLPEncoder, linear": Case(
        lambda: MLPEncoder(5, 3, hidden=()), (5,), (3,), dist.Normal, 2 * (5 * 3 + 3)
    ),
    "MLPDecoder": Case(
        lambda: MLPDecoder(3, 2), (3,), (2,), dist.Normal, (3 * 100 + 100) + 2 * (100 * 2 + 2)
    ),
    "ConvEncoder32": Case(
        lambda: ConvEncoder32(50),
        (1, 32, 32),
        (50,),
        dist.Normal,
        16 * (1 * 32 + 32 * 64 + 64 * 128) + 2 * (64 + 128) + 2 * (16 * 128 * 50 + 50),
    ),
    "ConvEncoder32, colour": Case(
        lambda: ConvEncoder32(4, channels=3),
        (3, 32, 32),
        (4,),
        dist.Normal,
        16 * (3 * 32 + 32 * 64 + 64 * 128) + 2 * (64 + 128) + 2 * (16 * 128 * 4 + 4),
    ),
    "ConvDecoder32": Case(
        lambda: ConvDecoder32(50),
        (50,),
        (1, 32, 32),
        dist.Laplace,
        16 * (50 * 128 + 128 * 64 + 64 * 32 + 32 * 1) + 2 * (128 + 64 + 32),
    ),
    "ConvDecoder32, colour": Case(
        lambda: ConvDecoder32(4, channels=3),
        (4,),
        (3, 32, 32),
        dist.Laplace,
        16 * (4 * 128 + 128 * 64 + 64 * 32 + 32 * 3) + 2 * (128 + 64 + 32),
    ),
}
every_network = pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)


@every_network
def test_size_and_shape(case: Case) -> None:
    network = case.make()
    assert sum(parameter.numel() for parameter in network.parameters()) == case.num_parameters
    output = network(torch.randn(6, *case.shape))
    assert (output.batch_shape, output.event_shape) == ((6,), case.event_shape)
    assert isinstance(output.base_dist, case.family)


@every_network
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    network = case.make()
    output = network(torch.randn(6, *case.shape))
    output.log_prob(torch.randn(6, *case.event_shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@every_network
@pytest.mark.parametrize("leading", [(), (1,), (2, 3)])
def test_leading_dimensions_are_a_loop(case: Case, leading: tuple[int, ...]) -> None:
    network = case.make().eval()
    x = torch.randn(*leading, *case.shape)
    output = network(x)
    assert output.batch_shape == leading
    alone = [network(one.unsqueeze(0)).base_dist for one in x.reshape(-1, *case.shape)]
    for name in ("loc", "scale"):
        expected = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(
            getattr(output.base_dist, name), expected.reshape(*leading, *case.event_shape)
        )


@every_network
def test_scales_stay_positive(case: Case) -> None:
    network = case.make().eval()
    expected = 0.1
    if isinstance(network.scale, nn.Module):
        nn.init.constant_(network.scale.bias, -200.0)
        expected = 1e-6
    scale = network(torch.zeros(2, *case.shape)).base_dist.scale
    torch.testing.assert_close(scale, torch.full((2, *case.event_shape), expected))


@every_network
def test_a_wrong_shape_is_named(case: Case) -> None:
    wrong = torch.zeros(4, *case.shape[:-1], case.shape[-1] + 1)
    sizes = ", ".join(map(str, case.shape))
    expected = f"expected an input of shape (..., {sizes}), got {tuple(wrong.shape)}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        case.make()(wrong)
    with pytest.raises(ValueError, match=r"got \(\)$"):
        case.make()(torch.zeros(()))


@every_network
def test_weights_come_from_the_global_seed(case: Case) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(nn.utils.parameters_to_vector(case.make().parameters()))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_perceptron_is_its_formula() -> None:
    network = MLPEncoder(4, 2, hidden=(8,))
    weights = network.state_dict()
    x = torch.randn(5, 4)
    hidden = relu(x @ weights["body.0.weight"].T + weights["body.0.bias"])
    output = network(x).base_dist
    torch.testing.assert_close(output.loc, hidden @ weights["loc.weight"].T + weights["loc.bias"])
    torch.testing.assert_close(
        output.scale, softplus(hidden @ weights["scale.weight"].T + weights["scale.bias"]) + 1e-6
    )


def standardised(x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation with its initial weight of 1 and bias of 0."""
    loc = x.mean((0, 2, 3), keepdim=True)
    return (x - loc) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()


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
