"""Metrics of codes, of arrays alone, with ground-truth factors and without; never a run."""

from pyro_decomp.metrics.arrays import merge_levels
from pyro_decomp.metrics.class_accuracy import knn_accuracy, linear_accuracy
from pyro_decomp.metrics.class_clusters import ari, nmi, silhouette
from pyro_decomp.metrics.dci import completeness, dci_lasso, dci_trees, disentanglement
from pyro_decomp.metrics.density_mig import density_mig
from pyro_decomp.metrics.dependence import (
    gaussian_total_correlation,
    squared_wasserstein_dependence,
    total_correlation,
    wasserstein_dependence,
)
from pyro_decomp.metrics.divergence_from_prior import divergence_from_prior
from pyro_decomp.metrics.explicitness import explicitness
from pyro_decomp.metrics.fixed_factor import beta_vae_score, factor_vae_score
from pyro_decomp.metrics.irs import irs
from pyro_decomp.metrics.mig import mean_maximal_mutual_information, mig
from pyro_decomp.metrics.modularity import modularity
from pyro_decomp.metrics.mutual_information import mutual_information
from pyro_decomp.metrics.normal_scores import normal_scores
from pyro_decomp.metrics.overlap import effective_sharing, index_code_information
from pyro_decomp.metrics.report import report
from pyro_decomp.metrics.sap import sap
from pyro_decomp.metrics.score import Score
from pyro_decomp.metrics.sparsity import active_units, hoyer_sparsity
from pyro_decomp.metrics.udr import udr

__all__ = [
    "Score",
    "active_units",
    "ari",
    "beta_vae_score",
    "completeness",
    "dci_lasso",
    "dci_trees",
    "density_mig",
    "disentanglement",
    "divergence_from_prior",
    "effective_sharing",
    "explicitness",
    "factor_vae_score",
    "gaussian_total_correlation",
    "hoyer_sparsity",
    "index_code_information",
    "irs",
    "knn_accuracy",
    "linear_accuracy",
    "mean_maximal_mutual_information",
    "merge_levels",
    "mig",
    "modularity",
    "mutual_information",
    "nmi",
    "normal_scores",
    "report",
    "sap",
    "silhouette",
    "squared_wasserstein_dependence",
    "total_correlation",
    "udr",
    "wasserstein_dependence",
]
