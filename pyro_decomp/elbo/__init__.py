"""Objectives: ELBO subclasses for Pyro's SVI, for torch and for our trainer."""

from pyro_decomp.elbo.aggregate import AggregateELBO
from pyro_decomp.elbo.base import Estimate, TermsELBO

__all__ = ["AggregateELBO", "Estimate", "TermsELBO"]
