"""Hierarchies and their guides in both orders."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.inspect import get_dependencies
from torch import Tensor, nn

from pyro_decomp import VAE
from pyro_decomp.networks import MLPDecoder
from pyro_decomp.priors import BottomUpEncoder, Hierarchical, TopDownEncoder
from tests.priors.priors import latent_sites

DIMS = (4, 3, 2)
ENCODERS = {"bottom up": BottomUpEncoder, "top down": TopDownEncoder}


@pytest.fixture(params=ENCODERS)
def vae(request: pytest.FixtureRequest) -> VAE:
    encoder = ENCODERS[request.param](5, DIMS, (6,))
    return VAE(Hierarchical(DIMS, (6,)), encoder, MLPDecoder(4, 5, (6,)), size=20)


def test_the_layers_are_of_the_lengths_asked_for(vae: VAE) -> None:
    for program in (vae.model, vae.guide):
        sites = latent_sites(program, torch.randn(7, 5))
        shapes = {name: tuple(site["value"].shape) for name, site in sites.items()}
        assert shapes == {"z1": (7, 4), "z2": (7, 3), "z3": (7, 2)}


@pytest.mark.parametrize(
    ("program", "chain"),
    [
        (Hierarchical(DIMS), [("z2", "z3"), ("z1", "z2")]),
        (BottomUpEncoder(5, DIMS), [("z2", "z1"), ("z3", "z2")]),
        (TopDownEncoder(5, DIMS), [("z2", "z3"), ("z1", "z2")]),
    ],
    ids=["prior", "bottom up", "top down"],
)
def test_what_depends_on_what(program: nn.Module, chain: list[tuple[str, str]]) -> None:
    arguments = () if isinstance(program, Hierarchical) else (torch.randn(7, 5),)

    def in_a_plate() -> None:
        with pyro.plate("data", 7):
            program(*arguments)

    found = get_dependencies(in_a_plate)["prior_dependencies"]
    edges = {(child, p) for child, parents in found.items() for p in parents if p != child}
    assert edges == set(chain)


def test_the_plain_elbo_trains_every_weight(vae: VAE) -> None:
    Trace_ELBO().loss_and_grads(vae.model, vae.guide, torch.randn(7, 5))
    assert all(parameter.grad.abs().sum() > 0 for parameter in vae.parameters())


def test_particles_in_a_plate_of_their_own(vae: VAE) -> None:
    """Vectorised particles put a dimension on the left of all that is drawn, not of x."""
    x = torch.randn(7, 5)

    def particles() -> None:
        with pyro.plate("particles", 3, dim=-2):
            vae.guide(x)

    many = latent_sites(particles)
    for p in range(3):
        values = {name: site["value"][p] for name, site in many.items()}
        one = poutine.trace(poutine.condition(vae.guide, values)).get_trace(x)
        for name, site in many.items():
            assert site["value"].shape[:2] == (3, 7)
            torch.testing.assert_close(
                site["fn"].log_prob(site["value"])[p], one.nodes[name]["fn"].log_prob(values[name])
            )


def test_a_child_is_centred_where_its_parent_says() -> None:
    prior = Hierarchical((4, 2))
    parent = torch.randn(2)
    trace = poutine.trace(poutine.condition(prior, {"z2": parent})).get_trace()
    expected: Tensor = prior.networks[0](parent).mean
    torch.testing.assert_close(trace.nodes["z1"]["fn"].mean, expected)


def test_one_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="latent_dims: expected 2 or more positive whole numbers"):
        Hierarchical((3,))
