"""Structured latent spaces: variational autoencoders whose priors are Pyro programs.

Names are imported when they are first asked for, so that ``import pyro_decomp`` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_decomp.amortization import amortization_gap
    from pyro_decomp.annealing import anneal
    from pyro_decomp.divergences import (
        MMD,
        AdversarialDivergence,
        CovariancePenalty,
        DimensionwiseMMD,
        EnergyDistance,
        ExclusiveKL,
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
    from pyro_decomp.evaluation import evaluate
    from pyro_decomp.experiment import Experiment
    from pyro_decomp.generation import intervene, sample_prior, traverse
    from pyro_decomp.latents import codes, log_likelihood, reconstruct
    from pyro_decomp.run import load
    from pyro_decomp.summary import summarize
    from pyro_decomp.training import train
    from pyro_decomp.vae import VAE

    __version__: str

__all__ = [
    "DIPELBO",
    "MMD",
    "VAE",
    "AdversarialDivergence",
    "AggregateELBO",
    "AnnealedPriorELBO",
    "BetaELBO",
    "CapacityELBO",
    "CovariancePenalty",
    "DimensionwiseMMD",
    "EnergyDistance",
    "EntropyRegularizedELBO",
    "ExclusiveKL",
    "Experiment",
    "FactorELBO",
    "GroupedTotalCorrelationELBO",
    "InclusiveKL",
    "InfoELBO",
    "SlicedWasserstein",
    "TermsELBO",
    "TotalCorrelationELBO",
    "WassersteinELBO",
    "__version__",
    "amortization_gap",
    "anneal",
    "codes",
    "evaluate",
    "intervene",
    "load",
    "log_likelihood",
    "reconstruct",
    "sample_prior",
    "summarize",
    "train",
    "traverse",
]

_HOMES = {
    "AdversarialDivergence": "divergences",
    "AggregateELBO": "elbo",
    "AnnealedPriorELBO": "elbo",
    "BetaELBO": "elbo",
    "CapacityELBO": "elbo",
    "CovariancePenalty": "divergences",
    "DIPELBO": "elbo",
    "DimensionwiseMMD": "divergences",
    "EnergyDistance": "divergences",
    "EntropyRegularizedELBO": "elbo",
    "ExclusiveKL": "divergences",
    "Experiment": "experiment",
    "FactorELBO": "elbo",
    "GroupedTotalCorrelationELBO": "elbo",
    "InclusiveKL": "divergences",
    "InfoELBO": "elbo",
    "MMD": "divergences",
    "SlicedWasserstein": "divergences",
    "TermsELBO": "elbo",
    "TotalCorrelationELBO": "elbo",
    "VAE": "vae",
    "WassersteinELBO": "elbo",
    "amortization_gap": "amortization",
    "anneal": "annealing",
    "codes": "latents",
    "evaluate": "evaluation",
    "intervene": "generation",
    "load": "run",
    "log_likelihood": "latents",
    "reconstruct": "latents",
    "sample_prior": "generation",
    "summarize": "summary",
    "train": "training",
    "traverse": "generation",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("pyro-decomp")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
