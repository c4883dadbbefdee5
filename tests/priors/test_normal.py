"""Scales of the anisotropic prior: from data, and while they are learned."""

import pytest
import torch

from pyro_decomp.priors import AnisotropicNormal
from tests.priors.priors import latent_sites


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
