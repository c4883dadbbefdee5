"""The decomposition objective: what its two weights mean."""

import pyro
import pytest
import torch

from pyro_decomp import AggregateELBO, InclusiveKL
from tests.example_programs import B, Programs, mixture_prior, vae


@pytest.fixture
def programs() -> Programs:
    return vae(mixture_prior)


def terms(elbo: AggregateELBO, programs: Programs) -> dict[str, float]:
    pyro.set_rng_seed(1)
    with torch.no_grad():
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    return {name: value.item() for name, value in estimate.terms.items()}


def test_it_is_equation_7(programs: Programs) -> None:
    elbo = AggregateELBO(beta=0.3, alpha=4.0)
    found = terms(elbo, programs)
    pyro.set_rng_seed(1)
    with torch.no_grad():
        objective = elbo.evaluate(programs.model, programs.guide, programs.x).objective.item()
    expected = found["log_likelihood"] - 0.3 * found["kl"] - 4.0 * found["divergence"]
    assert objective == pytest.approx(expected, rel=1e-12)


def test_the_likelihood_and_the_kl_are_those_of_the_model_by_hand(programs: Programs) -> None:
    elbo = AggregateELBO()
    pyro.set_rng_seed(1)
    with torch.no_grad():
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        (pair,) = estimate.pairs
        z = pair.guide.nodes["z"]["value"]
        vae = programs.model.__self__
        log_px_z = vae.decoder(z).log_prob(programs.x)
        locs = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]]).double()
        squares = (z[:, None] - locs).square().sum(-1)  # one density a component, not a dimension
        log_pz = (-squares / 0.06).exp().mean(-1).log() - torch.tensor(2 * torch.pi * 0.03).log()
        kl = vae.encoder(programs.x).log_prob(z) - log_pz
    torch.testing.assert_close(estimate.terms["log_likelihood"], log_px_z.mean())
    torch.testing.assert_close(estimate.terms["kl"], kl.mean(), rtol=1e-6, atol=0)


def test_weights_do_not_reach_into_the_terms(programs: Programs) -> None:
    expected = terms(AggregateELBO(beta=1.0, alpha=1.0), programs)
    for beta, alpha in [(0.0, 1.0), (0.5, 8.0), (2.0, 0.1)]:
        assert terms(AggregateELBO(beta=beta, alpha=alpha), programs) == expected


def test_the_divergence_is_not_computed_at_alpha_zero(programs: Programs) -> None:
    assert terms(AggregateELBO(), programs).keys() == {"log_likelihood", "kl"}
    after_plain = torch.rand(1)
    assert terms(AggregateELBO(alpha=1.0), programs).keys() == {
        "log_likelihood",
        "kl",
        "divergence",
    }
    assert torch.rand(1) != after_plain  # the divergence drew from the prior
    elbo = AggregateELBO(alpha=torch.tensor(0.0))  # a schedule that starts at zero keeps the term
    assert "divergence" in terms(elbo, programs)


def test_the_divergence_averages_over_particles(programs: Programs) -> None:
    elbo = AggregateELBO(alpha=1.0, num_particles=3)
    pyro.set_rng_seed(1)
    with torch.no_grad():
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        after = torch.get_rng_state()
        pyro.set_rng_seed(1)
        pairs = list(elbo.trace_pairs(programs.model, programs.guide, programs.x))
        single = [elbo.divergence(pair) for pair in pairs]
    assert torch.equal(torch.get_rng_state(), after)
    assert len({value.item() for value in single}) == 3
    torch.testing.assert_close(estimate.terms["divergence"], torch.stack(single).mean())
    assert all(pair.batch_size == B for pair in pairs)


def test_a_wrong_divergence_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"expected a Divergence such as InclusiveKL\(\), got 'mmd'"
    ):
        AggregateELBO(divergence="mmd")
    with pytest.raises(TypeError, match="expected a Divergence"):
        AggregateELBO(divergence=InclusiveKL)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_weights_are_finite_and_not_negative(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a finite number of at least 0"):
        AggregateELBO(**{name: weight})
