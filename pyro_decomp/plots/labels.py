"""What pictures of latents share: names, information, order, checked tables. Internal."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError

MINUS = "\N{MINUS SIGN}"


def named(argument: str, names: Sequence[str] | None, size: int, symbol: str = "z") -> list[str]:
    """Check names, or make symbols counted from one.

    >>> named("names", None, 2)
    ['$z_{1}$', '$z_{2}$']
    """
    if names is None:
        return [f"${symbol}_{{{i + 1}}}$" for i in range(size)]
    if isinstance(names, str) or len(names) != size:
        got = repr(names) if isinstance(names, str) else str(len(names))
        raise ArgumentError(f"{argument}: expected {size} names, got {got}")
    return [str(name) for name in names]


def table(name: str, values: ArrayLike) -> Float[np.ndarray, "n columns"]:
    """Check a table of finite numbers with at least one row and one column."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise ArgumentError(f"{name}: expected shape (n, d) with n, d >= 1, got {array.shape}")
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name}: expected finite numbers, got some that are not")
    return array


def classes_of(
    name: str, values: ArrayLike, size: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " n"]]:
    """Check a whole number for each of so many data.

    Returns:
        The different numbers in order, and each datum's place among them.
    """
    numbers = np.asarray(values)
    if numbers.shape != (size,) or numbers.dtype.kind not in "iub":
        raise ArgumentError(
            f"{name}: expected {size} whole numbers, got {numbers.dtype} of shape {numbers.shape}"
        )
    different, members = np.unique(numbers.astype(np.int64), return_inverse=True)
    return different, members


def nats(information: ArrayLike | None, size: int) -> Float[np.ndarray, " latents"] | None:
    """Check the information of each latent; None where none is given."""
    if information is None:
        return None
    amounts = np.asarray(information, dtype=np.float64)
    if amounts.shape != (size,):
        raise ArgumentError(f"information: expected shape ({size},), got {amounts.shape}")
    if not np.isfinite(amounts).all():
        raise ArgumentError("information: expected finite numbers, got some that are not")
    return amounts


def falling(
    amounts: Float[np.ndarray, " latents"] | None, size: int, most: int | None = None
) -> Int[np.ndarray, " rows"]:
    """The latents from the greatest amount down, equal ones in their order; at most ``most``.

    >>> falling(np.array([0.1, 2.0, 0.1, 3.0]), 4, most=3).tolist()
    [3, 1, 0]
    """
    arguments.whole(**arguments.given(most=most))
    order = np.arange(size) if amounts is None else np.argsort(-amounts, kind="stable")
    return order[:most]


def labelled(
    names: Sequence[str],
    information: Float[np.ndarray, " latents"] | None,
    order: Int[np.ndarray, " rows"],
    between: str = "  ",
) -> list[str]:
    """Names in the order drawn, with the information in nats after each where it is known."""
    if information is None:
        return [names[i] for i in order]
    return [f"{names[i]}{between}{signed(f'{information[i]:.2f}')} nats" for i in order]


def rounded(values: Float[np.ndarray, " n"]) -> list[str]:
    """Numbers with the fewest decimals that are off by at most a fiftieth of their least gap.

    >>> rounded(np.array([0.0, 1.0, 2.0]))
    ['0', '1', '2']
    >>> rounded(np.array([0.0, 1.28]))
    ['0.0', '1.3']
    """
    gaps = np.abs(np.diff(np.unique(values)))
    allowed = 0.02 * float(gaps.min() if len(gaps) else np.abs(values).max())
    decimals = next((k for k in range(3) if np.abs(values.round(k) - values).max() <= allowed), 2)
    return [signed(f"{value:.{decimals}f}") for value in values]


def signed(number: str) -> str:
    """A printed number with a true minus sign, and without a sign where it is zero.

    >>> signed("-0.00"), signed("-1.5") == MINUS + "1.5"
    ('0.00', True)
    """
    bare = number.removeprefix("-")
    return bare if float(bare) == 0 else number.replace("-", MINUS)


def width_of(words: Sequence[str]) -> float:
    """About the width in inches of the longest line, in the small letters of tick labels."""
    plain = str.maketrans("", "", "${}_")
    lines = [line for word in words for line in word.split("\n")]
    return 0.062 * max((len(line.translate(plain)) for line in lines), default=0)
