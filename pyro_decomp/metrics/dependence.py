"""Wasserstein dependence of codes as if they were Gaussian."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.score import Score
from pyro_decomp.metrics.varying import varying


def wasserstein_dependence(
    codes: object, *, normalised: bool = False, num_resamples: int = 100, seed: int = 0
) -> Score:
    r"""Squared 2-Wasserstein distance of the codes' Gaussian from the product of its marginals.

    .. math:: W_2^2 = 2 tr \Sigma - 2 tr (D^{1/2} \Sigma D^{1/2})^{1/2},  D = diag \Sigma

    in the squared unit of the codes; divided by tr Sigma if ``normalised``, which makes it free of
    units (below 2). Finite where dimensions are linearly dependent, unlike
    :func:`gaussian_total_correlation`; 0 for uncorrelated codes, whatever their dependence. The
    "Wasserstein correlation" of Locatello et al. 2019, appendix
    (https://arxiv.org/abs/1811.12359), which normalises it so.

    Args:
        codes: [n, d], one a row.
        normalised: Divide by the total variance.
        num_resamples: Of the interval; 0 for none.
        seed: Of the interval.

    Raises:
        DataError: The codes are no matrix of finite numbers, there are too few rows, or no
            dimension varies.
    """
    arguments.annotated(wasserstein_dependence, locals(), num_resamples=0, seed=0)
    z, constant = varying(as_codes(codes), least=1, metric="wasserstein_dependence")

    def statistic(covariance: Float[np.ndarray, "d d"]) -> float:
        unit = np.trace(covariance) if normalised else 1.0
        return squared_wasserstein_dependence(covariance) / float(unit or 1.0)

    covariance = np.atleast_2d(np.cov(z, rowvar=False))
    value = statistic(covariance)
    likely = estimate(
        lambda rows: statistic(np.atleast_2d(np.cov(z[rows], rowvar=False))),
        len(z),
        value=value,
        num_resamples=num_resamples,
        seed=seed,
        bounds=(0.0, 2.0 if normalised else math.inf),
    )
    variant = {
        "normalised": normalised,
        "num_rows": len(z),
        "constant_dims": constant,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score(
        name="wasserstein_dependence",
        value=value,
        variant=variant,
        details={"covariance": covariance},
        **likely._asdict(),
    )


def squared_wasserstein_dependence(covariance: Float[ArrayLike, "d d"]) -> float:
    r"""The squared distance for one covariance, in its unit.

    >>> round(squared_wasserstein_dependence([[1.0, 1.0], [1.0, 1.0]]), 4)  # 4 - 2 sqrt(2)
    1.1716
    """
    arguments.annotated(squared_wasserstein_dependence, locals())
    sigma = np.asarray(covariance, dtype=np.float64)
    scale = np.sqrt(np.diag(sigma))
    eigenvalues = np.linalg.eigvalsh(sigma * np.outer(scale, scale)).clip(0.0)
    return max(0.0, float(2 * np.trace(sigma) - 2 * np.sqrt(eigenvalues).sum()))
