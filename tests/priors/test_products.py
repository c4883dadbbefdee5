"""Priors that are products over dimensions, against their formulas."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_decomp import priors
from tests.priors.priors import log_density

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
def test_arguments_are_checked(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
