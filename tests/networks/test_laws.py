"""Laws of every network: sizes, shapes, gradients, leading dimensions, errors, seeds."""

import re
from collections.abc import Callable
from typing import NamedTuple

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_decomp.networks import (
    ConvDecoder32,
    ConvEncoder32,
    FacesConvDecoder,
    FacesConvEncoder,
    MLPDecoder,
    MLPEncoder,
    SpritesConvDecoder,
    SpritesConvEncoder,
    SpritesMLPDecoder,
    SpritesMLPEncoder,
)

PARAMETERS = {
    dist.Normal: ("loc", "scale"),
    dist.Laplace: ("loc", "scale"),
    dist.Bernoulli: ("logits",),
    dist.ContinuousBernoulli: ("logits",),
}


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
    "SpritesConvEncoder": Case(
        lambda: SpritesConvEncoder(10),
        (1, 64, 64),
        (10,),
        dist.Normal,
        16 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
        + (32 + 32 + 64 + 64)
        + (1024 * 128 + 128)
        + 2 * (128 * 10 + 10),
    ),
    "SpritesConvEncoder, 32 pixels": Case(
        lambda: SpritesConvEncoder(10, size=32),
        (1, 32, 32),
        (10,),
        dist.Normal,
        16 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
        + (32 + 32 + 64 + 64)
        + (256 * 128 + 128)
        + 2 * (128 * 10 + 10),
    ),
    "SpritesConvDecoder": Case(
        lambda: SpritesConvDecoder(10),
        (10,),
        (1, 64, 64),
        dist.Bernoulli,
        (10 * 128 + 128)
        + (128 * 1024 + 1024)
        + 16 * (64 * 64 + 64 * 32 + 32 * 32 + 32 * 1)
        + (64 + 32 + 32 + 1),
    ),
    "SpritesConvDecoder, 32 pixels in colour": Case(
        lambda: SpritesConvDecoder(10, size=32, channels=3, hidden=256),
        (10,),
        (3, 32, 32),
        dist.Bernoulli,
        (10 * 256 + 256)
        + (256 * 256 + 256)
        + 16 * (64 * 64 + 64 * 32 + 32 * 32 + 32 * 3)
        + (64 + 32 + 32 + 3),
    ),
    "SpritesMLPEncoder": Case(
        lambda: SpritesMLPEncoder(10),
        (1, 64, 64),
        (10,),
        dist.Normal,
        (4096 * 1200 + 1200) + (1200 * 1200 + 1200) + 2 * (1200 * 10 + 10),
    ),
    "SpritesMLPEncoder, small": Case(
        lambda: SpritesMLPEncoder(4, size=16, hidden=(7,)),
        (1, 16, 16),
        (4,),
        dist.Normal,
        (256 * 7 + 7) + 2 * (7 * 4 + 4),
    ),
    "SpritesMLPDecoder": Case(
        lambda: SpritesMLPDecoder(10),
        (10,),
        (1, 64, 64),
        dist.Bernoulli,
        (10 * 1200 + 1200) + 2 * (1200 * 1200 + 1200) + (1200 * 4096 + 4096),
    ),
    "SpritesMLPDecoder, small": Case(
        lambda: SpritesMLPDecoder(4, size=16, hidden=(7, 5)),
        (4,),
        (1, 16, 16),
        dist.Bernoulli,
        (4 * 7 + 7) + (7 * 5 + 5) + (5 * 256 + 256),
    ),
    "FacesConvEncoder": Case(
        lambda: FacesConvEncoder(10),
        (1, 64, 64),
        (10,),
        dist.Normal,
        16 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 512)
        + 3 * (32 + 32 + 64 + 64 + 512)  # a bias, and weight and bias of the normalisation
        + 2 * (512 * 10 + 10),
    ),
    "FacesConvDecoder": Case(
        lambda: FacesConvDecoder(10),
        (10,),
        (1, 64, 64),
        dist.ContinuousBernoulli,
        10 * 512
        + 16 * (512 * 64 + 64 * 64 + 64 * 32 + 32 * 32 + 32 * 1)
        + 3 * (512 + 64 + 64 + 32 + 32)
        + 1,
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


@pytest.mark.full(but=["*MLPEncoder", "ConvDecoder32", "ConvEncoder32"])
@every_network
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    network = case.make()
    output = network(torch.randn(6, *case.shape))
    output.log_prob(output.sample()).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.full(but=["leading2-MLP*", "leading0-*Conv*"])
@every_network
@pytest.mark.parametrize("leading", [(), (1,), (2, 3)])
def test_leading_dimensions_are_a_loop(case: Case, leading: tuple[int, ...]) -> None:
    network = case.make().eval()
    x = torch.randn(*leading, *case.shape)
    output = network(x)
    assert output.batch_shape == leading
    alone = [network(one.unsqueeze(0)).base_dist for one in x.reshape(-1, *case.shape)]
    for name in PARAMETERS[case.family]:
        expected = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(
            getattr(output.base_dist, name),
            expected.reshape(*leading, *case.event_shape),
            rtol=1e-4,
            atol=1e-5,
        )


@every_network
def test_a_wrong_shape_is_named(case: Case) -> None:
    network = case.make()
    wrong = torch.zeros(4, *case.shape[:-1], case.shape[-1] + 1)
    sizes = ", ".join(map(str, case.shape))
    expected = (
        f"input: expected a floating-point tensor of shape (..., {sizes}), got {tuple(wrong.shape)}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        network(wrong)
    with pytest.raises(ValueError, match=r"got \(\)$"):
        network(torch.zeros(()))


@pytest.mark.full(but=["*MLPEncoder", "ConvDecoder32", "ConvEncoder32"])
@every_network
def test_weights_come_from_the_global_seed(case: Case) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(nn.utils.parameters_to_vector(case.make().parameters()))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
