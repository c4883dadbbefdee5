"""Mixtures with and without a site for the cluster are the same model."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from pyro_decomp import VAE
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import (
    EnumeratedGaussianMixture,
    EnumeratedNestedClusters,
    GaussianMixture,
    NestedClusters,
    VampPrior,
    VonMisesFisher,
)
from tests.priors.priors import ALL, PRIORS, log_density, mixture, tree

LOCS = torch.eye(3, 2)


def loss_and_gradients(vae: VAE, elbo: Trace_ELBO, x: Tensor) -> tuple[float, dict[str, Tensor]]:
    pyro.set_rng_seed(3)
    loss = elbo.loss_and_grads(vae.model, vae.guide, x)
    return loss, {name: parameter.grad for name, parameter in vae.named_parameters()}


@pytest.mark.parametrize(
    ("summed", "enumerated"),
    [
        (mixture(GaussianMixture, *ALL), mixture(EnumeratedGaussianMixture, *ALL)),
        (tree(NestedClusters, True), tree(EnumeratedNestedClusters, True)),
    ],
    ids=["mixture", "tree"],
)
def test_pyros_enumeration_gives_the_same_loss_and_gradients(
    summed: Callable[..., nn.Module], enumerated: Callable[..., nn.Module]
) -> None:
    torch.set_default_dtype(torch.double)
    x = torch.randn(6, 3)
    encoder, decoder = MLPEncoder(3, 2, (5,)), MLPDecoder(2, 3, (5,))
    one = VAE(summed(encoder), encoder, decoder, size=20)
    loss, gradients = loss_and_gradients(one, Trace_ELBO(), x)
    gradients = {name: gradient.clone() for name, gradient in gradients.items()}
    one.zero_grad()
    other = VAE(enumerated(encoder), encoder, decoder, size=20)
    found, others = loss_and_gradients(other, TraceEnum_ELBO(max_plate_nesting=1), x)
    assert found == pytest.approx(loss, rel=1e-12)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-9, atol=1e-9)


def test_the_decoder_may_see_the_cluster() -> None:
    class Decoder(nn.Module):
        def forward(self, z: Tensor, c: Tensor) -> dist.TorchDistribution:
            return dist.Normal(z + c.unsqueeze(-1), 0.5).to_event(1)

    torch.set_default_dtype(torch.double)
    x = torch.randn(6, 2)
    weights = torch.tensor([0.5, 0.2, 0.3])
    prior = EnumeratedGaussianMixture(torch.eye(3, 2), 0.7, weights, return_component=True)
    vae = VAE(prior, MLPEncoder(2, 2, (5,)), Decoder(), size=6)
    pyro.set_rng_seed(3)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(vae.model, vae.guide, x)
    pyro.set_rng_seed(3)
    q = vae.encoder(x)
    z = q.rsample()
    joint = sum(
        weights[c]
        * (dist.Normal(torch.eye(3, 2)[c], 0.7).log_prob(z).sum(-1)).exp()
        * dist.Normal(z + c, 0.5).log_prob(x).sum(-1).exp()
        for c in range(3)
    )
    assert loss == pytest.approx((q.log_prob(z) - joint.log()).sum().item(), rel=1e-12)


def test_a_mixture_is_its_formula() -> None:
    weights = torch.tensor([1.0, 3.0, 1.0])
    prior = GaussianMixture(LOCS, torch.tensor([[0.5], [1.0], [2.0]]), weights)
    z = torch.randn(7, 2)
    components = dist.Normal(LOCS, torch.tensor([[0.5], [1.0], [2.0]])).to_event(1)
    expected = (components.log_prob(z[:, None]) + (weights / 5).log()).logsumexp(-1)
    torch.testing.assert_close(log_density(prior, z), expected)


def test_a_cluster_moves_with_its_group() -> None:
    prior = PRIORS["nested clusters"]()
    z = torch.randn(7, 2)
    before = log_density(prior, z)
    prior.locs += 1.5
    torch.testing.assert_close(log_density(prior, z + 1.5), before)


def test_what_is_not_learned_is_a_buffer() -> None:
    prior = GaussianMixture(LOCS, 0.3, learned=["weights"])
    assert [name for name, _ in prior.named_parameters()] == ["logits"]
    assert {name for name, _ in prior.named_buffers()} == {"locs", "log_scale"}


@pytest.mark.parametrize(
    "build",
    [
        lambda: GaussianMixture(LOCS, 0.3, learned=["locs"]),
        lambda: NestedClusters(LOCS, torch.zeros(3, 4, 2), 0.3, learned=True),
        lambda: VonMisesFisher(LOCS[0], 3.0, learned=True),
        lambda: VampPrior(MLPEncoder(2, 2), LOCS),
    ],
    ids=["mixture", "tree", "von Mises-Fisher", "VampPrior"],
)
def test_learning_leaves_the_callers_tensors_alone(build: Callable[[], nn.Module]) -> None:
    before = LOCS.clone()
    with torch.no_grad():
        for parameter in build().parameters():
            parameter.add_(1.0)
    assert torch.equal(LOCS, before)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GaussianMixture(LOCS, -1.0), "scale: expected a positive number, got -1"),
        (lambda: GaussianMixture(LOCS, 1.0, torch.tensor([1.0, 0.0, 1.0])), "weights: expected"),
        (lambda: GaussianMixture(LOCS, 1.0, learned=["means"]), "learned: expected 'locs'"),
        (
            lambda: NestedClusters(LOCS, torch.zeros(2, 4, 2), 1.0),
            r"offsets: expected shape \(3, C, 2\), got shape \(2, 4, 2\)",
        ),
        (lambda: NestedClusters(LOCS, torch.zeros(3, 4, 2), 0.0), "scale: expected a positive"),
    ],
)
def test_arguments_are_checked(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
