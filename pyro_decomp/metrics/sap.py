"""Separated attribute predictability: how far the best code is ahead of the second."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.metrics.arrays import Factors, as_codes, as_factors, standardised
from pyro_decomp.metrics.bootstrap import estimate, without_interval
from pyro_decomp.metrics.fitting import held_out_split, scikit
from pyro_decomp.metrics.score import Score

PENALTY = 0.01


def sap(
    codes: object,
    factors: object,
    *,
    continuous: Collection[int] = (),
    held_out: float = 1 / 3,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""The separated attribute predictability score (SAP): the gap between the two best codes.

    .. math:: \frac{1}{K} \sum_k S_{j(k) k} - \max_{j \neq j(k)} S_{jk}

    where S_jk says how well code j alone predicts factor k linearly, on rows held out: for a
    discrete factor, the accuracy of a linear support vector machine (one against the rest, squared
    hinge loss, C = 0.01, classes weighted alike); for a continuous one, the squared correlation.
    From 0 to 1. As in the large study, all factors are discrete by default. A machine that is
    linear in one code tells no more than about two of several ordered values apart, so that even a
    perfect code of a factor with many values scores low; squared correlations have no such ceiling.

    Codes are standardised first, so that C means the same for any unit. It does not mean the same
    for any number of rows: the penalty weighs less the more rows train, and a score of 500 rows can
    be half of that of 100,000. Scores with discrete factors compare for as many rows alone, and
    have no interval.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; constant columns are left out.
        continuous: Which columns of ``factors`` are regressed on instead of classified.
        held_out: Share of rows that score.
        num_resamples: Half samples of the held-out rows for the interval (:class:`.Score`), which
            needs all factors to be continuous; 0 for none.
        seed: Of the split and the half samples.

    Returns:
        The score, with ``predictability`` [d, k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), or scikit-learn is not installed.
        ArgumentError: An argument is out of its range.

    Reference:
        Kumar et al., Variational inference of disentangled latent concepts from unlabeled
        observations, 2018, section 3, https://arxiv.org/abs/1711.00848; machines as in Locatello
        et al., 2019, appendix B, https://arxiv.org/abs/1811.12359.
    """
    arguments.annotated(sap, locals(), num_resamples=0, seed=0)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z))
    unknown = set(continuous) - set(levels.columns)
    if unknown:
        raise ArgumentError(
            f"continuous: expected columns that vary, of {list(levels.columns)}, got {unknown}"
        )
    train, test = held_out_split(len(z), held_out, seed)
    z = standardised(z, of=z[train])
    discrete = np.array([column not in continuous for column in levels.columns])
    right = _right(z, levels, train, test, discrete)
    values = levels.numbers()[test]

    def predictability(rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "d k"]:
        score = right[rows].mean(0)
        score[:, ~discrete] = _squared_correlation(z[test[rows]], values[rows][:, ~discrete])
        return score

    def statistic(rows: Int[np.ndarray, " m"]) -> float:
        best = np.sort(predictability(rows), axis=0)
        return float((best[-1] - (best[-2] if len(best) > 1 else 0.0)).mean())

    everything = np.arange(len(test))
    value = statistic(everything)
    if discrete.any():
        likely = without_interval(
            f"the penalty of machines (C = {PENALTY}) weighs less the more rows there are, so that "
            "the score is of this number of rows; that of continuous factors has an interval"
        )
    else:
        likely = estimate(
            statistic, len(test), value=value, num_resamples=num_resamples, seed=seed, bounds=(0, 1)
        )
    return Score(
        name="sap",
        value=value,
        **likely._asdict(),
        variant={
            "discrete": f"linear SVM, C = {PENALTY}",
            "continuous": sorted(continuous),
            "held_out": held_out,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"predictability": predictability(everything)},
    )


def _right(
    z: Float[np.ndarray, "n d"],
    factors: Factors,
    train: Int[np.ndarray, " a"],
    test: Int[np.ndarray, " b"],
    discrete: np.ndarray,
) -> Float[np.ndarray, "b d k"]:
    """Whether the machine of code j alone is right about factor k: 1, or else 0."""
    right = np.zeros([len(test), z.shape[1], len(discrete)], dtype=np.float32)
    for k in np.flatnonzero(discrete):
        labels = factors.levels[:, k]
        for j in range(z.shape[1]):
            column = z[:, [j]]
            if len(np.unique(labels[train])) == 1:
                right[:, j, k] = labels[test] == labels[train[0]]
                continue
            machine = scikit("svm").LinearSVC(C=PENALTY, class_weight="balanced", dual=False)
            told = machine.fit(column[train], labels[train]).predict(column[test])
            right[:, j, k] = told == labels[test]
    return right


def _squared_correlation(
    z: Float[np.ndarray, "n d"], values: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "d k"]:
    """Squared correlations of columns; 0 for those that are constant."""
    z, values = z - z.mean(0), values - values.mean(0)
    product = (z**2).sum(0)[:, None] * (values**2).sum(0)
    return np.where(product > 0, (z.T @ values) ** 2 / np.where(product > 0, product, 1.0), 0.0)
