"""The public names: what a user may import, and later versions keep."""

import subprocess
import sys
from importlib import import_module
from inspect import isclass
from types import ModuleType

import pytest

import pyro_decomp

# Run folders keep the text of their experiment files: a name that goes from here breaks old runs.
PUBLIC: dict[str, str] = {
    "pyro_decomp": """
        AdversarialDivergence AggregateELBO AnnealedPriorELBO BetaELBO CapacityELBO
        CovariancePenalty DIPELBO DimensionwiseMMD EnergyDistance EntropyRegularizedELBO Exact
        ExclusiveKL Execution Experiment FactorELBO GroupedTotalCorrelationELBO InclusiveKL
        InfoELBO Interrupted MMD SVI SlicedWasserstein TermsELBO TotalCorrelationELBO TracePair VAE
        WassersteinELBO __version__ amortization_gap anneal codes compare evaluate intervene
        load log_likelihood parameter_groups reconstruct sample_prior summarize sweep train
        traverse
    """,
    "pyro_decomp.aggregate_posterior": """
        AggregatePosterior Estimator Exact LogDensities PairWeights StructuredPosterior
        diagonal_gaussian log_prob_over pair_weights
    """,
    "pyro_decomp.callbacks": """
        BestCheckpoint CSVLog Callback EarlyStopping GradientNorms HeldOut LearningRate MLflow
        Progress TensorBoard Training
    """,
    "pyro_decomp.data": """
        Attributes Data GroundTruth Stored as_data as_tensor celeba celeba_attributes chairs
        chen_table dsprites fashion_mnist fashion_mnist_labels heads image_folder image_paths
        joint_factors memory_mapped mnist mnist_labels pinwheel pinwheel_labels
        read_with_factors scenes sprites
    """,
    "pyro_decomp.distributions": """
        GeneralizedNormal LpNested UniformSphere VonMisesFisher
    """,
    "pyro_decomp.divergences": """
        AdversarialDivergence CovariancePenalty DimensionwiseMMD Divergence EnergyDistance
        ExclusiveKL InclusiveKL InverseMultiquadratic MMD RBF SlicedWasserstein WeightedSum
        dimensionwise_mmd energy_distance mmd sliced_wasserstein
    """,
    "pyro_decomp.elbo": """
        AggregateELBO AnnealedPriorELBO BetaELBO CapacityELBO DIPELBO EntropyRegularizedELBO
        Estimate FactorELBO GroupedTotalCorrelationELBO InfoELBO PyroELBO TermsELBO
        TotalCorrelationELBO WassersteinELBO permute_dims
    """,
    "pyro_decomp.metrics": """
        Score active_units ari beta_vae_score completeness dci_lasso dci_trees density_mig
        disentanglement divergence_from_prior effective_sharing explicitness factor_vae_score
        gaussian_total_correlation hoyer_sparsity index_code_information irs knn_accuracy
        linear_accuracy mean_maximal_mutual_information merge_levels mig modularity
        mutual_information nmi normal_scores report sap silhouette
        squared_wasserstein_dependence total_correlation udr wasserstein_dependence
    """,
    "pyro_decomp.networks": """
        ConvDecoder32 ConvEncoder32 Discriminator FacesConvDecoder FacesConvEncoder MLPDecoder
        MLPEncoder NormalMLP SpritesConvDecoder SpritesConvEncoder SpritesMLPDecoder
        SpritesMLPEncoder
    """,
    "pyro_decomp.plots": """
        Boxes DensityPanel Points TradeOff aggregate_density box_plots code_magnitudes
        codes_against_factors contact_sheet density_grid encodings mutual_information
        prior_samples reconstructions save save_animation scatter terms_over_steps trade_offs
        traversal_frames traversals
    """,
    "pyro_decomp.priors": """
        AnisotropicNormal AutoregressiveFlow BottomUpEncoder EnumeratedGaussianMixture
        EnumeratedNestedClusters FactorisedFlow GaussianMixture Hierarchical
        IndependentSubspaces IsotropicNormal Laplace NestedClusters SpikeAndSlab StudentT
        TopDownEncoder UniformSphere VampPrior VonMisesFisher
    """,
    "pyro_decomp.sweep": """
        Combination Comparison MeanInterval Plan SweepInterrupted SweepProgress compare
        mean_interval read_table sweep
    """,
    "pyro_decomp.errors": """
        ArgumentError DataError DecompError DiskError ExperimentError ModelError NonFiniteError
        OutOfMemoryError RunError
    """,
    "pyro_decomp.schedules": """
        Capacity Constant Cosine Cyclical Exponential Linear Ramp Schedule Sequence
        UnfinishedScheduleWarning
    """,
}


def offered(module: ModuleType) -> set[str]:
    """The list of a package; of a file the classes that are defined in it."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    return {
        name
        for name, each in vars(module).items()
        if isclass(each) and each.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_these(name: str) -> None:
    module = import_module(name)
    assert offered(module) == set(PUBLIC[name].split())
    assert all(getattr(module, each) is not None for each in PUBLIC[name].split())


@pytest.mark.full
def test_sweep_is_the_package_whatever_was_imported_before() -> None:
    from_package = "from pyro_decomp import sweep; assert callable(sweep.sweep); "
    for before in ("", "import pyro_decomp.sweep.table; "):
        subprocess.run(
            [sys.executable, "-c", before + from_package + "assert sweep.compare"], check=True
        )
    assert pyro_decomp.compare is pyro_decomp.sweep.compare
