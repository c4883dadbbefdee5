"""The mean code of every latent at every value of one factor, or of two together."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

#: More different values than these cannot be told apart in a picture.
VALUES = 200


@dataclass(frozen=True)
class Levels:
    """The different values of one factor in order, and each datum's place among them."""

    values: Float[np.ndarray, " values"]
    members: Int[np.ndarray, " n"]


def levels(name: str, factor: Float[np.ndarray, " n"], most: int = VALUES) -> Levels:
    """The different values of a factor, at most ``most`` of them."""
    values, members = np.unique(factor, return_inverse=True)
    if len(values) > most:
        raise ValueError(
            f"factor {name!r}: expected at most {most} different values, got {len(values)}"
        )
    return Levels(values, members)


def mean_over(
    codes: Float[np.ndarray, "n latents"], *factors: Levels
) -> Float[np.ndarray, "latents ..."]:
    """Mean codes at every combination of the factors' values; not a number where there are none.

    >>> factor = levels("f", np.array([3.0, 3.0, 7.0]))
    >>> mean_over(np.array([[1.0], [2.0], [5.0]]), factor)
    array([[1.5, 5. ]])
    """
    shape = tuple(len(factor.values) for factor in factors)
    cells = np.ravel_multi_index(tuple(factor.members for factor in factors), shape)
    size = int(np.prod(shape))
    counts = np.bincount(cells, minlength=size)
    sums = np.stack([np.bincount(cells, weights=code, minlength=size) for code in codes.T])
    with np.errstate(invalid="ignore"):
        return (sums / counts).reshape(len(sums), *shape)


def spread_over(
    codes: Float[np.ndarray, "n latents"], factor: Levels
) -> Float[np.ndarray, "latents values"]:
    """Standard deviation of the codes at each value of a factor."""
    centred = codes - mean_over(codes, factor)[:, factor.members].T
    return np.sqrt(mean_over(centred**2, factor))
