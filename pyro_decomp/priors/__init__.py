"""Ready-made priors, short Pyro programs to use, copy and change; never an objective or data.

Each is a module that samples its site and returns what the decoder takes. It is run inside the
data plate by :class:`~pyro_decomp.VAE`, so it says nothing of data or batch. What is fixed is a
buffer, what is learned a parameter.
"""

from pyro_decomp.priors.flow import AutoregressiveFlow, FactorisedFlow
from pyro_decomp.priors.gaussian_mixture import EnumeratedGaussianMixture, GaussianMixture
from pyro_decomp.priors.hierarchical import BottomUpEncoder, Hierarchical, TopDownEncoder
from pyro_decomp.priors.hypersphere import UniformSphere, VonMisesFisher
from pyro_decomp.priors.independent import (
    AnisotropicNormal,
    IsotropicNormal,
    Laplace,
    SpikeAndSlab,
    StudentT,
)
from pyro_decomp.priors.nested_clusters import EnumeratedNestedClusters, NestedClusters
from pyro_decomp.priors.subspaces import IndependentSubspaces
from pyro_decomp.priors.vamp import VampPrior

__all__ = [
    "AnisotropicNormal",
    "AutoregressiveFlow",
    "BottomUpEncoder",
    "EnumeratedGaussianMixture",
    "EnumeratedNestedClusters",
    "FactorisedFlow",
    "GaussianMixture",
    "Hierarchical",
    "IndependentSubspaces",
    "IsotropicNormal",
    "Laplace",
    "NestedClusters",
    "SpikeAndSlab",
    "StudentT",
    "TopDownEncoder",
    "UniformSphere",
    "VampPrior",
    "VonMisesFisher",
]
