"""Codes as they would lie under a Normal prior: through the prior's cdf and the Normal's icdf."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes

# scipy and torch are loaded once a map is asked for.
# ruff: noqa: PLC0415

Tails = tuple[NDArray[np.float64], NDArray[np.float64]]

_LEAST = 1e-290  # below it, a probability is worked out as a logarithm


def normal_scores(codes: object, prior: Any) -> Float[NDArray[np.float64], "n d"]:
    r"""Map codes to those of a standard Normal prior, dimension by dimension.

    .. math:: u_{id} = \Phi^{-1}(F_d(z_{id}))

    with F_d the prior's distribution function and Phi the standard Normal's. The map keeps the
    order of the codes in every dimension, so that metrics of ranks do not change; those of
    variances, such as Kim-Mnih's, are as they would be under a Normal prior. Mathieu et al. 2019,
    "Disentangling Disentanglement in Variational Autoencoders", section 6.1
    (https://arxiv.org/abs/1812.02833), map codes of Student-t priors like this before that metric.

    Worked out with logarithms of both tails for Normal, StudentT, Cauchy, Laplace and mixtures of
    them: exact wherever the codes lie (StudentT: up to 1e5 degrees of freedom). Other families go
    through their own ``cdf`` in double precision: to 1e-4 up to u = 7, where 1 - F has four digits
    left, and no further than u = 8.2, where F rounds to 1.

    Args:
        codes: One a row.
        prior: A torch or Pyro distribution whose dimensions are independent: ``Independent`` or a
            batch over d, or one distribution for all dimensions.

    Returns:
        The mapped codes [n, d], float64.

    Raises:
        DataError: The prior is not factorised, has another number of dimensions or no ``cdf``; a
            code is outside its support or beyond the reach of its ``cdf``.

    Example:
        >>> import torch
        >>> from torch.distributions import StudentT
        >>> normal_scores([[-1e6], [1.0], [1e6]], StudentT(torch.tensor(3.0))).round(3).T
        array([[-8.746,  0.858,  8.746]])
    """
    arguments.annotated(normal_scores, locals())
    import torch
    from scipy.special import ndtri_exp

    z = as_codes(codes, largest=np.inf)
    family = _univariate(prior)
    shape = tuple(family.batch_shape)
    if shape not in ((), (1,)) and shape != z.shape[1:]:
        raise DataError(f"codes: expected {shape[0]} dimensions as the prior has, got {z.shape[1]}")
    supported = family.support.check(torch.from_numpy(z)).numpy()
    if not supported.all():
        row, column = np.argwhere(~supported)[0]
        raise DataError(
            f"codes: expected values in the support of the prior {type(family).__name__}, "
            f"got {z[row, column]:g} in row {row}, dimension {column}"
        )
    if _is_normal(family):
        return (z - _numpy(family.loc)) / _numpy(family.scale)
    below, above = _log_tails(family, z)
    scores = np.where(below < above, ndtri_exp(below), -ndtri_exp(above))
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise DataError(
            f"codes: expected values within reach of the cdf of {type(family).__name__}, got "
            f"{z[row, column]:g} in row {row}, dimension {column}, where it rounds to 0 or 1"
        )
    return np.asarray(scores)


def _univariate(prior: Any) -> Any:
    """The distribution of single dimensions, as a batch."""
    family = prior
    while hasattr(family, "base_dist") and hasattr(family, "reinterpreted_batch_ndims"):
        family = family.base_dist
    if not hasattr(family, "batch_shape"):
        raise DataError(f"prior: expected a torch distribution, got {type(prior).__name__}")
    if len(family.event_shape) or len(family.batch_shape) > 1:
        raise DataError(
            "prior: expected independent dimensions, such as StudentT(3.0) or a batch of them, "
            f"got {type(family).__name__} of shape "
            f"{list(family.batch_shape + family.event_shape)}"
        )
    return family


def _is_normal(family: Any) -> bool:
    from torch.distributions import Normal

    return type(family).cdf is Normal.cdf


def _log_tails(family: Any, z: NDArray[np.float64]) -> Tails:
    """Logarithms of F(z) and of 1 - F(z)."""
    from scipy.special import log_ndtr
    from torch.distributions import Cauchy, Laplace, MixtureSameFamily, StudentT

    if isinstance(family, MixtureSameFamily):
        return _mixture_tails(family, z)
    if not (_is_normal(family) or isinstance(family, StudentT | Cauchy | Laplace)):
        return _cdf_tails(family, z)
    u = (z - _numpy(family.loc)) / _numpy(family.scale)
    if isinstance(family, Laplace):
        return _laplace(u), _laplace(-u)
    if isinstance(family, StudentT | Cauchy):
        degrees = _numpy(family.df) if isinstance(family, StudentT) else np.ones(())
        return _student(u, degrees), _student(-u, degrees)
    return log_ndtr(u), log_ndtr(-u)


def _mixture_tails(family: Any, z: NDArray[np.float64]) -> Tails:
    log_weights = _numpy(family.mixture_distribution.logits)
    log_weights = log_weights - np.logaddexp.reduce(log_weights, axis=-1, keepdims=True)
    tails = _log_tails(family.component_distribution, z[..., None])
    below, above = (np.logaddexp.reduce(tail + log_weights, axis=-1) for tail in tails)
    return below, above


def _student(u: NDArray[np.float64], degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Log F(u); far below zero by I_x(a, 1/2) = x^a \sqrt{1-x} F(a + 1/2, 1; a + 1; x) / (a B)."""
    from scipy.special import betaln, hyp2f1, stdtr

    u, degrees = np.broadcast_arrays(u, degrees)
    lower = np.asarray(stdtr(degrees, u))
    far = lower < _LEAST
    log_lower = np.log(np.where(far, 1.0, lower))
    a, square = degrees[far] / 2, u[far] ** 2
    log_x = -np.log1p(square / degrees[far])
    series = hyp2f1(a + 0.5, 1.0, a + 1.0, np.exp(log_x))
    log_beta = np.log(a) + betaln(a, 0.5) + math.log(2)
    log_lower[far] = a * log_x + 0.5 * np.log(-np.expm1(log_x)) + np.log(series) - log_beta
    return log_lower


def _laplace(u: NDArray[np.float64]) -> NDArray[np.float64]:
    below = np.minimum(u, 0.0) - math.log(2)
    return np.where(u < 0, below, np.log1p(-0.5 * np.exp(-np.maximum(u, 0.0))))


def _cdf_tails(family: Any, z: NDArray[np.float64]) -> Tails:
    import torch

    try:
        lower = family.cdf(torch.from_numpy(z)).numpy().astype(np.float64)
    except NotImplementedError as error:
        raise DataError(
            f"prior: expected a distribution with a cdf, got {type(family).__name__}"
        ) from error
    with np.errstate(divide="ignore"):
        return np.log(lower), np.log1p(-lower)


def _numpy(parameter: Any) -> NDArray[np.float64]:
    return np.asarray(parameter.detach().cpu().numpy(), dtype=np.float64)
