"""The objectives, as a table: one a row, and each gets every law of ``test_base.py``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_decomp.divergences import (
    MMD,
    RBF,
    AdversarialDivergence,
    EnergyDistance,
    InclusiveKL,
    SlicedWasserstein,
)
from pyro_decomp.elbo import (
    DIPELBO,
    AggregateELBO,
    AnnealedPriorELBO,
    BetaELBO,
    CapacityELBO,
    EntropyRegularizedELBO,
    FactorELBO,
    GroupedTotalCorrelationELBO,
    InfoELBO,
    TermsELBO,
    TotalCorrelationELBO,
    WassersteinELBO,
)
from pyro_decomp.networks import Discriminator
from tests.example_programs import PROGRAMS, D, K, N, Programs, batch, vae

# Tracing is the base's own and one row has all the programs; of the others, these tell.
FEW = (
    "VAE",
    "VAE, learned prior",
    "VAE, Laplace guide",
    "VAE, Laplace guide, mixture prior",
    "PyroModules",
    "two sites",
)
ONE_SITE = tuple(name for name in FEW if name != "two sites")  # a discriminator of K dimensions


@dataclass(frozen=True)
class Objective:
    """How to build an objective, and what the laws need to know of it.

    Attributes:
        build: The class.
        settings: Arguments with which every term counts.
        weights: The numbers among them that a schedule may set.
        others: For every argument there is, another value than that of ``settings``.
        neutral: What makes of these settings the plain ELBO; None if nothing does.
        program: With which every argument counts; takes ``size``, the N of its plate.
        programs: The others that the laws are checked with.
        refused: Programs that it cannot score with ``settings``, and what it then says.
        alone: What it says of a batch of one datum, if it refuses that.
        of_num_data: Terms that depend on N, rightly.
        only_logged: Arguments that change the plain ELBO that is logged, but not the loss.
        of_auxiliaries: Arguments of networks trained beside the objective, that leave the loss be.
    """

    build: Callable[..., TermsELBO]
    settings: Mapping[str, Any]
    weights: tuple[str, ...]
    others: Mapping[str, Any]
    neutral: Mapping[str, Any] | None
    program: Callable[..., Programs] = vae
    programs: tuple[str, ...] = FEW
    refused: Mapping[str, str] = field(default_factory=dict)
    alone: str | None = None
    of_num_data: frozenset[str] = frozenset()
    only_logged: frozenset[str] = frozenset()
    of_auxiliaries: frozenset[str] = frozenset()

    def __call__(self, **settings: Any) -> TermsELBO:
        """With ``settings``, but for these."""
        return self.build(**{**self.settings, **settings})

    def plain(self, **settings: Any) -> TermsELBO:
        """With the settings of the plain ELBO."""
        return self(**(self.neutral or {}), **settings)


def two_parts(size: int = N) -> Programs:
    """Two latent sites a datum, independent under the prior."""
    encoding = torch.randn(2, D, K, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            prior = dist.Normal(torch.zeros(K, dtype=torch.double), 1.0).to_event(1)
            z = sum(pyro.sample(name, prior) @ w.T for name, w in zip("uv", encoding, strict=True))
            pyro.sample("x", dist.Normal(z, 0.8).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        weights = pyro.param("encoding", encoding.clone())
        with pyro.plate("data", size, subsample=x):
            for name, weight in zip("uv", weights, strict=True):
                pyro.sample(name, dist.Normal(x @ weight, 0.5).to_event(1))

    return Programs(model, guide, batch())


def discriminator(seed: int) -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Discriminator(K, hidden=(4,)).double()


ANY = {"num_particles": 2, "analytic_kl": False}  # what every objective takes
OWN_OPTIMIZER = {"optimizer": torch.optim.SGD}
FIRST, SECOND = discriminator(1), discriminator(2)

AUXILIARY = {"an auxiliary site": "the guide's auxiliary site 'u' has no density in the model"}
# The encodings' own means and covariances are not known where sites depend on one another.
STRUCTURED = AUXILIARY | {
    "two sites, guide in the model's order": "'z1', 'z2' depend on one another, so that the cov",
    "two sites, guide in reverse order": "'z2', 'z1' depend on one another, so that the covari",
}
# A divergence of the dimensions, DWKL, needs a prior that is the product of its own.
NOT_FACTORISED = {
    "VAE, mixture prior": "MixtureSameFamily, is not a product over dimensions",
    "VAE, Laplace guide, mixture prior": "MixtureSameFamily, is not a product over dimensions",
    "two sites": "site 'z2': its prior depends on 'z1'",
    "two sites, guide in the model's order": "site 'z2': its prior depends on 'z1'",
    "two sites, guide in reverse order": "site 'z2': its prior depends on 'z1'",
}
NO_DENSITY = {"a Delta guide": "site 'z' is a Delta, of which q.z. has no density"}
A_PAIR = "expected at least 2 data in a batch, got 1"

OBJECTIVES = {
    "AggregateELBO": Objective(
        AggregateELBO,
        settings={"beta": 0.5, "alpha": 2.0},
        weights=("beta", "alpha"),
        others=ANY | {"beta": 0.7, "alpha": 3.0, "divergence": InclusiveKL(num_samples=9)},
        neutral={"beta": 1.0, "alpha": 0.0},
        programs=tuple(PROGRAMS),
        refused=AUXILIARY | NO_DENSITY,
    ),
    "AggregateELBO, a sum": Objective(
        AggregateELBO,
        settings={
            "beta": 0.5,
            "alpha": 2.0,
            "divergence": InclusiveKL() + 0.5 * MMD() + 2 * SlicedWasserstein(),
        },
        weights=("beta", "alpha"),
        others=ANY | {"beta": 0.7, "alpha": 3.0, "divergence": InclusiveKL() + MMD()},
        neutral={"beta": 1.0, "alpha": 0.0},
        refused=AUXILIARY | NO_DENSITY,
        alone=A_PAIR,
    ),
    "AnnealedPriorELBO": Objective(
        AnnealedPriorELBO,
        settings={"beta": 2.0},
        weights=("beta",),
        others=ANY | {"beta": 0.5},
        neutral={"beta": 1.0},
    ),
    "BetaELBO": Objective(
        BetaELBO,
        settings={"beta": 2.0},
        weights=("beta",),
        others=ANY | {"beta": 0.5},
        neutral={"beta": 1.0},
    ),
    "CapacityELBO": Objective(
        CapacityELBO,
        settings={"gamma": 3.0, "capacity": 0.3},
        weights=("gamma", "capacity"),
        others=ANY | {"gamma": 5.0, "capacity": 0.2},
        neutral={"gamma": 1.0, "capacity": 0.0},
    ),
    "DIPELBO I": Objective(
        DIPELBO,
        settings={"kind": "I", "lambda_od": 2.0, "lambda_d": 3.0},
        weights=("lambda_od", "lambda_d"),
        others=ANY | {"kind": "II", "lambda_od": 4.0, "lambda_d": 5.0},
        neutral={"lambda_od": 0.0, "lambda_d": 0.0},
        refused=STRUCTURED,
        alone=A_PAIR,
        of_num_data=frozenset({"off_diagonal", "diagonal"}),
    ),
    "DIPELBO II": Objective(
        DIPELBO,
        settings={"kind": "II", "lambda_od": 2.0, "lambda_d": 3.0},
        weights=("lambda_od", "lambda_d"),
        others=ANY | {"kind": "I", "lambda_od": 4.0, "lambda_d": 5.0},
        neutral={"lambda_od": 0.0, "lambda_d": 0.0},
        refused=STRUCTURED,
        alone=A_PAIR,
        of_num_data=frozenset({"off_diagonal", "diagonal"}),
    ),
    "EntropyRegularizedELBO": Objective(
        EntropyRegularizedELBO,
        settings={"beta": 2.0},
        weights=("beta",),
        others=ANY | {"beta": 0.5},
        neutral={"beta": 1.0},
    ),
    "FactorELBO": Objective(
        FactorELBO,
        settings={"gamma": 5.0, "discriminator": FIRST},
        weights=("gamma",),
        others=ANY | OWN_OPTIMIZER | {"gamma": 7.0, "discriminator": SECOND},
        neutral={"gamma": 0.0},
        programs=ONE_SITE,
        of_auxiliaries=frozenset(OWN_OPTIMIZER),
    ),
    "GroupedTotalCorrelationELBO": Objective(
        GroupedTotalCorrelationELBO,
        settings={"alpha": 0.5, "between": 2.0, "within": 3.0, "gamma": 0.8},
        weights=("alpha", "between", "within", "gamma"),
        others=ANY
        | {"alpha": 0.7, "between": 4.0, "within": 5.0, "gamma": 0.6, "estimator": "weighted"},
        neutral=dict.fromkeys(("alpha", "between", "within", "gamma"), 1.0),
        program=two_parts,
        refused=AUXILIARY | NOT_FACTORISED | NO_DENSITY,
        of_num_data=frozenset(
            {
                "mutual_information",
                "between_total_correlation",
                "within_total_correlation",
                "dimensionwise_kl",
            }
        ),
    ),
    "InfoELBO": Objective(
        InfoELBO,
        settings={"alpha": 0.2, "lambda_": 3.0},
        weights=("alpha", "lambda_"),
        others=ANY | {"alpha": 0.5, "lambda_": 4.0, "divergence": EnergyDistance()},
        neutral={"alpha": 0.0, "lambda_": 1.0},
        alone=A_PAIR,
    ),
    "TotalCorrelationELBO": Objective(
        TotalCorrelationELBO,
        settings={"alpha": 0.5, "beta": 2.0, "gamma": 0.8},
        weights=("alpha", "beta", "gamma"),
        others=ANY | {"alpha": 0.7, "beta": 4.0, "gamma": 0.6, "estimator": "weighted"},
        neutral=dict.fromkeys(("alpha", "beta", "gamma"), 1.0),
        refused=AUXILIARY | NOT_FACTORISED | NO_DENSITY,
        of_num_data=frozenset({"mutual_information", "total_correlation", "dimensionwise_kl"}),
    ),
    "WassersteinELBO": Objective(
        WassersteinELBO,
        settings={"lambda_": 10.0},
        weights=("lambda_",),
        others=ANY | {"lambda_": 5.0, "divergence": MMD(RBF())},
        neutral=None,
        alone=A_PAIR,
        only_logged=frozenset({"analytic_kl"}),
    ),
    "WassersteinELBO, adversarial": Objective(
        WassersteinELBO,
        settings={"lambda_": 10.0, "divergence": AdversarialDivergence(FIRST, "js")},
        weights=("lambda_",),
        others=ANY | {"lambda_": 5.0, "divergence": AdversarialDivergence(SECOND, "js")},
        neutral=None,
        programs=ONE_SITE,
        only_logged=frozenset({"analytic_kl"}),
    ),
}
