"""The annealed prior: its terms, and what it refuses."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_decomp import VAE
from pyro_decomp.elbo.annealed import AnnealedPriorELBO
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from tests.example_programs import (
    PROGRAMS,
    B,
    K,
    N,
    Programs,
    functions,
    hierarchy,
    mixture_prior,
    vae,
)


def test_the_terms_are_those_of_theorem_1() -> None:
    programs = functions()
    estimate = AnnealedPriorELBO(4.0).evaluate(programs.model, programs.guide, programs.x)
    q = estimate.pairs[0].guide.nodes["z"]["fn"]
    f = dist.Normal(torch.zeros(K).double(), 0.5).expand((B, K)).to_event(1)
    p = dist.Normal(torch.zeros(K).double(), 1.0).expand((B, K)).to_event(1)
    expected = {
        "kl": kl_divergence(q, p).mean(),
        "annealed_kl": kl_divergence(q, f).mean(),
        "entropy": q.entropy().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(estimate.terms[name], value)
    log_f = K * (torch.tensor(2 * torch.pi).double().log() * -1.5 - torch.tensor(4.0).log() / 2)
    torch.testing.assert_close(estimate.terms["log_normalizer"], log_f)
    assert AnnealedPriorELBO(4.0).weights() == {
        "log_likelihood": 1,
        "kl": 0,
        "global_kl": -1,
        "annealed_kl": -1,
        "entropy": 3,
        "log_normalizer": 1,
    }


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_at_one_the_terms_are_those_of_the_plain_elbo(name: str) -> None:
    programs = PROGRAMS[name]()
    estimate = AnnealedPriorELBO(1.0).evaluate(programs.model, programs.guide, programs.x)
    torch.testing.assert_close(estimate.objective, estimate.elbo)
    torch.testing.assert_close(estimate.terms["annealed_kl"], estimate.terms["kl"])
    assert abs(estimate.terms["log_normalizer"].item()) < 1e-12


@pytest.mark.parametrize(
    ("name", "analytic_kl", "methods"),
    [
        ("VAE", True, {"z": "analytic"}),
        ("VAE", False, {"z": "Monte Carlo"}),
        ("VAE, mixture prior", True, {"z": "Monte Carlo"}),
        ("two sites, guide in reverse order", True, {"z2": "Monte Carlo", "z1": "analytic"}),
        ("a Delta guide", True, {"z": "Monte Carlo"}),
    ],
)
def test_entropy_methods_tells_which_was_used(
    name: str, analytic_kl: bool, methods: dict[str, str]
) -> None:
    programs = PROGRAMS[name]()
    elbo = AnnealedPriorELBO(2.0, analytic_kl=analytic_kl)
    elbo.evaluate(programs.model, programs.guide, programs.x)
    assert elbo.entropy_methods == methods


def spread_by_parent() -> Programs:
    """z1 sets the scale of z2's prior."""
    plain = hierarchy("mean-field")

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(0.0, z1.exp()).to_event(1))
            pyro.sample("x", dist.Normal(z2.sum(-1, keepdim=True), 1.0).to_event(1), obs=x[:, :1])

    return Programs(model, plain.guide, plain.x)


def spread_by_global() -> Programs:
    """A latent outside the data plate sets the scale of z's prior."""

    def model(x: Tensor) -> None:
        scale = pyro.sample("scale", dist.LogNormal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(3).double(), scale).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("scale", dist.LogNormal(torch.zeros(()).double(), 0.1))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    return Programs(model, guide, torch.ones(B, 3).double())


@pytest.mark.parametrize(
    ("programs", "message"),
    [(spread_by_parent(), "'z2' .* from 'z1'"), (spread_by_global(), "'z' .* from 'scale'")],
    ids=["parent", "global"],
)
def test_a_prior_whose_normaliser_varies_is_refused(programs: Programs, message: str) -> None:
    with pytest.raises(ModelError, match=f"site {message}"):
        AnnealedPriorELBO(2.0).evaluate(programs.model, programs.guide, programs.x)


def test_the_check_costs_no_random_number_and_no_decoder_pass() -> None:
    draws, passes = [], []
    for elbo in (AnnealedPriorELBO(2.0), AnnealedPriorELBO(2.0)):
        programs = hierarchy("mean-field")

        def model(x: Tensor, programs: Programs = programs) -> None:
            programs.model(x)
            passes.append(1)

        for _ in range(2):  # the prior is inspected in the first evaluation only
            pyro.set_rng_seed(6)
            elbo.evaluate(model, programs.guide, programs.x)
            draws.append(torch.rand(1).item())
    assert len(set(draws)) == 1
    assert len(passes) == 4


def test_another_model_is_checked_again() -> None:
    elbo, good, bad = AnnealedPriorELBO(2.0), hierarchy("mean-field"), spread_by_parent()
    elbo.evaluate(good.model, good.guide, good.x)
    with pytest.raises(ModelError, match="computed from 'z1'"):
        elbo.evaluate(bad.model, bad.guide, bad.x)


def heavy(df: float) -> Programs:
    return vae(lambda: pyro.sample("z", dist.StudentT(df, torch.zeros(K).double()).to_event(1)))


def test_a_power_without_a_finite_integral_is_refused() -> None:
    programs = heavy(1.0)
    with pytest.raises(ModelError, match=r"site 'z' cannot be annealed: .* infinite integral"):
        AnnealedPriorELBO(0.5).evaluate(programs.model, programs.guide, programs.x)


def test_a_family_without_a_rule_is_refused() -> None:
    programs = vae(lambda: pyro.sample("z", dist.Gumbel(torch.zeros(K).double(), 1.0).to_event(1)))
    with pytest.raises(ModelError, match=r"site 'z' .* got Gumbel: register"):
        AnnealedPriorELBO(0.5).evaluate(programs.model, programs.guide, programs.x)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_the_power_is_positive(beta: float) -> None:
    with pytest.raises(ValueError, match="beta: expected a positive number, got"):
        AnnealedPriorELBO(beta)


@pytest.mark.parametrize("prior", [mixture_prior, None], ids=["mixture", "Normal"])
def test_it_trains(prior: nn.Module | None) -> None:
    programs = vae(*([prior] if prior else []))
    elbo = AnnealedPriorELBO(1.5)
    svi = pyro.infer.SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.03}), loss=elbo)
    losses = [svi.step(programs.x) for _ in range(25)]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_it_is_an_elbo_for_single_precision_too() -> None:
    spike = dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([[0.8, 0.2]] * K)),
        dist.Normal(torch.zeros(K, 2), torch.tensor([0.05**0.5, 1.0])),
    )
    made = VAE(
        lambda: pyro.sample("z", spike.to_event(1)), MLPEncoder(3, K), MLPDecoder(K, 3), size=N
    )
    elbo: TermsELBO = AnnealedPriorELBO(1.5)
    estimate = elbo.evaluate(made.model, made.guide, torch.randn(B, 3))
    assert {value.dtype for value in estimate.terms.values()} == {torch.float}
