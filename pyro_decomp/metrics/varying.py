"""Dimensions of codes that vary, and those that do not."""

import numpy as np
from jaxtyping import Float

from pyro_decomp.errors import DataError


def varying(
    codes: Float[np.ndarray, "n d"], *, least: int, metric: str
) -> tuple[Float[np.ndarray, "n e"], list[int]]:
    """The dimensions that take more than one value, and the positions of the others.

    Args:
        codes: One a row.
        least: How many dimensions must vary for the metric to have a meaning.
        metric: The metric, as errors are to name it.

    Raises:
        DataError: Fewer rows than two, or fewer such dimensions than ``least``.

    >>> varying(np.array([[0.0, 1.0], [0.0, 2.0]]), least=1, metric="irs")[1]
    [0]
    """
    if len(codes) < 2:
        raise DataError(f"codes: expected at least 2 rows for {metric}, got {len(codes)}")
    varies = codes.min(0) < codes.max(0)
    if varies.sum() < least:
        raise DataError(
            f"codes: expected at least {least} of {len(varies)} dimensions to vary for {metric}, "
            f"got {varies.sum()} that do"
        )
    return codes[:, varies], np.flatnonzero(~varies).tolist()


def standardised(
    codes: Float[np.ndarray, "n d"], *, of: Float[np.ndarray, "m d"] | None = None
) -> Float[np.ndarray, "n d"]:
    """Codes of mean 0 and standard deviation 1; a dimension that does not vary is only centred.

    Args:
        codes: One a row.
        of: Rows whose mean and standard deviation they are; the codes themselves by default.

    >>> standardised(np.array([[1.0, 7.0], [3.0, 7.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    rows = codes if of is None else of
    scale = rows.std(0)
    centred: Float[np.ndarray, "n d"] = codes - rows.mean(0)
    return centred / np.where(scale > 0, scale, 1.0)
