"""Divergences D(q(z), p(z)) and the density ratios behind some; never the rest of an objective."""

from pyro_decomp.divergences.adversarial import AdversarialDivergence
from pyro_decomp.divergences.base import Divergence, WeightedSum
from pyro_decomp.divergences.covariance import CovariancePenalty
from pyro_decomp.divergences.kernels import RBF, InverseMultiquadratic
from pyro_decomp.divergences.kl import ExclusiveKL, InclusiveKL
from pyro_decomp.divergences.mmd import MMD, DimensionwiseMMD, dimensionwise_mmd, mmd
from pyro_decomp.divergences.wasserstein import (
    EnergyDistance,
    SlicedWasserstein,
    energy_distance,
    sliced_wasserstein,
)

__all__ = [
    "MMD",
    "RBF",
    "AdversarialDivergence",
    "CovariancePenalty",
    "DimensionwiseMMD",
    "Divergence",
    "EnergyDistance",
    "ExclusiveKL",
    "InclusiveKL",
    "InverseMultiquadratic",
    "SlicedWasserstein",
    "WeightedSum",
    "dimensionwise_mmd",
    "energy_distance",
    "mmd",
    "sliced_wasserstein",
]
