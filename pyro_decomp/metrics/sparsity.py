"""How few dimensions each code uses."""

import math

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.score import Score
from pyro_decomp.metrics.varying import varying


def hoyer_sparsity(codes: object, *, num_resamples: int = 100, seed: int = 0) -> Score:
    r"""Mean over the data of the codes' Hoyer sparsity, each dimension over its own scale.

    .. math::
        \frac1n \sum_i Hoyer(z_i / \sigma),
        \quad Hoyer(y) = \frac{\sqrt d - |y|_1 / |y|_2}{\sqrt d - 1}

    with sigma the standard deviation of each dimension over the data. 0 where all dimensions of a
    code are as large, 1 where one alone is not 0; a standard Normal in 50 dimensions has about
    0.23. Mathieu et al. 2019, "Disentangling Disentanglement in Variational Autoencoders", section
    6.3 (https://arxiv.org/abs/1812.02833); Hurley & Rickard, "Comparing Measures of Sparsity", 2009
    (https://doi.org/10.1109/TIT.2009.2027527).

    A collapsed dimension varies a little, and division by its scale makes it count as any other:
    look at :func:`active_units` too. Dimensions that do not vary at all are left out, and d is that
    of the others. Codes are not centred: 0 is where the prior has its spike. A code of zeros alone
    has no sparsity and is left out; ``variant`` has how many.

    Args:
        codes: [n, d], one a row.
        num_resamples: Of the interval; 0 for none.
        seed: Of the interval.

    Raises:
        DataError: The codes are no matrix of finite numbers, all zero, or fewer than two dimensions
            vary: in one dimension, sparsity is not defined.
    """
    arguments.annotated(hoyer_sparsity, locals(), num_resamples=0, seed=0)
    given = as_codes(codes)
    z, constant = varying(given, least=2, metric="hoyer_sparsity")
    used = (z != 0).any(1)
    if not used.any():
        raise DataError("codes: expected a code other than zero for hoyer_sparsity, got none")
    value = _mean_hoyer(z)
    likely = estimate(
        lambda rows: _mean_hoyer(z[rows]),
        len(z),
        value=value,
        num_resamples=num_resamples,
        seed=seed,
        bounds=(0.0, 1.0),
    )
    variant = {
        "num_rows": len(z),
        "zero_rows": int(np.sum(~used)),
        "constant_dims": constant,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score(
        name="hoyer_sparsity",
        value=value,
        variant=variant,
        **likely._asdict(),
    )


def hoyer(y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Hoyer's sparsity of each row; d at least 2, rows other than zero.

    Raises:
        DataError: ``y`` is no such matrix of finite numbers.

    >>> hoyer(np.array([[0.0, 3.0], [2.0, -2.0]])).round(12).tolist()
    [1.0, 0.0]
    """
    arguments.annotated(hoyer, locals())
    y = as_codes(y, "y", largest=math.inf)
    if y.shape[1] < 2 or not y.any(1).all():
        raise DataError("y: expected rows of two columns or more, each with a value other than 0")
    root = math.sqrt(y.shape[1])
    largest = np.abs(y).max(1, keepdims=True)  # squares of it neither overflow nor vanish
    ratio = np.abs(y / largest).sum(1) / np.linalg.norm(y / largest, axis=1)
    return (root - ratio) / (root - 1)


def _mean_hoyer(z: Float[np.ndarray, "n d"]) -> float:
    """The score of some of the rows, in which a dimension may not vary: its scale is then 1."""
    scale = z.std(0)
    used = (z != 0).any(1)
    return float(hoyer(z[used] / np.where(scale > 0, scale, 1.0)).mean()) if used.any() else 0.0
