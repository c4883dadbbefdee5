"""What metrics that fit a predictor share: rows that train it, and scikit-learn. Internal."""

from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Int

from pyro_decomp import arguments
from pyro_decomp.errors import DataError


def scikit(module: str) -> Any:
    """Import a module of scikit-learn, which is done where a metric needs it and not before.

    Args:
        module: Its name within ``sklearn``.

    Raises:
        DataError: scikit-learn is not installed.

    >>> scikit("svm").LinearSVC.__name__
    'LinearSVC'
    """
    try:
        return import_module(f"sklearn.{module}")
    except ModuleNotFoundError as error:
        raise DataError(
            "scikit-learn: expected it for this metric, got no such package; "
            "install it with pip install 'pyro-decomp[metrics]'"
        ) from error


def held_out_split(
    num_rows: int, held_out: float, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Draw the rows that train and those that score, as indices.

    Args:
        num_rows: Rows in all.
        held_out: Share of rows that score.
        seed: Of the draw.

    Raises:
        ArgumentError: ``held_out`` is not between 0 and 1.
        DataError: There are fewer than 4 rows for either.

    >>> train, score = held_out_split(12, 1 / 3, seed=0)
    >>> len(train), len(score), len(set(train) | set(score))
    (8, 4, 12)
    """
    arguments.number("(0, 1)", held_out=held_out)
    size = round(float(held_out) * num_rows)
    if min(size, num_rows - size) < 4:
        raise DataError(
            f"codes: expected at least 4 rows to train and 4 to score, got {num_rows - size} "
            f"and {size}"
        )
    order = np.random.default_rng(int(seed)).permutation(num_rows)
    return np.sort(order[size:]), np.sort(order[:size])
