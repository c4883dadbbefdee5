"""Fashion-MNIST: 70,000 grey pictures of clothes in ten classes."""

from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from pyro_decomp.data.idx import read_idx
from pyro_decomp.errors import DataError

DEFAULT_ROOT = Path("data")
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_IMAGES_PER_CHUNK = 4096


def fashion_mnist(
    root: str | PathLike[str] | None = None,
    *,
    train: bool = True,
    size: int = 32,
    limit: int | None = None,
    download: bool = False,
) -> Float[Tensor, "images 1 size size"]:
    """Fashion-MNIST as one tensor of grey levels in [0, 1].

    Resized once, bilinearly, from the 28 by 28 pixels of the files.

    Args:
        root: A folder that holds the four IDX files, gzipped or not, or torchvision's root, where
            they lie in ``FashionMNIST/raw``. By default ``data``, then where Debian's package
            ``dataset-fashion-mnist`` puts them.
        train: The 60,000 training images, or else the 10,000 of the test set.
        size: Height and width of the result.
        limit: Take only the first so many images; all by default.
        download: Let torchvision fetch the files into ``root`` if they are not there.

    Raises:
        DataError: The files are not there, cannot be fetched, or are damaged.

    Reference:
        Xiao et al., Fashion-MNIST: a novel image dataset for benchmarking machine learning
        algorithms, 2017, https://arxiv.org/abs/1708.07747.
    """
    _check_positive("size", size)
    path = _locate("images-idx3-ubyte", root, train=train, download=download)
    return _resized(_first(read_idx(path, num_dims=3), limit), size)


def fashion_mnist_labels(
    root: str | PathLike[str] | None = None,
    *,
    train: bool = True,
    limit: int | None = None,
    download: bool = False,
) -> Int[Tensor, " images"]:
    """The class, 0 to 9, of each image of :func:`fashion_mnist`.

    Args:
        root: As for the images.
        train: As for the images.
        limit: As for the images.
        download: As for the images.

    Raises:
        DataError: As for the images.
    """
    path = _locate("labels-idx1-ubyte", root, train=train, download=download)
    return torch.from_numpy(_first(read_idx(path, num_dims=1), limit).astype(np.int64))


def _locate(kind: str, root: str | PathLike[str] | None, *, train: bool, download: bool) -> Path:
    name = f"{'train' if train else 't10k'}-{kind}"
    roots = [DEFAULT_ROOT, DEBIAN_FOLDER] if root is None else [Path(root)]
    path = _find(name, roots)
    if path is None and download:
        _download(roots[0])
        path = _find(name, roots)
    if path is None:
        raise DataError(
            f"expected {name} or {name}.gz of Fashion-MNIST, got neither in "
            f"{' nor '.join(str(folder) for folder in roots)}: let it be downloaded with "
            "download=True (`--set download=true`) or install Debian's package "
            "dataset-fashion-mnist"
        )
    return path


def _find(name: str, roots: list[Path]) -> Path | None:
    folders = [folder for root in roots for folder in (root / "FashionMNIST" / "raw", root)]
    paths = [folder / f"{name}{ending}" for folder in folders for ending in ("", ".gz")]
    return next((path for path in paths if path.is_file()), None)


def _download(root: Path) -> None:
    from torchvision.datasets import FashionMNIST  # noqa: PLC0415 (slow to import, rarely needed)

    try:
        FashionMNIST(str(root), download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{root}: expected to download Fashion-MNIST there, got: {reason}"
        ) from error


def _first(values: NDArray[np.uint8], limit: int | None) -> NDArray[np.uint8]:
    if limit is not None:
        _check_positive("limit", limit)
    return values[:limit]


def _resized(images: NDArray[np.uint8], size: int) -> Tensor:
    resized = torch.empty(len(images), 1, size, size)
    for start in range(0, len(images), _IMAGES_PER_CHUNK):
        rows = slice(start, start + _IMAGES_PER_CHUNK)
        chunk = torch.from_numpy(images[rows].astype(np.float32)).unsqueeze(1) / 255.0
        if chunk.shape[-2:] != (size, size):
            chunk = interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        resized[rows] = chunk.clamp_(0.0, 1.0)
    return resized


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise DataError(f"{name}: expected a positive whole number, got {value}")
