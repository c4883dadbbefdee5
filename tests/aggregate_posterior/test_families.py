"""Guides that are flows, over pairs: every pair by itself, and a flow that is a Gaussian."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import DIPELBO, VAE, AggregateELBO, ExclusiveKL, InclusiveKL, TotalCorrelationELBO
from pyro_decomp.aggregate_posterior import AggregatePosterior
from pyro_decomp.aggregate_posterior.families import log_prob_of_pairs
from pyro_decomp.elbo import BetaELBO, EntropyRegularizedELBO, TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.networks import MLPDecoder
from tests.example_programs import B, D, K, N, normal_prior

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


class FlowEncoder(nn.Module):
    """A Gaussian that depends on x, through transforms that may too."""

    def __init__(self, transform: Callable[[], nn.Module], *, is_conditional: bool) -> None:
        super().__init__()
        self.loc = nn.Linear(D, K)
        self.transform = transform()
        self.is_conditional = is_conditional

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        base = dist.Normal(self.loc(x), 0.5).to_event(1)
        if self.is_conditional:
            return dist.ConditionalTransformedDistribution(base, [self.transform]).condition(x)
        return dist.TransformedDistribution(base, [self.transform])


FLOWS: dict[str, Callable[[], FlowEncoder]] = {
    "affine autoregressive": lambda: FlowEncoder(
        lambda: T.affine_autoregressive(K), is_conditional=False
    ),
    "spline coupling": lambda: FlowEncoder(lambda: T.spline_coupling(K), is_conditional=False),
    "conditional autoregressive": lambda: FlowEncoder(
        lambda: T.conditional_affine_autoregressive(K, context_dim=D), is_conditional=True
    ),
    "conditional spline": lambda: FlowEncoder(
        lambda: T.conditional_spline(K, context_dim=D), is_conditional=True
    ),
}


@pytest.fixture(params=FLOWS)
def encoder(request: pytest.FixtureRequest) -> FlowEncoder:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.double)
    return FLOWS[request.param]()


@pytest.mark.full(but=["affine autoregressive", "spline coupling"])
def test_every_pair_is_scored_as_by_itself(encoder: FlowEncoder) -> None:
    x, z = torch.randn(B, D), torch.randn(B + 3, K)
    qz_x = encoder(x)
    pairs = log_prob_of_pairs(qz_x, z[:, None])
    each = [[encoder(x[j]).log_prob(sample) for j in range(B)] for sample in z]
    expected = torch.stack([torch.stack(row) for row in each])
    torch.testing.assert_close(pairs, expected, **CLOSE)
    log_qz = AggregatePosterior({"z": qz_x}).log_prob({"z": z})
    torch.testing.assert_close(log_qz, expected.logsumexp(1) - math.log(B), **CLOSE)
    parameters = list(encoder.parameters())
    gradients = [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        for value in (log_qz.sum(), (expected.logsumexp(1)).sum())
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize(
    "elbo",
    [
        BetaELBO(2.0),
        EntropyRegularizedELBO(2.0),
        AggregateELBO(1.0, 2.0, InclusiveKL()),
        AggregateELBO(1.0, 2.0, ExclusiveKL()),
    ],
    ids=["beta", "entropy", "inclusive", "exclusive"],
)
def test_a_flow_that_is_a_gaussian_is_scored_as_one(elbo: TermsELBO) -> None:
    """z = A u + b is Normal with covariance A A^T: the same loss, but for sampled terms."""
    torch.set_default_dtype(torch.double)
    matrix = torch.tensor([[1.0, 0.0], [0.7, 0.6]])
    loc, decoder = nn.Linear(D, K), MLPDecoder(K, D, (5,))

    class Flow(nn.Module):
        def forward(self, x: Tensor) -> dist.TorchDistribution:
            transform = T.LowerCholeskyAffine(torch.zeros(K), matrix)
            base = dist.Normal(loc(x), 0.5).to_event(1)
            return dist.TransformedDistribution(base, [transform])

    class Gaussian(nn.Module):
        def forward(self, x: Tensor) -> dist.TorchDistribution:
            return dist.MultivariateNormal(loc(x) @ matrix.T, scale_tril=0.5 * matrix)

    x, losses = torch.randn(B, D), []
    for encoder in (Flow(), Gaussian()):
        vae = VAE(normal_prior, encoder, decoder, size=N)
        pyro.set_rng_seed(0)
        elbo.analytic_kl = False
        terms = dict(elbo.evaluate(vae.model, vae.guide, x).terms)
        terms["entropy"] = terms.pop("entropy", torch.zeros(()))
        half_log_det = terms.pop("half_log_det", None)
        if half_log_det is not None:
            terms["entropy"] = half_log_det + K * (1 + math.log(2 * math.pi)) / 2
        losses.append(terms)
    assert losses[0].keys() == losses[1].keys()
    sampled = {"entropy"}  # exact for the one, -log q for the other
    for name in losses[0].keys() - sampled:
        torch.testing.assert_close(losses[0][name], losses[1][name], **CLOSE)


def test_what_a_flow_does_not_know_is_refused_in_a_sentence() -> None:
    torch.set_default_dtype(torch.double)
    x = torch.randn(B, D)
    decoder = MLPDecoder(K, D, (5,))
    planar = FlowEncoder(lambda: T.planar(K), is_conditional=False)
    affine = FlowEncoder(lambda: T.affine_autoregressive(K), is_conditional=False)
    for encoder, elbo, message in (
        (planar, AggregateELBO(1.0, 1.0), "no density at samples of other data"),
        (affine, TotalCorrelationELBO(beta=2.0), "marginals of TransformedDistribution over si"),
        (affine, DIPELBO("I", lambda_od=1.0, lambda_d=1.0), "the covariance of the encodings of"),
    ):
        vae = VAE(normal_prior, encoder, decoder, size=N)
        BetaELBO().evaluate(vae.model, vae.guide, x)
        with pytest.raises(ModelError, match=message) as refusal:
            elbo.evaluate(vae.model, vae.guide, x)
        assert "\n" not in str(refusal.value)
