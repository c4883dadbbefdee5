"""How far dimensions of codes depend on one another, as if the codes were Gaussian."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes, varying
from pyro_decomp.metrics.bootstrap import estimate, without_interval
from pyro_decomp.metrics.score import Score


def gaussian_total_correlation(codes: object, *, num_resamples: int = 100, seed: int = 0) -> Score:
    r"""Total correlation of the Gaussian with the codes' covariance, in nats.

    .. math:: KL(N(0, \Sigma) | N(0, diag \Sigma)) = -\tfrac12 \log\det R

    with R the correlation matrix. It is 0 for uncorrelated codes, whatever their dependence, and
    infinite where dimensions are linearly dependent (no interval then). The sample's exceeds the
    population's by about d(d-1)/4n; the interval is corrected for that, and can lie below the
    value. Locatello et al. 2019, "Challenging Common Assumptions in the Unsupervised Learning of
    Disentangled Representations", appendix (https://arxiv.org/abs/1811.12359), for mean and for
    sampled codes: the two differ widely, so say which these are.

    Dimensions that do not vary are independent of all others; ``variant`` lists them.

    Args:
        codes: [n, d], one a row; more rows than dimensions.
        num_resamples: Of the interval; 0 for none.
        seed: Of the interval.

    Returns:
        The score, with the ``covariance`` of the dimensions that vary.

    Raises:
        DataError: The codes are no matrix of finite numbers, there are too few rows, or no
            dimension varies.
    """
    arguments.annotated(gaussian_total_correlation, locals(), num_resamples=0, seed=0)
    given = as_codes(codes)
    z, constant = varying(given, least=1, metric="gaussian_total_correlation")
    n, d = z.shape
    if n <= d:
        raise DataError(
            f"codes: expected more rows than the {d} dimensions that vary for "
            f"gaussian_total_correlation, got {n}"
        )
    covariance = _covariance(z)
    value = _of_covariance(covariance)
    if not math.isfinite(value):
        likely = without_interval("dimensions are linearly dependent: the value is infinite")
    elif n // 2 <= d:
        likely = without_interval(f"halves need more rows than the {d} dimensions that vary")
    else:
        likely = estimate(
            lambda rows: _of_covariance(_covariance(z[rows])),
            n,
            value=value,
            num_resamples=num_resamples,
            seed=seed,
            bounds=(0.0, math.inf),
        )
    variant = {
        "num_rows": n,
        "constant_dims": constant,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score(
        name="gaussian_total_correlation",
        value=value,
        variant=variant,
        details={"covariance": covariance},
        **likely._asdict(),
    )


def total_correlation(covariance: Float[ArrayLike, "d d"]) -> float:
    r"""Total correlation of a Gaussian with this covariance, in nats: -1/2 log det of correlations.

    Infinite where the correlation matrix is singular to rounding. A dimension of variance 0 is
    independent of the others.

    Returns:
        The total correlation in nats, at least 0.

    Raises:
        DataError: It is no symmetric matrix of finite numbers, or no variance is above 0.

    >>> round(total_correlation([[1.0, 0.9], [0.9, 1.0]]), 4)
    0.8304
    """
    arguments.annotated(total_correlation, locals())
    sigma = as_codes(covariance, "covariance")
    if sigma.shape[0] != sigma.shape[1] or not np.allclose(sigma, sigma.T):
        raise DataError(f"covariance: expected a symmetric matrix, got shape {sigma.shape}")
    if np.diag(sigma).min() < 0 or not np.diag(sigma).any():
        raise DataError("covariance: expected a variance above 0 and none below, got others")
    return _of_covariance(sigma)


def _covariance(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """The covariance of the dimensions of codes, a matrix for a single one too."""
    return np.atleast_2d(np.cov(z, rowvar=False))


def _of_covariance(sigma: Float[np.ndarray, "d d"]) -> float:
    """The total correlation of a Gaussian with this covariance, in which all may be constant."""
    scale = np.sqrt(np.diag(sigma))
    scale = np.where(scale > 0, scale, 1.0)
    correlation = sigma / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    eigenvalues = np.linalg.eigvalsh(correlation)
    if eigenvalues[0] <= len(sigma) * np.finfo(np.float64).eps:
        return math.inf
    return max(0.0, -0.5 * float(np.log(eigenvalues).sum()))


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

    Returns:
        The score, with the ``covariance`` of the dimensions that vary.

    Raises:
        DataError: The codes are no matrix of finite numbers, there are too few rows, or no
            dimension varies.
    """
    arguments.annotated(wasserstein_dependence, locals(), num_resamples=0, seed=0)
    z, constant = varying(as_codes(codes), least=1, metric="wasserstein_dependence")

    def statistic(covariance: Float[np.ndarray, "d d"]) -> float:
        unit = np.trace(covariance) if normalised else 1.0
        return _wasserstein_of_covariance(covariance) / float(unit or 1.0)

    covariance = _covariance(z)
    value = statistic(covariance)
    likely = estimate(
        lambda rows: statistic(_covariance(z[rows])),
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
    r"""The squared distance of :func:`wasserstein_dependence` for a given covariance.

    Returns:
        The squared distance, in the unit of the covariance.

    >>> round(squared_wasserstein_dependence([[1.0, 1.0], [1.0, 1.0]]), 4)  # 4 - 2 sqrt(2)
    1.1716
    """
    arguments.annotated(squared_wasserstein_dependence, locals())
    return _wasserstein_of_covariance(np.asarray(covariance, dtype=np.float64))


def _wasserstein_of_covariance(sigma: Float[np.ndarray, "d d"]) -> float:
    """The squared distance of a Gaussian with this covariance from the product of its marginals."""
    scale = np.sqrt(np.diag(sigma))
    eigenvalues = np.linalg.eigvalsh(sigma * np.outer(scale, scale)).clip(0.0)
    return max(0.0, float(2 * np.trace(sigma) - 2 * np.sqrt(eigenvalues).sum()))
