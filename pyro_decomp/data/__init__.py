"""Data sets as tensors, data with known factors and the reading of a user's own; never a model."""

from pyro_decomp.data.batches import Data
from pyro_decomp.data.celeba import Attributes, celeba, celeba_attributes
from pyro_decomp.data.chairs import chairs
from pyro_decomp.data.correlated import chen_table, joint_factors
from pyro_decomp.data.dsprites import dsprites
from pyro_decomp.data.factors import read_with_factors
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.images import image_folder, image_paths
from pyro_decomp.data.mnist import fashion_mnist, fashion_mnist_labels, mnist, mnist_labels
from pyro_decomp.data.pinwheel import pinwheel, pinwheel_labels
from pyro_decomp.data.reading import as_data, as_tensor
from pyro_decomp.data.rendered import heads, scenes, sprites
from pyro_decomp.data.stored import Stored, memory_mapped

__all__ = [
    "Attributes",
    "Data",
    "GroundTruth",
    "Stored",
    "as_data",
    "as_tensor",
    "celeba",
    "celeba_attributes",
    "chairs",
    "chen_table",
    "dsprites",
    "fashion_mnist",
    "fashion_mnist_labels",
    "heads",
    "image_folder",
    "image_paths",
    "joint_factors",
    "memory_mapped",
    "mnist",
    "mnist_labels",
    "pinwheel",
    "pinwheel_labels",
    "read_with_factors",
    "scenes",
    "sprites",
]
