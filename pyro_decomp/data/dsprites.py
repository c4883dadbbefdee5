"""dSprites: the file that its authors publish, kept at a bit a pixel."""

import hashlib
import math
import shutil
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.checks import blocks
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.readable import array_header, is_file, refuse_unreadable
from pyro_decomp.data.rendered.sprites import FACTORS
from pyro_decomp.errors import DataError


def packed(data: GroundTruth) -> GroundTruth:
    """The same images, drawn once and kept at a bit a pixel; internal.

    The whole of dSprites, 737,280 images of 64 x 64, takes 360 MiB.

    Args:
        data: Whose images have no other values than 0 and 1.

    Returns:
        The same grid, whose images are unpacked instead of drawn.

    Raises:
        DataError: There are other values.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(packed, locals())
    return from_images(
        data.name,
        dict(zip(data.factor_names, data.factor_sizes, strict=True)),
        data.image_shape,
        (images.numpy() for images in blocks(data.stored())),
    )


def from_images(
    name: str,
    factors: Mapping[str, int],
    image_shape: tuple[int, int, int],
    chunks: Iterable[NDArray[np.float32] | NDArray[np.uint8]],
) -> GroundTruth:
    """A grid of binary images at a bit a pixel, from the images of the whole grid in its order.

    Args:
        name: Of the data set.
        factors: Number of values of each factor by its name, slowest first.
        image_shape: Channels, height and width.
        chunks: Some images each, of 0 and 1.

    Raises:
        DataError: There are other values, or too few or too many images.
    """
    pixels, size = math.prod(image_shape), math.prod(factors.values())
    store = np.empty((size, -(-pixels // 8)), np.uint8)
    filled = 0
    for chunk in chunks:
        flat = chunk.reshape(len(chunk), pixels)
        ones = flat == 1
        if np.count_nonzero(ones) != np.count_nonzero(flat):
            raise DataError(f"{name}: expected images of 0 and 1, got other values")
        rows = store[filled : filled + len(flat)]
        if len(rows) == len(flat):
            rows[:] = np.packbits(ones, axis=1)
        filled += len(flat)
        if filled > size:
            break
    if filled != size:
        raise DataError(f"{name}: expected {size} images, got {filled}")
    sizes = tuple(factors.values())

    def render(values: Int[Tensor, "n factors"]) -> Float[Tensor, "n channels height width"]:
        rows = store[np.ravel_multi_index(tuple(values.numpy().T), sizes)]
        bits = np.unpackbits(rows, axis=1, count=pixels)
        return torch.from_numpy(bits.astype(np.float32)).unflatten(1, image_shape)

    return GroundTruth(name, factors, image_shape, render)


NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
DEFAULT_ROOT = Path("data")
URL = (
    "https://github.com/google-deepmind/dsprites-dataset/raw/"
    f"fa310c66517cfc1939d77fe17c725154efc97127/{NAME}"
)
# The name that git gives the file in that commit: SHA-1 of "blob", its length and its bytes.
BLOB = "d98996d3f8ee1550e06b9d4ed78d0beb478910d5"

_SIDE = 64
_IMAGES_PER_CHUNK = 4096


def dsprites(path: str | PathLike[str] | None = None, *, download: bool = False) -> GroundTruth:
    """The 737,280 binary images of dSprites, 64 x 64, kept at a bit a pixel: 360 MiB.

    Factors and order are those of :func:`pyro_decomp.data.sprites`, which draws a close likeness
    without a file: 3 shapes, 6 scales, 40 orientations, 32 positions x, 32 positions y, last
    fastest. The file's colour, of one value, is left out. Orientations 0 and 39 are one image.

    The images are read a chunk at a time and the metadata, a pickled object, never. That the file
    holds the grid in this order is checked, from its ``latents_classes``.

    Args:
        path: The file, or the folder that holds it under its own name; ``data`` by default.
        download: Fetch the file to where it was looked for, if it is not there. What arrives is
            kept only if its checksum is that of the file in the authors' repository.

    Returns:
        The grid; it keeps the packed images.

    Raises:
        DataError: The file is not there, cannot be fetched, or is not the data.

    Reference:
        Matthey et al., dSprites: disentanglement testing sprites dataset, 2017,
        https://github.com/google-deepmind/dsprites-dataset.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(dsprites, locals())
    file = DEFAULT_ROOT if path is None else Path(path)
    if file.suffix != ".npz":
        file /= NAME
    if not is_file(file):
        if not download:
            raise DataError(
                f"{file}: expected the file of dSprites, got none: fetch it with download=True, "
                f"or from {URL}"
            )
        _download(file)
    return read(file, FACTORS)


def read(file: Path, factors: Mapping[str, int]) -> GroundTruth:
    """Read a file in the layout of dSprites' own.

    Args:
        file: An ``.npz`` file with ``imgs``, uint8 of 0 and 1, shape (images, 64, 64), and
            ``latents_classes``, int64, a row for each image: 0 for the colour, then the factors.
        factors: Number of values of each factor by its name, slowest first.

    Returns:
        The grid; it keeps the packed images.

    Raises:
        DataError: It cannot be read, or holds something else.
    """
    size = math.prod(factors.values())
    with refuse_unreadable(file, "file of dSprites"), zipfile.ZipFile(file) as archive:
        with archive.open("latents_classes.npy") as stream:
            shape = size, 1 + len(factors)
            _expect(file, stream, "latents_classes", shape, np.int64)
            classes = np.frombuffer(stream.read(8 * math.prod(shape)), np.int64).reshape(shape)
        grid = np.stack(np.unravel_index(np.arange(size), (1, *factors.values())), axis=1)
        if not np.array_equal(classes, grid):
            row = int((classes != grid).any(1).argmax())
            raise DataError(
                f"{file}: expected latents_classes in order, the last fastest, got "
                f"{classes[row].tolist()} in row {row}"
            )
        with archive.open("imgs.npy") as stream:
            _expect(file, stream, "imgs", (size, _SIDE, _SIDE), np.uint8)
            return from_images("dsprites", factors, (1, _SIDE, _SIDE), _chunks(stream))


def _expect(
    file: Path, stream: IO[bytes], name: str, shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    """Read the header of an array, and check it; its numbers are next."""
    got, by_column, kind, start = array_header(stream)
    stream.seek(start)
    if got != shape or by_column or kind != dtype:
        raise DataError(
            f"{file}: expected {name} of shape {shape} and type {dtype.__name__}, row by row, "
            f"got shape {got} and type {kind}{', column by column' if by_column else ''}"
        )


def _chunks(stream: IO[bytes]) -> Iterator[NDArray[np.uint8]]:
    pixels = _SIDE * _SIDE
    while content := stream.read(_IMAGES_PER_CHUNK * pixels):
        yield np.frombuffer(content, np.uint8).reshape(-1, _SIDE, _SIDE)


def _download(file: Path) -> None:
    """Fetch the file whole, or leave nothing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=file.parent, prefix=f".{file.stem}.") as folder:
            part = Path(folder) / file.name
            with urllib.request.urlopen(URL, timeout=30.0) as response, part.open("wb") as target:
                shutil.copyfileobj(response, target)
            content = part.read_bytes()
            digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if digest != BLOB:
                raise DataError(
                    f"{file}: expected a file of git blob {BLOB} from {URL}, got {digest}"
                )
            part.replace(file)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: expected to download dSprites from {URL}, got: {error}"
        ) from error
