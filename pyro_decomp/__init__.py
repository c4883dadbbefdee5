"""Structured latent spaces: variational autoencoders whose priors are Pyro programs.

Names are imported when they are first asked for, so that ``import pyro_decomp`` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_decomp import sweep
    from pyro_decomp.acceleration import Execution
    from pyro_decomp.aggregate_posterior import Exact
    from pyro_decomp.analysis.amortization import amortization_gap
    from pyro_decomp.analysis.evaluation import evaluate
    from pyro_decomp.analysis.generation import intervene, sample_prior, traverse
    from pyro_decomp.analysis.latents import codes, log_likelihood, reconstruct
    from pyro_decomp.analysis.summary import summarize
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
    from pyro_decomp.programs.annealed_program import anneal
    from pyro_decomp.programs.traces import TracePair
    from pyro_decomp.programs.vae import VAE
    from pyro_decomp.sweep.comparison import compare
    from pyro_decomp.training.experiment import Experiment
    from pyro_decomp.training.interruption import Interrupted
    from pyro_decomp.training.optimizers import parameter_groups
    from pyro_decomp.training.run import load
    from pyro_decomp.training.svi.svi import SVI
    from pyro_decomp.training.training import train

    __version__: str

__all__ = [
    "DIPELBO",
    "MMD",
    "SVI",
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
    "Exact",
    "ExclusiveKL",
    "Execution",
    "Experiment",
    "FactorELBO",
    "GroupedTotalCorrelationELBO",
    "InclusiveKL",
    "InfoELBO",
    "Interrupted",
    "SlicedWasserstein",
    "TermsELBO",
    "TotalCorrelationELBO",
    "TracePair",
    "WassersteinELBO",
    "__version__",
    "amortization_gap",
    "anneal",
    "codes",
    "compare",
    "evaluate",
    "intervene",
    "load",
    "log_likelihood",
    "parameter_groups",
    "reconstruct",
    "sample_prior",
    "summarize",
    "sweep",
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
    "Exact": "aggregate_posterior",
    "ExclusiveKL": "divergences",
    "Execution": "acceleration",
    "Experiment": "training.experiment",
    "FactorELBO": "elbo",
    "GroupedTotalCorrelationELBO": "elbo",
    "InclusiveKL": "divergences",
    "InfoELBO": "elbo",
    "Interrupted": "training.interruption",
    "MMD": "divergences",
    "SVI": "training.svi.svi",
    "SlicedWasserstein": "divergences",
    "TermsELBO": "elbo",
    "TotalCorrelationELBO": "elbo",
    "TracePair": "programs.traces",
    "VAE": "programs.vae",
    "WassersteinELBO": "elbo",
    "amortization_gap": "analysis.amortization",
    "anneal": "programs.annealed_program",
    "codes": "analysis.latents",
    "compare": "sweep.comparison",
    "evaluate": "analysis.evaluation",
    "intervene": "analysis.generation",
    "load": "training.run",
    "log_likelihood": "analysis.latents",
    "parameter_groups": "training.optimizers",
    "reconstruct": "analysis.latents",
    "sample_prior": "analysis.generation",
    "summarize": "analysis.summary",
    "train": "training.training",
    "traverse": "analysis.generation",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("pyro-decomp")
    if name == "sweep":  # the package, whose function of that name is `sweep.sweep`
        return import_module(f"{__name__}.sweep")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
