"""What every ready-made prior has to be: a density, drawn as it is scored, and movable."""

import copy

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions.testing.gof import auto_goodness_of_fit
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from pyro_decomp import MMD, AggregateELBO, ExclusiveKL, TotalCorrelationELBO
from pyro_decomp.distributions.densities import is_factorised
from pyro_decomp.errors import ModelError
from pyro_decomp.priors import VampPrior
from tests.priors.priors import (
    IN,
    PRIORS,
    B,
    Prior,
    continuous,
    draw,
    latent_sites,
    log_density,
    plane,
    sphere,
)
from tests.statistics import assert_mean

# Pyro's p-values over the nearest neighbours of vectors are too small, since neighbours share their
# distances: those of 400 draws of 10,000 Normal points went down to 4e-8.
NEIGHBOUR_FAILURE = 1e-12


@pytest.fixture(params=PRIORS, autouse=True)
def row(request: pytest.FixtureRequest) -> Prior:
    torch.set_default_dtype(torch.double)
    return PRIORS[request.param]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, IN)


def has_discrete_sites(prior: nn.Module) -> bool:
    sites = latent_sites(prior)
    return len(continuous(sites)) < len(sites)


@pytest.mark.full(
    but=["VampPrior", "isotropic", "von Mises-Fisher", "enumerated mixture", "nested clusters"]
)
def test_the_density_integrates_to_one(row: Prior) -> None:
    points, weights = sphere() if row.sphere else plane()
    with torch.no_grad():
        total = log_density(row(), points).exp() @ weights
    assert total.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_samples_fit_the_density(row: Prior) -> None:
    prior = row()
    with torch.no_grad():
        z = draw(prior, 10_000)
        fit = auto_goodness_of_fit(z, log_density(prior, z).exp(), dim=2)
    assert fit > NEIGHBOUR_FAILURE


@pytest.mark.full(
    but=["VampPrior", "isotropic", "von Mises-Fisher", "enumerated mixture", "nested clusters"]
)
def test_samples_have_the_characteristic_function_of_the_density(row: Prior) -> None:
    points, weights = sphere() if row.sphere else plane()
    prior = row()
    with torch.no_grad():
        z = draw(prior, 10_000)
        probabilities = log_density(prior, points).exp() * weights
    frequencies = torch.tensor([[0.5, 0.2, 0.1], [-1.0, 0.8, 1.5], [1.5, 2.5, -1.0], [4, -3, 2]])
    for wave in (torch.cos, torch.sin):
        values, expected = (wave(at @ frequencies[:, : z.shape[1]].T) for at in (z, points))
        assert_mean(values, probabilities @ expected)


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_it_moves_to_another_device(row: Prior, x: Tensor) -> None:
    """A tensor left behind cannot be combined with one on the meta device."""
    if not row.meta:
        pytest.skip("the meta device knows no nonzero(), on which Pyro's splines rely")
    vae = row.vae()
    values = {name: s["value"].to("meta") for name, s in latent_sites(vae.model, x).items()}
    vae.to("meta")
    with pyro.validation_enabled(False), poutine.condition(data=values):
        trace = poutine.trace(vae.model).get_trace(x.to("meta"))
        for name in values:
            site = trace.nodes[name]
            assert site["fn"].log_prob(site["value"]).is_meta


def test_it_moves_to_another_precision(row: Prior, x: Tensor) -> None:
    """A tensor left behind would make all that it meets double again."""
    vae = row.vae().float()
    for name, site in latent_sites(vae.model, x.float()).items():
        assert site["value"].dtype in (torch.float, torch.long), name
        assert site["fn"].log_prob(site["value"]).dtype == torch.float, name


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_all_that_it_uses_is_in_its_state(row: Prior, x: Tensor) -> None:
    vae = row.vae()
    other = copy.deepcopy(vae)
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.data = torch.ones_like(tensor)
    other.load_state_dict(vae.state_dict())
    points = draw(vae.prior, 5)
    assert torch.equal(log_density(other.prior, points), log_density(vae.prior, points))


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_every_parameter_gets_a_gradient(row: Prior) -> None:
    prior = row()
    parameters = dict(prior.named_parameters())
    log_p = log_density(prior, draw(prior, 50).detach()).sum()
    assert log_p.requires_grad == bool(parameters or isinstance(prior, VampPrior))
    if parameters:
        log_p.backward()
    for name, parameter in parameters.items():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_the_plate_gives_every_datum_its_own(row: Prior, x: Tensor) -> None:
    vae = row.vae()
    sites = latent_sites(vae.model, x)
    assert all(site["fn"].batch_shape == (B,) for site in sites.values())
    z = torch.cat([site["value"] for site in continuous(sites).values()], -1)
    assert len(z.unique(dim=0)) == B
    if not has_discrete_sites(vae.prior):
        joint = sum(site["fn"].log_prob(site["value"]) for site in sites.values())
        torch.testing.assert_close(joint, log_density(vae.prior, z))


def test_what_it_says_of_its_sampler_is_so(row: Prior) -> None:
    prior = row()
    sites = continuous(latent_sites(prior)).values()
    assert all(site["fn"].has_rsample for site in sites) == row.reparametrised
    if row.reparametrised and list(prior.parameters()):
        assert draw(prior, 2).requires_grad


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_a_product_over_dimensions_is_known_as_one(row: Prior, x: Tensor) -> None:
    vae = row.vae()
    (*_, last) = latent_sites(vae.prior).values()
    elbo = TotalCorrelationELBO(beta=3.0)
    if row.factorised:
        assert is_factorised(last["fn"])
        elbo.loss_and_grads(vae.model, vae.guide, x)
        assert all(parameter.grad.abs().sum() > 0 for parameter in vae.prior.parameters())
    elif not has_discrete_sites(vae.prior):
        with pytest.raises(ModelError):
            elbo.loss(vae.model, vae.guide, x)


@pytest.mark.full(but=["VampPrior", "isotropic", "autoregressive flow", "enumerated mixture"])
def test_it_is_trained_with_the_plain_elbo(row: Prior, x: Tensor) -> None:
    vae = row.vae()
    elbo = TraceEnum_ELBO if has_discrete_sites(vae.prior) else Trace_ELBO
    elbo(max_plate_nesting=1).loss_and_grads(vae.model, vae.guide, x)
    assert all(parameter.grad.abs().sum() > 0 for parameter in vae.parameters())


@pytest.mark.full(but=["VampPrior", "isotropic", "factorised flow", "enumerated mixture"])
def test_it_is_trained_with_a_divergence(row: Prior, x: Tensor) -> None:
    vae = row.vae()
    if not has_discrete_sites(vae.prior):
        divergence = MMD() if row.reparametrised else ExclusiveKL()
        elbo = AggregateELBO(beta=0.0, alpha=1.0, divergence=divergence)
        elbo.loss_and_grads(vae.model, vae.guide, x)
        assert all(parameter.grad.abs().sum() > 0 for parameter in vae.prior.parameters())
