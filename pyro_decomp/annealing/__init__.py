"""Annealed densities p^beta / F_beta and their normalisers, for distributions and whole priors.

Closed forms and numeric normalisers are found by the distribution's family, as torch finds its
closed forms of the KL; :func:`register_annealed` adds one.
"""

from pyro_decomp.annealing import closed_forms, wrappers  # noqa: F401 - they register families
from pyro_decomp.annealing.generalized_normal import GeneralizedNormal
from pyro_decomp.annealing.mixture import AnnealedMixture
from pyro_decomp.annealing.parents import normalizer_parents
from pyro_decomp.annealing.program import AnnealedProgram, anneal
from pyro_decomp.annealing.registry import (
    annealed,
    annealed_with_normalizer,
    log_normalizer,
    register_annealed,
)

__all__ = [
    "AnnealedMixture",
    "AnnealedProgram",
    "GeneralizedNormal",
    "anneal",
    "annealed",
    "annealed_with_normalizer",
    "log_normalizer",
    "normalizer_parents",
    "register_annealed",
]
