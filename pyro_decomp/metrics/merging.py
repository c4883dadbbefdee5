"""Values of a factor that stand for the same thing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp import arguments
from pyro_decomp.errors import DataError


def merge_levels(factors: object, merged: Mapping[int, Mapping[int, int]]) -> NDArray[Any]:
    r"""Factors in which some values of a column count as another.

    Of dSprites' 40 orientations, spread over [0, 2 pi] with both ends, the first and the last are
    the same image: a code made from images cannot tell them apart, so that no normalised
    information about orientation exceeds 1 - (2/40) ln 2 / ln 40 = 0.9906 while they are two, and
    no classifier is right on more than 39 in 40. ``{3: {39: 0}}`` merges them, where column 3 is
    the orientation. Nothing else coincides on that grid: a square turned by a quarter is 9.75 steps
    away and an ellipse turned by a half 19.5. They do make orientation circular in a quarter or a
    half turn, which no single code follows without a jump; no merging of levels mends that.

    Args:
        factors: [n, k] whole numbers.
        merged: For each column, which value is replaced by which.

    Returns:
        A new array.

    Raises:
        DataError: A column is not there.

    Reference:
        Matthey et al., dSprites, 2017, https://github.com/google-deepmind/dsprites-dataset.

    >>> merge_levels([[0, 39], [1, 7]], {1: {39: 0}}).tolist()
    [[0, 0], [1, 7]]
    """
    arguments.annotated(merge_levels, locals())
    for method in ("detach", "cpu"):
        factors = getattr(factors, method)() if hasattr(factors, method) else factors
    original = np.asarray(factors)
    if original.ndim != 2:
        raise DataError(f"factors: expected an array [n, columns], got shape {original.shape}")
    result = original.copy()
    for column, values in merged.items():
        if not 0 <= column < original.shape[1]:
            raise DataError(f"factors: expected a column {column}, got {original.shape[1]} columns")
        for old, new in values.items():
            result[original[:, column] == old, column] = new
    return result
