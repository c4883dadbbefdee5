"""Penalties on the covariance of the aggregate posterior, which is to be the identity."""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from pyro.distributions import Delta, Distribution
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.aggregate_posterior import StructuredPosterior
from pyro_decomp.aggregate_posterior.families import data_rows
from pyro_decomp.distributions.densities import is_factorised, stripped
from pyro_decomp.divergences.base import Divergence, Weight
from pyro_decomp.errors import ArgumentError, ModelError
from pyro_decomp.programs.traces import TracePair

Kind = Literal["I", "II"]


def covariance(
    loc: Float[Tensor, "b d"],
    *,
    num_data: int | float | Tensor | None = None,
    counts: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, "d d"]:
    """Covariance over N data of what was seen of a batch of B, drawn without replacement.

    Unbiased: the sum of squares is divided by B - 1 and multiplied by (N - 1)/N. That is the data's
    own covariance at B = N, and the usual sample covariance for an endless supply of data.

    Args:
        loc: One row a datum, at least two.
        num_data: N, at least B; None for an endless supply.
        counts: How much each row counts, 0 where it is no datum; None where all count the same.
            Then B and N are the numbers of those that are data.

    Returns:
        The covariance, ``[D, D]``.

    Raises:
        ArgumentError: There are fewer than two rows.
    """
    if len(loc) < 2:
        raise ArgumentError(f"loc: expected at least 2 rows, got {len(loc)}")
    of_all = 1.0 if num_data is None else (num_data - 1) / num_data
    if counts is None:
        centred = loc - loc.mean(0)
        return centred.mT @ centred * (of_all / (len(loc) - 1))
    share = (counts / counts.sum())[:, None]
    loc = loc.masked_fill(share == 0, 0.0)
    centred = loc - (share * loc).sum(0)
    size = (counts > 0).sum()
    return centred.mT @ (share * centred) * (size / (size - 1) * of_all)


def off_diagonal_penalty(covariance: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    r"""Squared covariances between dimensions: \sum_{i != j} C_ij^2."""
    return (covariance - covariance.diagonal().diag()).square().sum()


def diagonal_penalty(covariance: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    r"""Squared distances of the variances from one: \sum_i (C_ii - 1)^2."""
    return (covariance.diagonal() - 1).square().sum()


def code_covariance(traces: TracePair, kind: Kind) -> Float[Tensor, "d d"]:
    r"""The covariance C of the encodings of all latent sites, estimated from the batch.

    ``I``
        C = Cov_x[loc(x)], of the encodings' means.
    ``II``
        C = E_x[\Sigma(x)] + Cov_x[loc(x)], which is the covariance of q(z): each encoding's own
        covariance \Sigma(x), a diagonal matrix for a factorised guide, is added to that of the
        means.

    Unbiased over batches (see :func:`covariance`), and exact when the batch is the data set.
    Dimensions are in the order of :meth:`TracePair.codes`.

    Returns:
        The covariance, ``[D, D]``, in the unit of z squared.

    Raises:
        ModelError: A site's family has no mean or covariance that is known; latent sites depend on
            one another in the guide; the batch has one datum alone.
    """
    if (size := traces.num_rows) < 2:
        raise ModelError(
            f"a covariance over data: expected at least 2 data in a batch, got {size}: choose a "
            "batch size that does not leave a single datum over"
        )
    q = traces.aggregate_posterior
    if isinstance(q, StructuredPosterior):
        named = ", ".join(map(repr, traces.latents))
        raise ModelError(
            f"the guide's sites {named} depend on one another, so that the covariance of the "
            "encodings is not known: expected latent sites that are independent given the datum"
        )
    sites, dim = q.qz_x, q.dim
    try:
        if any(fn.has_enumerate_support for fn in sites.values()):
            raise NotImplementedError  # the values of a discrete site are names, not numbers
        locs = [data_rows(fn.mean.expand(fn.shape()), _axis(fn, dim)) for fn in sites.values()]
        of_all = traces.num_data if traces.num_valid is None else traces.num_valid
        total = covariance(torch.cat(locs, -1), num_data=of_all, counts=traces.counts)
        if kind == "II":
            own = (_mean_covariance(traces, fn, dim) for fn in sites.values())
            total = total + torch.block_diag(*own)
    except NotImplementedError as error:
        names = (f"'{name}' ({type(stripped(fn)).__name__})" for name, fn in sites.items())
        raise ModelError(
            f"the covariance of the encodings of {', '.join(names)} is not known: expected a "
            "factorised family with a mean and a variance, such as Normal, or a MultivariateNormal"
        ) from error
    return total


class CovariancePenalty(Divergence):
    r"""The distance of the covariance C of q(z) from the identity, entry by entry squared.

    .. math:: \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

    with C as :func:`code_covariance` has it for kinds I and II: Kumar, Sattigeri & Balakrishnan,
    "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations", 2018,
    eq. 6 and 7 (https://arxiv.org/abs/1711.00848). :class:`DIPELBO` logs the two sums apart.

    It sees second moments alone, and supposes a prior of identity covariance, whatever the model's
    prior is, also where that is given something of the datum. No sample of either is drawn. C is
    estimated without bias, its square is biased up by its variance, the more the smaller the batch.
    The unit is that of z to the fourth power; not
    nats. With both weights 0 it is 0.

    Args:
        kind: "I" for the encodings' means, "II" for q(z) itself.
        lambda_od: Weight of the squared covariances.
        lambda_d: Weight of the squared distances of the variances from one.

    Raises:
        ArgumentError: ``kind`` is neither.
    """

    def __init__(self, kind: Kind, *, lambda_od: Weight = 1.0, lambda_d: Weight = 1.0) -> None:
        arguments.one_of(get_args(Kind), kind=kind)
        arguments.number("[0, inf)", lambda_od=lambda_od, lambda_d=lambda_d)
        self.kind = kind
        self.lambda_od = lambda_od
        self.lambda_d = lambda_d

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the penalty, in the unit of z to the fourth power.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: The covariance of the encodings is not known or not defined.
        """
        c = code_covariance(traces, self.kind)
        return self.lambda_od * off_diagonal_penalty(c) + self.lambda_d * diagonal_penalty(c)


def _mean_covariance(traces: TracePair, fn: Distribution, dim: int) -> Float[Tensor, "d d"]:
    """The encodings' own covariance, in the mean over the data along batch dimension ``dim``."""
    base: Any = stripped(fn)
    if is_factorised(fn) or isinstance(base, Delta):
        return traces.mean(data_rows(fn.variance.expand(fn.shape()), _axis(fn, dim)).mT).diag()
    if not hasattr(base, "covariance_matrix"):
        raise NotImplementedError
    outer = len(fn.event_shape) - len(base.event_shape)
    blocks = traces.mean(base.covariance_matrix.movedim(dim - outer - 2, -1))
    return torch.block_diag(*blocks.reshape(-1, *blocks.shape[-2:]))


def _axis(fn: Distribution, dim: int) -> int:
    return dim - len(fn.event_shape)
