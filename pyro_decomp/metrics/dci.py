"""Disentanglement, completeness and informativeness."""

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments


def disentanglement(importance: Float[np.ndarray, "d k"]) -> float:
    r"""Does each code matter to one factor.

    .. math:: \sum_j \rho_j (1 - H_K(P_j)), \quad P_{jk} = R_{jk} / \sum_k R_{jk}

    with entropy to base K, the number of factors, and codes weighted by their share
    :math:`\rho_j` of all importance R. 1 at best; 0 where nothing matters. With one factor, 1.

    Args:
        importance: R, at least 0.

    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled
        representations, 2018, section 2, https://openreview.net/forum?id=By-7dz-AZ.

    >>> round(disentanglement(np.array([[1.0, 0.0], [1.0, 1.0]])), 4)
    0.3333
    """
    arguments.annotated(disentanglement, locals())
    return _weighted_certainty(importance)


def completeness(importance: Float[np.ndarray, "d k"]) -> float:
    r"""Does each factor rely on one code.

    .. math:: \sum_k \rho_k (1 - H_D(\tilde{P}_k)), \quad \tilde{P}_{jk} = R_{jk} / \sum_j R_{jk}

    with entropy to base D, the number of codes, and factors weighted by their share
    :math:`\rho_k` of all importance R, as in the large study. 1 at best; 0 where nothing matters.
    With one code, 1.

    Args:
        importance: R, at least 0.

    Reference:
        As :func:`disentanglement`.

    >>> round(completeness(np.array([[1.0, 0.0], [1.0, 1.0]])), 4)
    0.3333
    """
    arguments.annotated(completeness, locals())
    return _weighted_certainty(importance.T)


def _weighted_certainty(weights: Float[np.ndarray, "a b"]) -> float:
    """1 - entropy of each row, averaged with the rows' totals as weights."""
    totals = weights.sum(1)
    if totals.sum() <= 0:
        return 0.0
    shares = weights / np.where(totals > 0, totals, 1.0)[:, None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1) / np.log(
        max(2, weights.shape[1])
    )
    return float(totals @ (1 - entropy) / totals.sum())
