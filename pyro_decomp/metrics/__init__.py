"""Metrics of codes, of arrays alone, with ground-truth factors and without; never a run."""

from pyro_decomp.metrics.active_units import active_units
from pyro_decomp.metrics.beta_vae import beta_vae_score
from pyro_decomp.metrics.bootstrap import interval
from pyro_decomp.metrics.class_accuracy import knn_accuracy, linear_accuracy
from pyro_decomp.metrics.class_clusters import ari, nmi, silhouette
from pyro_decomp.metrics.dci import completeness, disentanglement
from pyro_decomp.metrics.dci_lasso import dci_lasso
from pyro_decomp.metrics.dci_trees import dci_trees
from pyro_decomp.metrics.density_mig import density_mig
from pyro_decomp.metrics.dependence import squared_wasserstein_dependence, wasserstein_dependence
from pyro_decomp.metrics.divergence_from_prior import divergence_from_prior
from pyro_decomp.metrics.explicitness import explicitness
from pyro_decomp.metrics.factor_vae import factor_vae_score
from pyro_decomp.metrics.irs import irs
from pyro_decomp.metrics.maximal_information import mean_maximal_mutual_information
from pyro_decomp.metrics.merging import merge_levels
from pyro_decomp.metrics.mig import mig
from pyro_decomp.metrics.modularity import modularity
from pyro_decomp.metrics.mutual_information import mutual_information
from pyro_decomp.metrics.normal_scores import normal_scores
from pyro_decomp.metrics.overlap import effective_sharing, index_code_information
from pyro_decomp.metrics.report import report
from pyro_decomp.metrics.sap import sap
from pyro_decomp.metrics.score import Score
from pyro_decomp.metrics.sparsity import hoyer, hoyer_sparsity
from pyro_decomp.metrics.total_correlation import gaussian_total_correlation, total_correlation
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
    "hoyer",
    "hoyer_sparsity",
    "index_code_information",
    "interval",
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
