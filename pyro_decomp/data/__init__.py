"""Data sets as tensors, and the reading of a user's own. Stands alone."""

from pyro_decomp.data.arrays import as_tensor
from pyro_decomp.data.fashion_mnist import fashion_mnist, fashion_mnist_labels
from pyro_decomp.data.pinwheel import pinwheel, pinwheel_labels

__all__ = [
    "as_tensor",
    "fashion_mnist",
    "fashion_mnist_labels",
    "pinwheel",
    "pinwheel_labels",
]
