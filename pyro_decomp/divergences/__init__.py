"""Divergences D(q(z), p(z)) between the aggregate posterior and the prior."""

from pyro_decomp.divergences.base import Divergence
from pyro_decomp.divergences.kl import InclusiveKL

__all__ = ["Divergence", "InclusiveKL"]
