"""DIP-VAE: its two penalties by hand, its kinds, and their weights."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyro_decomp.divergences.covariance import CovariancePenalty
from pyro_decomp.elbo import AggregateELBO
from pyro_decomp.elbo.dip import DIPELBO
from tests.divergences.sites import encoded, three_sites

LOC = torch.tensor([[0.1, 2.0], [-0.3, 1.0], [1.5, 0.2], [0.4, -2.0]], dtype=torch.double)
SCALE = torch.tensor([[0.5, 1.0], [0.2, 0.3], [1.1, 0.7], [0.9, 0.4]], dtype=torch.double)


def loss(*args: object, **kwargs: object) -> float:
    torch.manual_seed(0)
    return DIPELBO(*args, **kwargs).loss(*encoded(dist.Normal(LOC, SCALE).to_event(1)))


@pytest.mark.parametrize("kind", ["I", "II"])
def test_its_terms_by_hand(kind: str) -> None:
    c = np.cov(LOC.T.numpy(), ddof=0)
    if kind == "II":
        c = c + np.diag((SCALE.numpy() ** 2).mean(0))  # nothing off the diagonal
    elbo = DIPELBO(kind, lambda_od=3.0, lambda_d=0.5)
    estimate = elbo.evaluate(*encoded(dist.Normal(LOC, SCALE).to_event(1)))
    assert estimate.terms["off_diagonal"].item() == pytest.approx(2 * c[0, 1] ** 2, rel=1e-12)
    diagonal = (c[0, 0] - 1) ** 2 + (c[1, 1] - 1) ** 2
    assert estimate.terms["diagonal"].item() == pytest.approx(diagonal, rel=1e-12)
    expected = estimate.elbo - 3 * estimate.terms["off_diagonal"] - 0.5 * diagonal
    assert torch.allclose(estimate.objective, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["I", "II"])
def test_it_is_the_elbo_and_a_divergence(kind: str) -> None:
    elbos = (
        DIPELBO(kind, lambda_od=2.0, lambda_d=0.5),
        AggregateELBO(alpha=1.0, divergence=CovariancePenalty(kind, lambda_od=2.0, lambda_d=0.5)),
    )
    programs = three_sites()
    losses = []
    for elbo in elbos:
        torch.manual_seed(0)
        losses.append(elbo.loss(*programs))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_without_weights_it_is_the_elbo() -> None:
    torch.manual_seed(0)
    plain = AggregateELBO().loss(*encoded(dist.Normal(LOC, SCALE).to_event(1)))
    assert loss("I", lambda_od=0.0, lambda_d=0.0) == plain


def test_every_argument_changes_the_loss() -> None:
    settings = {"kind": "I", "lambda_od": 3.0, "lambda_d": 2.0}
    others = {
        "kind": "II",
        "lambda_od": 4.0,
        "lambda_d": 5.0,
        "num_particles": 2,
        "analytic_kl": False,
    }
    losses = [loss(**settings | {name: value}) for name, value in others.items()]
    assert len({loss(**settings), *losses}) == 6
