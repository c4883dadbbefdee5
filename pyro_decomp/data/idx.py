"""The IDX format of MNIST and its successors."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.errors import DataError

_UNSIGNED_BYTES = 0x08


def read_idx(path: Path, num_dims: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped if its name ends in ``.gz``.

    The format, big-endian: two zero bytes, a byte for the type of the values, a byte for the number
    of dimensions, four bytes for each dimension, the values.

    Args:
        path: The file.
        num_dims: Dimensions that it must have.

    Raises:
        DataError: The file cannot be read, is of another kind, or its length is not what its header
            says.

    Reference:
        LeCun et al., The MNIST database of handwritten digits, 1998,
        http://yann.lecun.com/exdb/mnist/.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a readable IDX file, got: {error}") from error
    expected = bytes([0, 0, _UNSIGNED_BYTES, num_dims])
    if content[:4] != expected:
        raise DataError(
            f"{path}: expected an IDX file that starts with {expected.hex(' ')}, "
            f"got {content[:4].hex(' ') or 'an empty file'}"
        )
    offset = 4 + 4 * num_dims
    if len(content) < offset:
        raise DataError(f"{path}: expected a header of {offset} bytes, got {len(content)}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", num_dims, offset=4))
    if len(content) - offset != math.prod(shape):
        raise DataError(
            f"{path}: expected {math.prod(shape)} values for shape {shape}, "
            f"got {len(content) - offset}"
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
