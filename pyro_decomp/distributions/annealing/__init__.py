"""Annealed densities p^beta / F_beta of distributions, and their normalisers.

Closed forms and numeric normalisers are found by the distribution's family, as torch finds its
closed forms of the KL; :func:`register_annealed` adds one.
"""

from pyro_decomp.distributions.annealing import closed_forms, wrappers  # noqa: F401 - they register families
from pyro_decomp.distributions.annealing.generalized_normal import GeneralizedNormal
from pyro_decomp.distributions.annealing.mixture import AnnealedMixture
from pyro_decomp.distributions.annealing.registry import (
    annealed,
    annealed_with_normalizer,
    log_normalizer,
    register_annealed,
)

__all__ = [
    "AnnealedMixture",
    "GeneralizedNormal",
    "annealed",
    "annealed_with_normalizer",
    "log_normalizer",
    "register_annealed",
]
