"""Families that torch and Pyro lack, densities at any value, and p^beta / F_beta; never a site."""

from pyro_decomp.distributions.generalized_normal import GeneralizedNormal
from pyro_decomp.distributions.lp_nested import LpNested
from pyro_decomp.distributions.sphere import UniformSphere
from pyro_decomp.distributions.von_mises_fisher import VonMisesFisher

__all__ = ["GeneralizedNormal", "LpNested", "UniformSphere", "VonMisesFisher"]
