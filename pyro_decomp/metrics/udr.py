"""Unsupervised disentanglement ranking: which of several runs learned what the others did."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes
from pyro_decomp.metrics.bootstrap import (
    Estimate,
    estimate_from_halves,
    half_samples,
    why_no_halves,
    without_interval,
)
from pyro_decomp.metrics.dci import lasso_coefficients
from pyro_decomp.metrics.score import Score


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
    """Values of mean 0 and variance 1 over the data; zeros where there is no variance."""
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


Similarity = Literal["spearman", "lasso"]
QUARTERS = 3  # halves of each half, for the width of the interval


def udr(
    runs: Sequence[Any],
    *,
    kl: Sequence[Any] | None = None,
    similarity: Similarity = "spearman",
    kl_threshold: float = 0.01,
    alpha: float = 0.1,
    num_resamples: int = 25,
    seed: int = 0,
) -> list[Score]:
    r"""Unsupervised disentanglement ranking of runs that encode the same data.

    .. math::
        UDR_{ij} = \frac{1}{d_i + d_j} \Big[\sum_b \frac{\max_a R_{ab}^2}{\sum_a R_{ab}}
        + \sum_a \frac{\max_b R_{ab}^2}{\sum_b R_{ab}}\Big],
        \quad UDR_j = median_{i \ne j} UDR_{ij}

    over the informative dimensions a of run i and b of run j, with R_ab the strength of their
    relation: the absolute Spearman correlation, or the absolute coefficient of a in a lasso
    regression of b on run i (all standardised). 1 where every dimension has one partner, in every
    other run, up to sign and a monotone map; small where runs are rotated against one another.
    Duan et al., "Unsupervised Model Selection for Variational Disentangled Representation
    Learning", 2020, eq. 2-3 (https://arxiv.org/abs/1905.12614). The paper ranks runs of one
    setting and different seeds, 5 at least; scores compare only among runs of one call.

    Args:
        runs: Codes of each run, [n, d] each; row i of all of them encodes datum i. Runs may
            differ in d.
        kl: For each run, the KL of each dimension from the prior, averaged over the data, in nats
            [d]. Dimensions of at most ``kl_threshold`` are uninformative. By default, those that
            do not vary are.
        similarity: What R is.
        kl_threshold: In nats.
        alpha: Weight of the lasso's penalty; unused for "spearman".
        num_resamples: Half samples of the intervals (:class:`.Score`), over data rows and for
            these runs alone; 0 for none. Chance correlations of unrelated dimensions lower the
            score by an amount that falls as 1/sqrt(n), of which the corrected value is free.
        seed: Of the intervals.

    Returns:
        A score for each run, with ``pairwise``: UDR_ij for every other run i, NaN for itself.

    Raises:
        DataError: Fewer than two runs, too few rows, or arrays that do not fit together.
        ArgumentError: An argument is out of its range.
    """
    arguments.annotated(udr, locals(), num_resamples=0, seed=0)
    arguments.number("(0, inf)", alpha=alpha)
    codes = _checked(list(runs))
    informative = _informative(codes, kl, kl_threshold)
    width = max(z.shape[1] for z in codes)
    padded = np.zeros((len(codes), width, len(codes[0])))
    used = np.zeros((len(codes), width), dtype=bool)
    for run, (z, keep) in enumerate(zip(codes, informative, strict=True)):
        padded[run, : z.shape[1]] = np.where(keep, z, 0.0).T
        used[run, : z.shape[1]] = keep
    places = levels(padded)

    def table(rows: Int[np.ndarray, " rows"] | slice) -> Float[np.ndarray, "runs runs"]:
        values = padded[..., rows] if similarity == "lasso" else ranks(places[..., rows])
        unit = standardised(values)
        correlation = np.einsum("ian,jbn->ijab", unit, unit, optimize=True)
        correlation /= unit.shape[-1]
        if similarity == "lasso":
            correlation = lasso_strength(correlation, alpha)
        return relative_strength(np.abs(correlation), used)

    pairwise = table(slice(None))
    np.fill_diagonal(pairwise, np.nan)
    medians = _medians(pairwise)
    reason = why_no_halves(len(codes[0]), num_resamples, least=8)
    halves = [] if reason else list(half_samples(len(codes[0]), num_resamples, seed))
    of_halves = np.array([_medians(table(rows)) for rows in halves])
    of_quarters = np.array(
        [
            [_medians(table(half[some])) for some in half_samples(len(half), QUARTERS, seed + i)]
            for i, half in enumerate(halves, start=1)
        ]
    )

    def likely(run: int) -> Estimate:
        if reason:
            return without_interval(reason)
        return estimate_from_halves(
            float(medians[run]),
            of_halves[:, run],
            bounds=(0, 1),
            order=0.5,
            quarters=of_quarters[:, :, run],
        )

    return [
        Score(
            name="udr",
            value=float(medians[run]),
            variant={
                "run": run,
                "num_runs": len(codes),
                "similarity": similarity,
                **({"alpha": alpha} if similarity == "lasso" else {}),
                "kl_threshold": None if kl is None else kl_threshold,
                "num_rows": len(codes[0]),
                "informative_dims": np.flatnonzero(used[run]),
                "num_resamples": num_resamples,
                "seed": seed,
            },
            details={"pairwise": pairwise[:, run]},
            **likely(run)._asdict(),
        )
        for run in range(len(codes))
    ]


def _checked(runs: Sequence[Any]) -> list[Float[np.ndarray, "n _"]]:
    if len(runs) < 2:
        raise DataError(f"runs: expected codes of at least 2 runs, got {len(runs)}")
    first = as_codes(runs[0], "runs[0]")
    if len(first) < 4:
        raise DataError(f"runs: expected at least 4 rows for udr, got {len(first)}")
    others = [
        as_codes(codes, f"runs[{run}]", num_rows=len(first))
        for run, codes in enumerate(runs[1:], start=1)
    ]
    return [first, *others]


def _informative(
    codes: list[Float[np.ndarray, "n _"]], kl: Sequence[Any] | None, threshold: float
) -> list[Bool[np.ndarray, " _"]]:
    varies = [z.min(0) < z.max(0) for z in codes]
    if kl is None:
        return varies
    if len(kl) != len(codes):
        raise DataError(f"kl: expected one array for each of {len(codes)} runs, got {len(kl)}")
    arrays = [np.asarray(values, dtype=np.float64) for values in kl]
    for run, (values, z) in enumerate(zip(arrays, codes, strict=True)):
        if values.shape != z.shape[1:]:
            raise DataError(
                f"kl[{run}]: expected shape {z.shape[1:]}, one number a dimension, "
                f"got {values.shape}"
            )
    return [keep & (values > threshold) for keep, values in zip(varies, arrays, strict=True)]


def _medians(pairwise: Float[np.ndarray, "runs runs"]) -> Float[np.ndarray, " runs"]:
    """The median over all other runs i of UDR_ij, for each run j."""
    others = np.where(np.eye(len(pairwise), dtype=bool), np.nan, pairwise)
    return np.asarray(np.nanmedian(others, axis=0))
