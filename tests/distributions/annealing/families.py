"""Distributions that can be annealed, as a table: one a row, and each gets every law."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_decomp.distributions import GeneralizedNormal
from pyro_decomp.distributions.annealing import AnnealedMixture


@dataclass(frozen=True)
class Family:
    """How to build a distribution, and what the laws need to know of it.

    Attributes:
        build: From parameters in float64 to a distribution with batch shape (2,).
        parameters: Values for them.
        powers: Those to try.
        kinks: Where the density is not smooth, the ends of a bounded support among them.
        lower: End of the support.
        upper: The other end.
        numeric: Whether the normaliser has no closed form.
        smooth: Whether samples for the same noise are a smooth function of the parameters.
    """

    build: Callable[..., dist.TorchDistribution]
    parameters: tuple[Tensor, ...]
    powers: tuple[float, ...] = (0.4, 2.5)
    kinks: tuple[float, ...] = ()
    lower: float = -np.inf
    upper: float = np.inf
    numeric: bool = False
    smooth: bool = True

    def __call__(self) -> dist.TorchDistribution:
        return self.build(*self.parameters)


def double(*values: object) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(value, dtype=torch.double) for value in values)


def mixture(component: Callable[..., dist.TorchDistribution]) -> Callable[..., dist.Distribution]:
    def build(logits: Tensor, *parameters: Tensor) -> dist.TorchDistribution:
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), component(*parameters))

    return build


LOC, SCALE = [0.3, -1.0], [0.7, 1.2]
LOGITS, LOCS, SCALES = (
    [[0.2, 1.0], [0.0, -1.0]],
    [[-1.0, 0.4], [2.0, 0.1]],
    [[0.2, 1.0], [0.5, 1.5]],
)
SQUARES = {"normal": [[[1.0, 0.0], [0.3, 0.6]], [[0.5, 0.0], [-0.2, 1.1]]]}

LINE = {
    "Normal": Family(dist.Normal, double(LOC, SCALE)),
    "Laplace": Family(dist.Laplace, double(LOC, SCALE), kinks=(0.3, -1.0)),
    "StudentT": Family(dist.StudentT, double([3.0, 2.5], LOC, SCALE)),
    "GeneralizedNormal": Family(
        GeneralizedNormal, double(LOC, SCALE, [1.0, 4.0]), kinks=(0.3, -1.0)
    ),
    "HalfNormal": Family(dist.HalfNormal, double(SCALE), lower=0),
    "Exponential": Family(dist.Exponential, double(SCALE), lower=0),
    "Gamma": Family(dist.Gamma, double([0.8, 3.0], SCALE), lower=0),
    "LogNormal": Family(dist.LogNormal, double(LOC, SCALE), lower=0),
    "Beta": Family(dist.Beta, double([2.0, 3.5], [3.0, 4.0]), lower=0, upper=1),
    "Uniform": Family(
        dist.Uniform, double([-1.0, -1.0], [2.5, 2.5]), lower=-1, upper=2.5, kinks=(-1, 2.5)
    ),
    "mixture of Normals": Family(mixture(dist.Normal), double(LOGITS, LOCS, SCALES), numeric=True),
    "mixture of Laplaces": Family(
        mixture(dist.Laplace),
        double(LOGITS, LOCS, SCALES),
        kinks=(-1, 0.4, 2, 0.1),
        numeric=True,
    ),
    "mixture of Student-t": Family(
        mixture(dist.StudentT),
        double(LOGITS, [[2.0, 3.0], [1.5, 4.0]], LOCS, SCALES),
        (0.7, 2.5),
        numeric=True,
    ),
    "spike and slab": Family(
        mixture(dist.Normal),
        double([[4.0, 1.0]] * 2, [[0.0, 0.0]] * 2, [[0.05, 1.0], [0.05**0.5, 1.0]]),
        numeric=True,
    ),
    "an annealed mixture": Family(
        lambda *p: AnnealedMixture(mixture(dist.Normal)(*p), 0.7),
        double(LOGITS, LOCS, SCALES),
        numeric=True,
    ),
    "expanded": Family(
        lambda loc, scale: dist.Normal.expand(dist.Normal(loc, scale), (2,)), double(0.3, 0.7)
    ),
}

PLANE = {
    "MultivariateNormal": Family(
        lambda loc, root: dist.MultivariateNormal(loc, scale_tril=root.tril()),
        double([LOC, LOC], SQUARES["normal"]),
    ),
    "LowRankMultivariateNormal": Family(
        dist.LowRankMultivariateNormal, double([LOC, LOC], [[[0.5], [0.3]]] * 2, [SCALE, SCALE])
    ),
    "Independent": Family(
        lambda loc, scale: dist.Normal(loc, scale).to_event(1), double([LOC, LOC], SCALES)
    ),
    "product of spike and slab": Family(
        lambda *p: mixture(dist.Normal)(*p).to_event(1),
        double([LOGITS, LOGITS], [LOCS, LOCS], [SCALES, SCALES]),
        numeric=True,
    ),
}

# Normalised by importance sampling, so that laws hold to a standard error only.
JOINT = {
    "clusters": Family(
        mixture(lambda loc, scale: dist.Normal(loc, scale).to_event(1)),
        double(LOGITS, [LOCS, LOCS], [SCALES, SCALES]),
        numeric=True,
    ),
    "full clusters": Family(
        mixture(lambda loc, root: dist.MultivariateNormal(loc, scale_tril=root.tril())),
        double(LOGITS, [LOCS, LOCS], [SQUARES["normal"]] * 2),
        numeric=True,
    ),
    "mixture of Gammas": Family(
        mixture(dist.Gamma),
        double(LOGITS, [[2.0, 4.0], [1.5, 3.0]], SCALES),
        lower=0,
        numeric=True,
        smooth=False,
    ),
}

FINITE = {
    "Categorical": Family(lambda x: dist.Categorical(logits=x), double([[0.1, 2.0, -1.0]] * 2)),
    "OneHotCategorical": Family(
        lambda x: dist.OneHotCategorical(logits=x), double([[0.1, 2.0, -1.0]] * 2)
    ),
    "Bernoulli": Family(lambda x: dist.Bernoulli(logits=x), double([0.4, -2.0])),
}

FAMILIES = LINE | PLANE | JOINT | FINITE


def integral(family: Family, log_density: Callable[[Tensor], Tensor]) -> Tensor:
    """The integral of a density over the family's support, for each entry of its batch.

    The density may have more dimensions after the batch: one for each of several integrands.

    Gauss's rule of 20 nodes on panels of even width near 0 and geometric width elsewhere, down to
    1e-38 and up to 1e38; a sum for a finite support; the trapezium rule in the plane.
    """
    p = family()
    if p.has_enumerate_support:
        return log_density(p.enumerate_support()).exp().sum(0)
    if p.event_shape:
        line = torch.linspace(-18, 18, 361, dtype=torch.double)
        points = torch.cartesian_prod(line, line).unsqueeze(1)
        return log_density(points).exp().sum(0) * 0.1**2
    far = 12 * 2.0 ** np.arange(1, 124)
    near = np.linspace(-12, 12, 241)
    ends = np.concatenate([-far, near, far, 1 / far, 1 - 1 / far[:40], family.kinks, [0, 1]])
    ends = np.unique(ends[(ends >= family.lower) & (ends <= family.upper)])
    x, w = np.polynomial.legendre.leggauss(20)
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    points, weights = (middle + half * x).ravel(), (half * w).ravel()
    inside = (points > family.lower) & (points < family.upper)  # rounding can reach an end
    z, weight = torch.tensor(points[inside]), torch.tensor(weights[inside])
    return (log_density(z[:, None]).exp() * weight[:, None]).sum(0)
