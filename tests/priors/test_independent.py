"""Scales of the anisotropic prior: from data, and while they are learned."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_decomp import priors
from pyro_decomp.priors import AnisotropicNormal
from tests.priors.priors import latent_sites, log_density


def scale(prior: AnisotropicNormal) -> torch.Tensor:
    return latent_sites(prior)["z"]["fn"].base_dist.scale


@pytest.mark.parametrize("shape", [(200, 5), (6, 3, 4)])
def test_scales_of_the_principal_components(shape: tuple[int, ...]) -> None:
    x = 3 + torch.randn(shape).double() * torch.linspace(1, 4, shape[-1])
    found = scale(AnisotropicNormal.from_data(x, 4))
    rows = x.flatten(1)
    components = torch.linalg.svdvals(rows - rows.mean(0))[:4]
    torch.testing.assert_close(found / found[0], components / components[0])
    assert found.square().mean().item() == pytest.approx(1)


def test_the_mean_variance_is_kept_while_it_is_learned() -> None:
    prior = AnisotropicNormal(torch.tensor([2.0, 1.0, 0.5]).double(), learned=True)
    start = scale(prior)
    torch.testing.assert_close(start, torch.tensor([2.0, 1.0, 0.5]).double())
    prior.log_variance.data += torch.tensor([1.0, -1.0, 3.0])
    moved = scale(prior)
    assert moved.square().mean().item() == pytest.approx(start.square().mean().item())
    assert not torch.allclose(moved, start)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="scale: expected positive numbers, got -1"):
        AnisotropicNormal(torch.tensor([1.0, -1.0]))
    line = torch.arange(10.0).outer(torch.ones(3))
    with pytest.raises(ValueError, match=r"latent_dim: expected at most 1, .* got 2"):
        AnisotropicNormal.from_data(line, 2)


Z = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))


def test_spike_and_slab_is_the_formula() -> None:
    gamma, variance = 0.8, 0.05
    spike = (-Z.square() / (2 * variance)).exp() / math.sqrt(2 * math.pi * variance)
    slab = (-Z.square() / 2).exp() / math.sqrt(2 * math.pi)
    expected = (gamma * spike + (1 - gamma) * slab).log().sum(-1)
    torch.testing.assert_close(log_density(priors.SpikeAndSlab(3), Z), expected)


def test_the_spike_of_the_public_code() -> None:
    found = log_density(priors.SpikeAndSlab(3, gamma=1.0, spike_scale=0.05), 0.1 * Z)
    torch.testing.assert_close(found, dist.Normal(0, 0.05).log_prob(0.1 * Z).sum(-1))


def test_without_spikes_it_is_the_standard_normal() -> None:
    prior = priors.SpikeAndSlab(3, gamma=0.0)
    torch.testing.assert_close(
        log_density(prior, Z), log_density(priors.IsotropicNormal(3), Z), rtol=0, atol=1e-6
    )


def test_student_t_tends_to_the_normal() -> None:
    torch.set_default_dtype(torch.double)  # its normaliser loses digits for large df
    isotropic = log_density(priors.IsotropicNormal(3), Z)
    distance = [
        (log_density(priors.StudentT(3, df), Z) - isotropic).abs().max() for df in (1, 10, 1e5)
    ]
    assert distance[0] > distance[1] > distance[2]
    assert distance[2] < 0.001


def test_a_flow_starts_as_the_standard_normal() -> None:
    within = Z.clamp(-3.5, 3.5)
    torch.testing.assert_close(
        log_density(priors.FactorisedFlow(3), within),
        log_density(priors.IsotropicNormal(3), within),
        rtol=0,
        atol=2e-3,  # Pyro's outermost slopes are 0.999
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: priors.StudentT(2, -1.0), r"df: expected a positive number, got -1\.0"),
        (lambda: priors.Laplace(2, 0.0), r"scale: expected a positive number, got 0\.0"),
        (lambda: priors.SpikeAndSlab(2, 1.2), r"gamma: expected a number in \[0, 1\], got 1\.2"),
        (lambda: priors.SpikeAndSlab(2, 0.5, -1), "spike_scale: expected a positive number"),
        (
            lambda: priors.AutoregressiveFlow(1),
            "latent_dim: expected .* at least 2, got 1",
        ),
    ],
)
def test_arguments_are_checked_of_products(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
