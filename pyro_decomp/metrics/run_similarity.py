"""How strongly the dimensions of several runs relate to one another."""

import numpy as np
from jaxtyping import Bool, Float, Int

from pyro_decomp.metrics.lasso import lasso_coefficients


def levels(values: Float[np.ndarray, "runs d n"]) -> Int[np.ndarray, "runs d n"]:
    """The place of each value among the different ones of its row."""
    flat = values.reshape(-1, values.shape[-1])
    places = [np.unique(row, return_inverse=True)[1] for row in flat]
    return np.stack(places).reshape(values.shape)


def ranks(places: Int[np.ndarray, "runs d n"]) -> Float[np.ndarray, "runs d n"]:
    """Ranks, ties in the middle, of values given by :func:`levels`: no sorting for each half."""
    flat = places.reshape(-1, places.shape[-1])
    ranked = np.empty(flat.shape)
    for row, out in zip(flat, ranked, strict=True):
        counts = np.bincount(row)
        out[:] = (np.cumsum(counts) - (counts - 1) / 2)[row]
    return ranked.reshape(places.shape)


def standardised(values: Float[np.ndarray, "runs d n"]) -> Float[np.ndarray, "runs d n"]:
    """Mean 0 and variance 1 over the data; zeros where there is no variance."""
    centred = values - values.mean(-1, keepdims=True)
    scale = centred.std(-1, keepdims=True)
    return centred / np.where(scale > 0, scale, 1.0)


def lasso_strength(
    correlation: Float[np.ndarray, "runs runs d d"], alpha: float
) -> Float[np.ndarray, "runs runs d d"]:
    """Coefficients of every dimension a of run i in the regression of dimension b of run j."""
    num_runs, _, width, _ = correlation.shape
    gram = correlation[np.arange(num_runs), np.arange(num_runs)]
    cross = correlation.transpose(0, 2, 1, 3).reshape(num_runs, width, -1)
    coefficients = lasso_coefficients(gram, cross, alpha)
    return coefficients.reshape(num_runs, width, num_runs, width).transpose(0, 2, 1, 3)


def relative_strength(
    strength: Float[np.ndarray, "runs runs d d"], used: Bool[np.ndarray, "runs d"]
) -> Float[np.ndarray, "runs runs"]:
    """UDR_ij of every two runs: how nearly each dimension in use has one partner."""
    kept = np.where(used[:, None, :, None] & used[None, :, None, :], strength, 0.0)
    total = np.zeros(kept.shape[:2])
    for axis in (2, 3):
        sums = kept.sum(axis)
        total += (kept.max(axis) ** 2 / np.where(sums > 0, sums, 1.0)).sum(-1)
    sizes = used.sum(1)
    return total / np.maximum(sizes[:, None] + sizes[None, :], 1)
