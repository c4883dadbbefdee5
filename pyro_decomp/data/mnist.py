"""MNIST and Fashion-MNIST: 70,000 grey pictures each, from their four IDX files."""

import gzip
import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from pyro_decomp import arguments
from pyro_decomp.data.readable import is_file, refuse_larger, refuse_unreadable
from pyro_decomp.errors import DataError

_UNSIGNED_BYTES = 0x08


def read_idx(path: Path, num_dims: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped if its name ends in ``.gz``.

    The format, big-endian: two zero bytes, a byte for the type of the values, a byte for the number
    of dimensions, four bytes for each dimension, the values.

    Raises:
        DataError: The file cannot be read, is of another kind, or its length is not what its header
            says.

    Reference:
        LeCun et al., The MNIST database of handwritten digits, 1998,
        http://yann.lecun.com/exdb/mnist/.
    """
    offset = 4 + 4 * num_dims
    expected = bytes([0, 0, _UNSIGNED_BYTES, num_dims])
    opened = gzip.open if path.suffix == ".gz" else open
    with refuse_unreadable(path, "IDX file"), opened(path, "rb") as file:
        start = file.read(offset)
        if start[:4] != expected:
            raise DataError(
                f"{path}: expected an IDX file that starts with {expected.hex(' ')}, "
                f"got {start[:4].hex(' ') or 'an empty file'}"
            )
        if len(start) < offset:
            raise DataError(f"{path}: expected a header of {offset} bytes, got {len(start)}")
        shape = tuple(int(n) for n in np.frombuffer(start, ">u4", num_dims, offset=4))
        size = math.prod(shape)
        if not size:
            raise DataError(f"{path}: expected at least one value, got shape {shape}")
        refuse_larger(f"{path}: an array of shape {shape}", size, "fetch the file again")
        content = file.read(size + 1)
    if len(content) != size:
        got = len(content) if len(content) < size else "more"
        raise DataError(f"{path}: expected {size} values for shape {shape}, got {got}")
    return np.frombuffer(content, np.uint8).reshape(shape)


DEFAULT_ROOT = Path("data")
_IMAGES_PER_CHUNK = 4096


@dataclass(frozen=True)
class MnistFiles:
    """Where the four files of MNIST or a successor are, and how to come by them; internal.

    Attributes:
        name: For messages.
        torchvision_name: Of torchvision's class, whose folder and addresses are used.
        debian_folder: Where a package of Debian's puts the files, if there is one.
        debian_package: That package.
    """

    name: str
    torchvision_name: str
    debian_folder: Path | None = None
    debian_package: str | None = None

    def images(
        self,
        root: str | PathLike[str] | None,
        *,
        train: bool,
        size: int,
        limit: int | None,
        download: bool,
    ) -> Float[Tensor, "images 1 size size"]:
        """Read the images; arguments, result and errors are those of :func:`mnist`."""
        with arguments.raised_as(DataError):
            arguments.whole(size=size, **arguments.given(limit=limit))
        path = self._locate("images-idx3-ubyte", root, train=train, download=download)
        return _resized(read_idx(path, num_dims=3)[:limit], size)

    def labels(
        self,
        root: str | PathLike[str] | None,
        *,
        train: bool,
        limit: int | None,
        download: bool,
    ) -> Int[Tensor, " images"]:
        """Read the labels; arguments, result and errors are those of :func:`mnist_labels`."""
        with arguments.raised_as(DataError):
            arguments.whole(**arguments.given(limit=limit))
        path = self._locate("labels-idx1-ubyte", root, train=train, download=download)
        return torch.from_numpy(read_idx(path, num_dims=1)[:limit].astype(np.int64))

    def _locate(
        self, kind: str, root: str | PathLike[str] | None, *, train: bool, download: bool
    ) -> Path:
        with arguments.raised_as(DataError):
            arguments.path(**arguments.given(root=root))
            arguments.flag(train=train, download=download)
        name = f"{'train' if train else 't10k'}-{kind}"
        roots = [Path(root)] if root is not None else self._default_roots()
        path = self._find(name, roots)
        if path is None and download:
            self._download(roots[0])
            path = self._find(name, roots)
        if path is None:
            package = self.debian_package
            install = f" or install Debian's package {package}" if package else ""
            raise DataError(
                f"expected {name} or {name}.gz of {self.name}, got neither in "
                f"{' nor '.join(str(folder) for folder in roots)}: let it be downloaded with "
                f"download=True (`--set download=true`){install}"
            )
        return path

    def _default_roots(self) -> list[Path]:
        return [DEFAULT_ROOT] + ([self.debian_folder] if self.debian_folder else [])

    def _find(self, name: str, roots: list[Path]) -> Path | None:
        folders = [folder for root in roots for folder in (self._raw(root), root)]
        paths = [folder / f"{name}{ending}" for folder in folders for ending in ("", ".gz")]
        return next((path for path in paths if is_file(path)), None)

    def _raw(self, root: Path) -> Path:
        return root / self.torchvision_name / "raw"

    def _download(self, root: Path) -> None:
        from torchvision import datasets  # noqa: PLC0415 (slow to import, rarely needed)

        try:
            getattr(datasets, self.torchvision_name)(str(root), download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{root}: expected to download {self.name} there, got: {reason}"
            ) from error


def _resized(images: NDArray[np.uint8], size: int) -> Tensor:
    resized = torch.empty(len(images), 1, size, size)
    for start in range(0, len(images), _IMAGES_PER_CHUNK):
        rows = slice(start, start + _IMAGES_PER_CHUNK)
        chunk = torch.from_numpy(images[rows].astype(np.float32)).unsqueeze(1) / 255.0
        if chunk.shape[-2:] != (size, size):
            chunk = interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        resized[rows] = chunk.clamp_(0.0, 1.0)
    return resized


_MNIST = MnistFiles("MNIST", "MNIST")


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

    Returns:
        The images, float32 in [0, 1].

    Raises:
        DataError: The files are not there, cannot be fetched, or are damaged.

    Reference:
        LeCun et al., Gradient-based learning applied to document recognition, 1998, section III,
        https://doi.org/10.1109/5.726791.
    """
    return _MNIST.images(root, train=train, size=size, limit=limit, download=download)


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

    Returns:
        The digits, int64.

    Raises:
        DataError: As for the images.
    """
    return _MNIST.labels(root, train=train, limit=limit, download=download)


DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FASHION = MnistFiles("Fashion-MNIST", "FashionMNIST", DEBIAN_FOLDER, "dataset-fashion-mnist")


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

    Returns:
        The images, float32 in [0, 1].

    Raises:
        DataError: The files are not there, cannot be fetched, or are damaged.

    Reference:
        Xiao et al., Fashion-MNIST: a novel image dataset for benchmarking machine learning
        algorithms, 2017, https://arxiv.org/abs/1708.07747.
    """
    return _FASHION.images(root, train=train, size=size, limit=limit, download=download)


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

    Returns:
        The classes, int64.

    Raises:
        DataError: As for the images.
    """
    return _FASHION.labels(root, train=train, limit=limit, download=download)
