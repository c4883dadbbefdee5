"""Distributions that neither torch nor Pyro has."""

from pyro_decomp.distributions.lp_nested import LpNested
from pyro_decomp.distributions.sphere import UniformSphere
from pyro_decomp.distributions.von_mises_fisher import VonMisesFisher

__all__ = ["LpNested", "UniformSphere", "VonMisesFisher"]
