"""The steps written by hand compute what the package does."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hand_written import FashionMNIST, Pinwheel, Sprites
from hand_written.pinwheel import prior_draws
from torch import Tensor

from examples.pinwheel_mixture import experiment as pinwheel_mixture
from examples.pinwheel_mixture import prior as clusters
from examples.sparse_fashion_mnist import SparsePrior
from pyro_decomp import VAE, AggregateELBO, BetaELBO, TotalCorrelationELBO
from pyro_decomp.data import pinwheel
from pyro_decomp.divergences import DimensionwiseMMD
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.networks import (
    ConvDecoder32,
    ConvEncoder32,
    MLPDecoder,
    MLPEncoder,
    SpritesConvDecoder,
    SpritesConvEncoder,
)

TOLERANCE = 1e-5  # of the norm


def standard_prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(10), 1.0).to_event(1))


def loss_and_gradients(vae: VAE, elbo: TermsELBO, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    loss = -elbo.evaluate(vae.model, vae.guide, x).objective
    return loss, list(torch.autograd.grad(loss, list(vae.parameters())))


def drawn(program: object, size: int) -> Tensor:
    with pyro.plate("data", size):
        return program()


def close(ours: Tensor, theirs: Tensor) -> None:
    assert (ours - theirs).norm() < TOLERANCE * theirs.norm()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_pinwheel(alpha: float) -> None:
    x = pinwheel()
    vae = VAE(clusters, MLPEncoder(2, 2), MLPDecoder(2, 2), size=len(x))
    by_hand = Pinwheel(x, alpha, compiled=False)
    by_hand.load(vae.state_dict())
    torch.manual_seed(1)
    loss, gradients = loss_and_gradients(vae, AggregateELBO(alpha=alpha), x)
    torch.manual_seed(1)
    noise = [torch.randn(x.shape).T]
    if alpha:
        noise.append(drawn(clusters, len(x)).T)
    gradient, value = torch.func.grad_and_value(by_hand.loss)(by_hand.parameters, x.T, *noise)
    close(value, loss)
    close(gradient, torch.cat([g.flatten() for g in gradients]))


def test_adam_of_the_pinwheel() -> None:
    x = pinwheel()
    experiment = pinwheel_mixture(alpha=1.0, batch_size=400, anneal=False)
    by_hand = Pinwheel(x, compiled=False)
    leaf = by_hand.parameters.clone().requires_grad_()
    optimizer = experiment.optimizer([leaf])
    for step in range(3):
        torch.manual_seed(step)
        eps, component, eps_prior = by_hand.noise()
        optimizer.zero_grad()
        by_hand.loss(leaf, by_hand.x, eps, prior_draws(component, eps_prior)).backward()
        optimizer.step()
        torch.manual_seed(step)
        by_hand.step()
    close(by_hand.parameters, leaf.detach())


@pytest.mark.parametrize("total_correlation", [False, True])
def test_sprites(total_correlation: bool) -> None:
    x = (torch.rand(8, 1, 64, 64) < 0.1).float()
    vae = VAE(standard_prior, SpritesConvEncoder(10), SpritesConvDecoder(10), size=100)
    elbo = TotalCorrelationELBO(beta=4.0) if total_correlation else BetaELBO(4.0)
    by_hand = Sprites(x, 4.0, total_correlation=total_correlation, num_data=100, compiled=False)
    check_network(by_hand, vae, elbo, x, lambda: ())


def test_fashion_mnist() -> None:
    x = torch.rand(16, 1, 32, 32)
    prior = SparsePrior(0.8, 0.05, 50)
    vae = VAE(prior, ConvEncoder32(50), ConvDecoder32(50, scale=0.1), size=100)
    elbo = AggregateELBO(alpha=1000.0, divergence=DimensionwiseMMD())
    by_hand = FashionMNIST(x, compiled=False)
    check_network(by_hand, vae, elbo, x, lambda: (drawn(prior, len(x)),))


def check_network(
    by_hand: Sprites | FashionMNIST, vae: VAE, elbo: TermsELBO, x: Tensor, prior_draws: object
) -> None:
    by_hand.load(vae.state_dict())
    torch.manual_seed(1)
    loss, gradients = loss_and_gradients(vae, elbo, x)
    torch.manual_seed(1)
    noise = torch.randn(len(x), by_hand.latent_dim), *prior_draws()
    value = by_hand.loss(*noise)
    names = [name for name, _ in vae.named_parameters()]
    own = dict(by_hand.named_parameters())
    close(value.detach(), loss.detach())
    theirs = torch.autograd.grad(value, [own[name] for name in names])
    for a, b in zip(theirs, gradients, strict=True):
        close(a, b)
