"""Densities of sampled codes under the posterior of every datum, in blocks. Internal."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyro_decomp.errors import DataError

LEAST = -80.0  # exp of it is still a normal number in float32; those below are slow
SAMPLES = 8
COLUMNS = 2048  # with 10 dimensions a block of 0.6 MiB, for the cache
PAIRS = 2**20  # densities of any family in one block

Blocks = Iterator[tuple[slice, Float[Tensor, "s d m"]]]


class Posterior(ABC):
    """Encodings q(z|n) of N data, independent over d dimensions; internal.

    Attributes:
        num_rows: N.
        num_dims: d.
        family: Its name, for the record.
    """

    num_rows: int
    num_dims: int
    family: str

    @abstractmethod
    def relative_densities(
        self, rows: Int[Tensor, " s"], seed: int
    ) -> Iterator[tuple[slice, Blocks]]:
        """Sample a code from each of ``rows`` and compare its density with that under all data.

        Yields a slice of ``rows`` at a time, and for it blocks of q(z_j|n)/q(z_j|own n), each with
        the data that it is for. A block is written over the one before.

        Args:
            rows: Indices of data, one a sample.
            seed: Of the samples.
        """


class GaussianPosterior(Posterior):
    """Encodings that are factorised Gaussians.

    Args:
        loc: Means.
        scale: Standard deviations, positive.
    """

    family = "Normal"

    def __init__(self, loc: Float[np.ndarray, "n d"], scale: Float[np.ndarray, "n d"]) -> None:
        self.num_rows, self.num_dims = loc.shape
        centred = torch.from_numpy(loc - loc.mean(0)).T
        self._loc, self._scale = centred, torch.from_numpy(scale).T

    def relative_densities(  # noqa: D102
        self, rows: Int[Tensor, " s"], seed: int
    ) -> Iterator[tuple[slice, Blocks]]:
        generator = torch.Generator().manual_seed(int(seed))
        shape = [len(rows), self.num_dims]
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        z = (self._loc[:, rows].T + self._scale[:, rows].T * noise).float()[:, :, None]
        own = (noise.square() / 2 + self._scale[:, rows].T.log()).float()[:, :, None]
        loc, inverse = self._loc.float().contiguous(), (0.5**0.5 / self._scale).float().contiguous()
        constant = self._scale.log().neg().float().contiguous()

        def blocks(samples: slice) -> Blocks:
            for start in range(0, self.num_rows, COLUMNS):
                columns = slice(start, min(start + COLUMNS, self.num_rows))
                pairs = (z[samples] - loc[:, columns]).mul_(inverse[:, columns])
                torch.addcmul(constant[:, columns], pairs, pairs, value=-1.0, out=pairs)
                yield columns, pairs.add_(own[samples]).clamp_(min=LEAST).exp_()

        for start in range(0, len(rows), SAMPLES):
            samples = slice(start, min(start + SAMPLES, len(rows)))
            yield samples, blocks(samples)


class DistributionPosterior(Posterior):
    """Encodings of any family of torch distributions.

    Args:
        distribution: Of batch shape [N, d], or an ``Independent`` of one.

    Raises:
        DataError: The shape is another.
    """

    def __init__(self, distribution: Distribution) -> None:
        while isinstance(distribution, Independent):
            distribution = distribution.base_dist
        shape = tuple(distribution.batch_shape)
        if len(shape) != 2 or distribution.event_shape:
            raise DataError(
                "posterior: expected a distribution of batch shape [N, d] and no event shape, or "
                f"an Independent of one, got {shape} and {tuple(distribution.event_shape)}"
            )
        self.num_rows, self.num_dims = shape
        self.family = type(distribution).__name__
        self._distribution = distribution

    def relative_densities(  # noqa: D102
        self, rows: Int[Tensor, " s"], seed: int
    ) -> Iterator[tuple[slice, Blocks]]:
        rounds = int(torch.bincount(rows).max())
        occurrence = _occurrence(rows)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            z = self._distribution.sample(torch.Size([rounds]))[occurrence, rows]
        height = max(1, PAIRS // (self.num_rows * self.num_dims))
        for start in range(0, len(rows), height):
            samples = slice(start, min(start + height, len(rows)))
            with torch.no_grad():
                pairs = self._distribution.log_prob(z[samples, None])
            own = pairs[torch.arange(len(pairs)), rows[samples]]
            densities = (pairs - own[:, None]).clamp_(min=LEAST).exp_().transpose(1, 2)
            yield samples, iter([(slice(0, self.num_rows), densities)])


def _occurrence(rows: Int[Tensor, " s"]) -> Int[Tensor, " s"]:
    """How often each row has come before, for each place."""
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows)
    starts = torch.cumsum(counts, 0) - counts
    result = torch.empty_like(rows)
    result[order] = torch.arange(len(rows)) - starts[rows[order]]
    return result
