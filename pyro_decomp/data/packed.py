"""Binary images at a bit a pixel."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.checks import blocks
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.errors import DataError


def packed(data: GroundTruth) -> GroundTruth:
    """The same data, drawn once and kept at a bit a pixel.

    The whole of dSprites, 737,280 images of 64 x 64, takes 360 MiB.

    Args:
        data: Whose images have no other values than 0 and 1.

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
    """Data from the images of the whole grid in its order.

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
    if filled != size:
        raise DataError(f"{name}: expected {size} images, got {filled}")
    sizes = tuple(factors.values())

    def render(values: Int[Tensor, "n factors"]) -> Float[Tensor, "n channels height width"]:
        rows = store[np.ravel_multi_index(tuple(values.numpy().T), sizes)]
        bits = np.unpackbits(rows, axis=1, count=pixels)
        return torch.from_numpy(bits.astype(np.float32)).unflatten(1, image_shape)

    return GroundTruth(name, factors, image_shape, render)
