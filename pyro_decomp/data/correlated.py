"""Factors drawn from other distributions than the uniform: unequal, dependent, correlated."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.errors import DataError


def joint_factors(
    data: GroundTruth,
    tables: Mapping[Sequence[str], ArrayLike | Tensor],
    n: int,
    *,
    seed: int = 0,
) -> Int[Tensor, "n factors"]:
    """Draw values of all factors, some of them jointly from tables, with replacement.

    Factors in no table are uniform and independent of all others, and so is one table's draw of
    another's. A cell of probability 0 is never drawn.

    Args:
        data: Whose factors they are.
        tables: For one factor, or several in any order, the probability of each combination of
            their values, or weights in proportion to it: an array with an axis for each.
        n: Number of rows.
        seed: Of this draw alone; the global generator is left as it was.

    Returns:
        A row of values for each draw, int64, to be given to :meth:`GroundTruth.stored`.

    Raises:
        DataError: A factor is unknown or in two tables, a table's shape is not that of its factors,
            or it is no distribution; or ``n`` is negative.

    >>> from pyro_decomp.data.rendered.sprites import sprites
    >>> factors = joint_factors(sprites(), {("x", "y"): torch.eye(32)}, 1000)
    >>> bool((factors[:, 3] == factors[:, 4]).all())
    True
    """
    with arguments.raised_as(DataError):
        arguments.annotated(joint_factors, locals(), n=0, seed=0)
    generator = torch.Generator().manual_seed(int(seed))
    uniform = [torch.randint(size, (n,), generator=generator) for size in data.factor_sizes]
    factors = torch.stack(uniform, dim=1)
    drawn: set[str] = set()
    for names, table in tables.items():
        columns = [_column(data, name, drawn) for name in names]
        weights = _weights(names, table, [data.factor_sizes[k] for k in columns])
        cumulative = weights.flatten().cumsum(0)
        levels = cumulative[-1] * torch.rand(n, generator=generator, dtype=torch.float64)
        cells = torch.searchsorted(cumulative, levels, right=True)
        cells.clamp_(max=int(weights.flatten().nonzero()[-1]))  # a level rounded up to the sum
        values = torch.unravel_index(cells, weights.shape)
        for k, value in zip(columns, values, strict=True):
            factors[:, k] = value
    return factors


def chen_table(
    configuration: str, rows: int, columns: int, *, ratio: float = 4.0
) -> Float[Tensor, "rows columns"]:
    r"""The joint distribution of two factors in one of Chen's four configurations.

    With the values of each factor spread evenly over :math:`u, v \in [-1, 1]`,

    .. math::
        p_A \propto 1, \quad
        p_B \propto r^{u/4} \, r^{v/4}, \quad
        p_C \propto 1 + c_C \, f(u) f(v), \quad
        p_D \propto 1 + c_D \, s(u) s(v)

    where :math:`f` is :math:`u^2` less its mean, :math:`s` the sign, and each :math:`c` such that
    the likeliest cell is :math:`r` times the rarest. So A is uniform; in B the factors are
    independent and each has unequal marginals; C and D have uniform marginals, with factors that
    are dependent but uncorrelated in C, and correlated in D: by 0.45 for many values and
    :math:`r = 4`.

    The paper shows its four tables as a picture only, with :math:`r = 4`: these have the properties
    that it names, not its cells.

    Args:
        configuration: "A", "B", "C" or "D".
        rows: Values of the first factor.
        columns: Values of the second.
        ratio: :math:`r`.

    Returns:
        Probabilities in float64.

    Raises:
        DataError: The configuration is another, the ratio is not above 1, or a factor has fewer
            than two values (three for C, since :math:`f = 0` for two).

    Reference:
        Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018, section
        6.1 and figure 5a, https://arxiv.org/abs/1802.04942.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(chen_table, locals())
        arguments.one_of(_SHAPES, configuration=configuration)
        arguments.number("(1, inf)", ratio=ratio)
        arguments.whole(3 if configuration == "C" else 2, rows=rows, columns=columns)
    u, v = (
        torch.arange(1 - size, size, 2, dtype=torch.float64) / (size - 1)  # 0 is met exactly
        for size in (rows, columns)
    )
    table = _SHAPES[configuration](u[:, None], v, ratio)
    return table / table.sum()


def _interaction(product: Tensor, ratio: float) -> Tensor:
    """``1 + c product``, whose largest value is ``ratio`` times its least."""
    most, least = product.max(), product.min()
    return 1.0 + (ratio - 1.0) / (most - ratio * least) * product


_SHAPES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "A": lambda u, v, ratio: torch.ones_like(u * v),
    "B": lambda u, v, ratio: ratio ** ((u + v) / 4.0),
    "C": lambda u, v, ratio: _interaction(
        (u.square() - u.square().mean()) * (v.square() - v.square().mean()), ratio
    ),
    "D": lambda u, v, ratio: _interaction(u.sign() * v.sign(), ratio),
}


def _column(data: GroundTruth, name: str, drawn: set[str]) -> int:
    if name not in data.factor_names:
        names = ", ".join(data.factor_names)
        raise DataError(f"tables: expected factors among {names}, got {name!r}")
    if name in drawn:
        raise DataError(f"tables: expected each factor once, got {name!r} twice")
    drawn.add(name)
    return data.factor_names.index(name)


def _weights(names: Sequence[str], table: ArrayLike | Tensor, sizes: list[int]) -> Tensor:
    weights = torch.as_tensor(table, dtype=torch.float64)
    if list(weights.shape) != sizes:
        raise DataError(
            f"tables: expected shape {tuple(sizes)} for {tuple(names)}, got {tuple(weights.shape)}"
        )
    if not (weights.isfinite() & (weights >= 0.0)).all() or not weights.sum() > 0.0:
        raise DataError(
            f"tables: expected finite weights, none negative and some above 0, for {tuple(names)}, "
            f"got {weights.min():g} to {weights.max():g}"
        )
    return weights
