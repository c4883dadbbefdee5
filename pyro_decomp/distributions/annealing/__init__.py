"""Annealed densities p^beta / F_beta of distributions, and their normalisers.

Closed forms and numeric normalisers are found by the distribution's family, as torch finds its
closed forms of the KL; :func:`register_annealed` adds one.
"""

from pyro_decomp.distributions.annealing import closed_forms  # noqa: F401 - it registers families
from pyro_decomp.distributions.annealing.mixture import AnnealedMixture
from pyro_decomp.distributions.annealing.registry import (
    annealed,
    annealed_with_normalizer,
    log_normalizer,
    register_annealed,
)

__all__ = [
    "AnnealedMixture",
    "annealed",
    "annealed_with_normalizer",
    "log_normalizer",
    "register_annealed",
]
