"""Prior programs annealed as a whole, or refused."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import VAE, InclusiveKL
from pyro_decomp.distributions.annealing import annealed, log_normalizer
from pyro_decomp.elbo import AggregateELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.programs.annealed_program import anneal, normalizer_parents

LOCS = torch.tensor([[0.0, 1.0], [0.0, -1.0]])


def chain(child: Callable[[Tensor], dist.TorchDistribution]) -> Callable[[], Tensor]:
    def program() -> Tensor:
        with pyro.plate("data", 4):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("b", child(a))

    return program


def cluster(scale: Callable[[Tensor], Tensor | float]) -> Callable[[], Tensor]:
    def program() -> Tensor:
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
        return pyro.sample("z", dist.Normal(LOCS[k], scale(k)).to_event(1))

    return program


def deterministic() -> Tensor:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    scale = pyro.deterministic("scale", a.exp())
    return pyro.sample("b", dist.Normal(0.0, scale))


NET = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 2))
SPIKE = dist.Categorical(torch.tensor([0.8, 0.2]))

CONSTANT = {
    "location": chain(lambda a: dist.Normal(NET(a), 0.7).to_event(1)),
    "location, learned scale": chain(
        lambda a: dist.Normal(a, pyro.param("s", torch.ones(2))).to_event(1)
    ),
    "location of a Student-t": chain(lambda a: dist.StudentT(3.0, a, 0.7).to_event(1)),
    "location of a Laplace": chain(lambda a: dist.Laplace(a, 0.7).to_event(1)),
    "location, full covariance": chain(lambda a: dist.MultivariateNormal(a, torch.eye(2))),
    "cluster": cluster(lambda k: 0.7),
    "no dependence": chain(lambda a: dist.Uniform(torch.zeros(2), 3.0).to_event(1)),
}
VARYING = {
    "scale": (chain(lambda a: dist.Normal(0.0, a.exp()).to_event(1)), "b", "'a'"),
    "scale by a network": (chain(lambda a: dist.Normal(a, NET(a).exp()).to_event(1)), "b", "'a'"),
    "one scale a cluster": (cluster(lambda k: torch.tensor([0.5, 2.0])[k]), "z", "'k'"),
    "deterministic between": (deterministic, "b", "'a'"),
    "covariance": (
        chain(lambda a: dist.MultivariateNormal(a, torch.diag_embed(a.exp()))),
        "b",
        "'a'",
    ),
    "mixture": (
        chain(
            lambda a: dist.MixtureSameFamily(
                SPIKE, dist.Normal(torch.zeros(2, 2), a.exp().unsqueeze(-1))
            ).to_event(1)
        ),
        "b",
        "'a'",
    ),
}


def draw(program: Callable[[], Any]) -> dict[str, Tensor]:
    nodes = poutine.trace(program).get_trace().nodes
    return {n: nodes[n]["value"] for n in ("a", "b", "k", "z") if n in nodes}


@pytest.mark.parametrize("program", CONSTANT.values(), ids=CONSTANT)
def test_the_annealed_program_is_the_joint_to_the_power(program: Callable[[], Any]) -> None:
    tempered = anneal(program, 1.6)
    ratios = []
    for values in (draw(program), draw(program), draw(tempered)):
        with poutine.block(), torch.no_grad():
            ratios.append(1.6 * scored(program, values) - scored(tempered, values))
    torch.testing.assert_close(ratios[1:], ratios[:-1], rtol=1e-5, atol=1e-5)


def scored(program: Callable[[], Any], values: dict[str, Tensor]) -> Tensor:
    """Log density of values that are drawn, not observed."""
    trace = poutine.Trace()
    for name, value in values.items():
        trace.add_node(name, type="sample", value=value, is_observed=False, infer={})
    return poutine.trace(poutine.replay(program, trace=trace)).get_trace().log_prob_sum()


@pytest.mark.parametrize(("program", "site", "parent"), VARYING.values(), ids=VARYING)
def test_a_normaliser_that_depends_on_parents_is_refused(
    program: Callable[[], Any], site: str, parent: str
) -> None:
    with pytest.raises(ModelError, match=f"site '{site}' cannot be annealed .*from {parent};"):
        anneal(program, 1.6)()


def test_parents_of_the_normalisers_are_named() -> None:
    def program() -> None:
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        pyro.sample("c", dist.Normal(b, a.exp()))
        raise AssertionError("the rest of the program is not run")

    state = torch.get_rng_state()
    parents = normalizer_parents(program, 2.0, ["a", "b", "c"])
    assert parents == {"a": set(), "b": set(), "c": {"a"}}
    assert torch.equal(torch.get_rng_state(), state)


def test_observed_and_deterministic_sites_are_left_alone() -> None:
    def program() -> None:
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.deterministic("twice", 2 * a)
        pyro.sample("x", dist.Normal(a, 1.0), obs=torch.tensor(0.5))

    nodes = poutine.trace(anneal(program, 4.0)).get_trace().nodes
    assert nodes["a"]["fn"].scale == 0.5
    assert nodes["x"]["fn"].scale == 1.0
    assert torch.equal(nodes["twice"]["value"], 2 * nodes["a"]["value"])


def test_what_cannot_be_annealed_is_named() -> None:
    def program() -> None:
        pyro.sample("point", dist.Delta(torch.zeros(())))

    with pytest.raises(ModelError, match=r"site 'point' cannot be annealed: .* got Delta"):
        anneal(program, 2.0)()


def test_a_module_keeps_its_parameters_and_trains() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, shift: float = 0.0) -> Tensor:
            return pyro.sample("z", dist.Normal(shift, self.scale).to_event(1))

    prior = anneal(Learned(), 4.0)
    assert dict(prior.named_parameters()).keys() == {"program.scale"}
    fn = poutine.trace(prior).get_trace(shift=3.0).nodes["z"]["fn"]
    torch.testing.assert_close(fn.mean, torch.full((2,), 3.0))
    vae = VAE(prior, MLPEncoder(3, 2), MLPDecoder(2, 3), size=10)
    estimate = AggregateELBO(alpha=1.0).evaluate(vae.model, vae.guide, torch.randn(5, 3))
    estimate.loss.backward()
    assert prior.program.scale.grad.abs().min() > 0


def test_an_annealed_mixture_is_a_prior_for_every_part_of_an_objective() -> None:
    mixture = dist.MixtureSameFamily(
        SPIKE, dist.Normal(torch.zeros(2, 2), torch.tensor([0.2, 1.0]))
    )

    def prior() -> Tensor:
        return pyro.sample("z", mixture.to_event(1))

    vae = VAE(anneal(prior, 1.5), MLPEncoder(3, 2), MLPDecoder(2, 3), size=5)
    elbo = AggregateELBO(alpha=1.0, divergence=InclusiveKL(20))
    (traces,) = elbo.evaluate(vae.model, vae.guide, torch.randn(5, 3)).pairs
    z, log_pz = traces.prior.draw()
    expected = annealed(mixture.to_event(1), 1.5).log_prob(z["z"])
    torch.testing.assert_close(log_pz, expected)
    total = 1.5 * mixture.to_event(1).log_prob(z["z"]) - log_normalizer(mixture, 1.5).sum()
    torch.testing.assert_close(log_pz, total)


def test_the_power_may_be_set() -> None:
    program = anneal(chain(lambda a: dist.Normal(a, 1.0).to_event(1)), 1.0)
    for beta in (1.0, 4.0, torch.tensor(16.0)):
        program.beta = beta
        scale = poutine.trace(program).get_trace().nodes["a"]["fn"].base_dist.scale
        torch.testing.assert_close(scale, torch.full_like(scale, 1 / float(beta) ** 0.5))
