"""The aggregate posterior q(z) and all that needs pairs of data; never a prior or an objective.

Memory grows as M x D, not M x M x D: pairs are formed a block at a time, and formed again on the
way back instead of being kept.
"""

from pyro_decomp.aggregate_posterior.estimators import Estimator, Exact, PairWeights, pair_weights
from pyro_decomp.aggregate_posterior.families import diagonal_gaussian
from pyro_decomp.aggregate_posterior.mixture import AggregatePosterior, LogDensities
from pyro_decomp.aggregate_posterior.structured import StructuredPosterior, log_prob_over

__all__ = [
    "AggregatePosterior",
    "Estimator",
    "Exact",
    "LogDensities",
    "PairWeights",
    "StructuredPosterior",
    "diagonal_gaussian",
    "log_prob_over",
    "pair_weights",
]
