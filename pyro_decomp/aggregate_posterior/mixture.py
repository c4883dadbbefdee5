"""The aggregate posterior as a mixture: what may be asked of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from pyro.distributions import Distribution
from torch import Tensor

from pyro_decomp.aggregate_posterior import pairs
from pyro_decomp.aggregate_posterior.estimators import PairWeights
from pyro_decomp.aggregate_posterior.families import data_rows, diagonal_gaussian, marginals
from pyro_decomp.aggregate_posterior.gaussian import log_densities
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.distributions.densities import why_no_density
from pyro_decomp.errors import ModelError


@dataclass(frozen=True, repr=False)
class LogDensities:
    """Log densities of the aggregate posterior at S samples, in nats.

    Attributes:
        joint: Log q(z_s) of all sites, ``[S]``.
        sites: Log q of every site by itself, ``[S]`` each.
        dimensions: Log q of every dimension by itself, ``[S, D]`` for a site of D dimensions.
    """

    joint: Float[Tensor, " s"]
    sites: Mapping[str, Float[Tensor, " s"]]
    dimensions: Mapping[str, Float[Tensor, "s _"]]

    __repr__ = constructor_call

    @property
    def product_of_sites(self) -> Float[Tensor, " s"]:
        r"""The log density of the product of all sites' marginals, \sum_j log q(z_j)."""
        return torch.stack(list(self.sites.values())).sum(0)

    @property
    def product_of_dimensions(self) -> Float[Tensor, " s"]:
        r"""The log density of the product of all dimensions' marginals, \sum_jd log q(z_jd)."""
        return torch.stack([each.sum(-1) for each in self.dimensions.values()]).sum(0)


def shares(size: int, counts: Float[Tensor, " m"] | None) -> PairWeights:
    """The weights of M encodings in proportion to how much they count, for any z."""
    if counts is None:
        return PairWeights(-math.log(size))
    return PairWeights(0.0, rows=(counts / counts.sum()).log()[None])


def mass(size: int, counts: Float[Tensor, " m"] | None) -> float:
    """How much M encodings count together."""
    return float(size if counts is None else counts.sum())


class AggregatePosterior:
    r"""q(z) = \sum_j w_j q(z|x_j), by default the equal mixture of the encodings of M data.

    Args:
        qz_x: Latent site name to the distribution of its encodings. The sites are taken to be
            independent given the datum.
        dim: The data plate's (negative) batch dimension in each of them.
        counts: How much each of them counts, ``[M]``, 0 where it is that of no datum; None where
            all count the same.
    """

    def __init__(
        self,
        qz_x: Mapping[str, Distribution],
        dim: int = -1,
        counts: Float[Tensor, " m"] | None = None,
    ) -> None:
        self.qz_x = dict(qz_x)
        self.dim = dim
        self.counts = counts

    def __len__(self) -> int:
        """The number M of mixture components, one a datum."""
        fn = next(iter(self.qz_x.values()))
        return int(fn.batch_shape[self.dim])

    @property
    def mass(self) -> float:
        """How much all encodings count together: M where all count the same."""
        return mass(len(self), self.counts)

    def why_no_density(self) -> str:
        """Why q(z) cannot be scored; empty where it can be."""
        return why_no_density(self.qz_x)

    def log_prob(
        self, z: Mapping[str, Tensor], weights: PairWeights | None = None
    ) -> Float[Tensor, " s"]:
        r"""Log q(z_s) = logsumexp_j log w_sj + log q(z_s|x_j) for S samples, in nats.

        With equal weights it is exact when the encodings are those of the whole data set. Over a
        minibatch, q(z_s) is then unbiased for samples that are independent of the batch, and its
        logarithm is biased low (Jensen).

        Args:
            z: Values of every site, each with S entries along the data dimension.
            weights: The weights of pairs; by default 1/M, or the share of ``counts``. Those of an
                estimator that sets a datum's own encoding apart need z to be the batch's own
                samples, in its order.

        Returns:
            ``[S]``; minus infinity where z_s is outside of the support of every encoding.

        Raises:
            ModelError: A site's encodings have no density, as those of a Delta.
        """
        return self._score(z, weights, split=False)[0]

    def log_densities(
        self, z: Mapping[str, Tensor], weights: PairWeights | None = None
    ) -> LogDensities:
        """Log q(z_s), and that of every site and every dimension by itself, from one pass.

        Takes the arguments of :meth:`log_prob`, whose bias each of them shares.

        Returns:
            The three kinds of log densities, in nats.

        Raises:
            ModelError: The marginals of a site's family are not known, or it has no density.
        """
        scores = self._score(z, weights, split=True)
        names, sizes = list(self.qz_x), self._sizes()
        joint, dimensions = scores[0], scores[-sum(sizes) :].T.split(sizes, 1)
        sites = scores[1 : 1 + len(names)] if len(names) > 1 else [joint]
        return LogDensities(
            joint,
            dict(zip(names, sites, strict=True)),
            dict(zip(names, dimensions, strict=True)),
        )

    def _score(
        self, z: Mapping[str, Tensor], weights: PairWeights | None, *, split: bool
    ) -> Float[Tensor, "j s"]:
        """Score samples: one row or, if split, one for all sites, each site and each dimension."""
        if reason := self.why_no_density():
            raise ModelError(
                f"{reason}: use a divergence of samples such as MMD(), or a guide with spread"
            )
        weights = weights or shares(len(self), self.counts)
        axes = [self.dim - len(fn.event_shape) for fn in self.qz_x.values()]
        values = [z[name] for name in self.qz_x]
        num_samples = values[0].shape[axes[0]]
        weights.require_own(num_samples, len(self))
        gaussians = [diagonal_gaussian(fn, self.dim) for fn in self.qz_x.values()]
        if any(gaussian is None for gaussian in gaussians):
            sites = [
                pairs.Site(fn, axis, marginals(name, fn) if split else None)
                for (name, fn), axis in zip(self.qz_x.items(), axes, strict=True)
            ]
            return pairs.log_densities(sites, values, weights)
        locs, scales = zip(*(gaussian for gaussian in gaussians if gaussian), strict=True)
        points = [data_rows(value, axis) for value, axis in zip(values, axes, strict=True)]
        z_, loc, scale = (torch.cat(xs, -1).T.contiguous() for xs in (points, locs, scales))
        ranges = self._ranges() if len(values) > 1 else ()
        return log_densities(z_, loc, scale, weights, ranges, split=split)

    def _sizes(self) -> list[int]:
        """The number of dimensions of one datum at each site."""
        return [fn.shape().numel() // len(self) for fn in self.qz_x.values()]

    def _ranges(self) -> tuple[slice, ...]:
        """Where each site's dimensions are among those of all."""
        ends = accumulate(self._sizes(), initial=0)
        return tuple(slice(start, stop) for start, stop in pairwise(ends))
