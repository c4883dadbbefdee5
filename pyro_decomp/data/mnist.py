"""MNIST: 70,000 grey pictures of handwritten digits."""

from os import PathLike

from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.data.mnist_files import MnistFiles

_FILES = MnistFiles("MNIST", "MNIST")


def mnist(
    root: str | PathLike[str] | None = None,
    *,
    train: bool = True,
    size: int = 32,
    limit: int | None = None,
    download: bool = False,
) -> Float[Tensor, "images 1 size size"]:
    """MNIST as one tensor of grey levels in [0, 1].

    Resized once, bilinearly, from the 28 by 28 pixels of the files.

    Args:
        root: A folder that holds the four IDX files, gzipped or not, or torchvision's root, where
            they lie in ``MNIST/raw``; ``data`` by default.
        train: The 60,000 training images, or else the 10,000 of the test set.
        size: Height and width of the result.
        limit: Take only the first so many images; all by default.
        download: Let torchvision fetch the files into ``root`` if they are not there.

    Raises:
        DataError: The files are not there, cannot be fetched, or are damaged.

    Reference:
        LeCun et al., Gradient-based learning applied to document recognition, 1998, section III,
        https://doi.org/10.1109/5.726791.
    """
    return _FILES.images(root, train=train, size=size, limit=limit, download=download)


def mnist_labels(
    root: str | PathLike[str] | None = None,
    *,
    train: bool = True,
    limit: int | None = None,
    download: bool = False,
) -> Int[Tensor, " images"]:
    """The digit, 0 to 9, on each image of :func:`mnist`.

    Args:
        root: As for the images.
        train: As for the images.
        limit: As for the images.
        download: As for the images.

    Raises:
        DataError: As for the images.
    """
    return _FILES.labels(root, train=train, limit=limit, download=download)
