"""Objectives, as ELBO subclasses for SVI, torch and the trainer; never an optimiser's step."""

from pyro_decomp.elbo.aggregate import AggregateELBO
from pyro_decomp.elbo.annealed import AnnealedPriorELBO
from pyro_decomp.elbo.base import Estimate, TermsELBO
from pyro_decomp.elbo.beta import BetaELBO
from pyro_decomp.elbo.capacity import CapacityELBO
from pyro_decomp.elbo.dip import DIPELBO
from pyro_decomp.elbo.entropy import EntropyRegularizedELBO
from pyro_decomp.elbo.factor import FactorELBO, permute_dims
from pyro_decomp.elbo.grouped import GroupedTotalCorrelationELBO
from pyro_decomp.elbo.info import InfoELBO
from pyro_decomp.elbo.pyro_elbo import PyroELBO
from pyro_decomp.elbo.total_correlation import TotalCorrelationELBO
from pyro_decomp.elbo.wasserstein import WassersteinELBO

__all__ = [
    "DIPELBO",
    "AggregateELBO",
    "AnnealedPriorELBO",
    "BetaELBO",
    "CapacityELBO",
    "EntropyRegularizedELBO",
    "Estimate",
    "FactorELBO",
    "GroupedTotalCorrelationELBO",
    "InfoELBO",
    "PyroELBO",
    "TermsELBO",
    "TotalCorrelationELBO",
    "WassersteinELBO",
    "permute_dims",
]
