"""The ready-made priors, as a table: one a row, and each gets every law."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from pyro_decomp import VAE, priors
from pyro_decomp.distributions import VonMisesFisher
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.programs.sites import sample_sites

N, B, IN = 20, 6, 3  # data in all, data in the batch, length of a datum


class SphereEncoder(nn.Module):
    """q(z|x) on the sphere."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.loc = nn.Linear(in_dim, dim)
        self.concentration = nn.Linear(in_dim, 1)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        concentration = 1 + softplus(self.concentration(x)).squeeze(-1)
        return VonMisesFisher(normalize(self.loc(x), dim=-1), concentration)


@dataclass(frozen=True)
class Prior:
    """How to build a prior, and what the laws need to know of it.

    Attributes:
        build: From the guide's encoder, which most of them do not need, to the prior.
        encoder: The guide's encoder, for data of length ``IN``.
        factorised: Whether it is a product over dimensions.
        reparametrised: Whether all of its continuous sites are drawn with gradients.
        meta: Whether torch can do its arithmetic on the meta device.
        sphere: Whether it lives on the unit sphere in three dimensions, not on the plane.
    """

    build: Callable[[nn.Module], nn.Module]
    encoder: Callable[[], nn.Module] = lambda: MLPEncoder(IN, 2, (5,))
    factorised: bool = False
    reparametrised: bool = True
    meta: bool = True
    sphere: bool = False

    def __call__(self) -> nn.Module:
        return self.build(self.encoder())

    def vae(self) -> VAE:
        """A model and guide with it, in torch's default precision."""
        encoder = self.encoder()
        prior = self.build(encoder)
        decoder = MLPDecoder(len(prior()), IN, (5,))
        return VAE(prior, encoder, decoder, size=N)


LOCS = [[0.0, 1.0], [0.5, -1.0], [1.0, 0.3]]
WEIGHTS = [1.0, 2.0, 0.5]
OFFSETS = [[[0.5, 0.1], [-0.4, 0.2]], [[0.3, -0.5], [0.1, 0.6]], [[0.0, 0.4], [0.2, -0.3]]]


def mixture(family: type[priors.GaussianMixture], *learned: str) -> Callable[..., nn.Module]:
    return lambda _: family(
        torch.tensor(LOCS), torch.tensor([0.3, 0.2]), torch.tensor(WEIGHTS), learned=learned
    )


def tree(family: type[priors.NestedClusters], learned: bool) -> Callable[..., nn.Module]:
    return lambda _: family(torch.tensor(LOCS), torch.tensor(OFFSETS), 0.2, learned=learned)


def scattered(prior: nn.Module) -> nn.Module:
    """With parameters off their starting values, where some densities have a special form."""
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return prior


ALL = ("locs", "scale", "weights")
PRIORS = {
    "isotropic": Prior(lambda _: priors.IsotropicNormal(2), factorised=True),
    "anisotropic": Prior(
        lambda _: priors.AnisotropicNormal(torch.tensor([1.3, 0.4])), factorised=True
    ),
    "anisotropic, learned": Prior(
        lambda _: priors.AnisotropicNormal(torch.tensor([1.3, 0.4]), learned=True), factorised=True
    ),
    "Student-t": Prior(lambda _: priors.StudentT(2, df=3.0), factorised=True),
    "Laplace": Prior(lambda _: priors.Laplace(2, scale=0.7), factorised=True),
    "spike and slab": Prior(
        lambda _: priors.SpikeAndSlab(2), factorised=True, reparametrised=False
    ),
    "mixture": Prior(mixture(priors.GaussianMixture), reparametrised=False),
    "mixture, learned": Prior(mixture(priors.GaussianMixture, *ALL), reparametrised=False),
    "enumerated mixture": Prior(mixture(priors.EnumeratedGaussianMixture)),
    "enumerated mixture, learned": Prior(mixture(priors.EnumeratedGaussianMixture, *ALL)),
    "nested clusters": Prior(tree(priors.NestedClusters, False), reparametrised=False),
    "nested clusters, learned": Prior(tree(priors.NestedClusters, True), reparametrised=False),
    "enumerated nested clusters": Prior(tree(priors.EnumeratedNestedClusters, True)),
    "hierarchical": Prior(
        lambda _: priors.Hierarchical((1, 1), (5,)),
        lambda: priors.BottomUpEncoder(IN, (1, 1), (5,)),
    ),
    "a subspace": Prior(lambda _: priors.IndependentSubspaces((2,))),
    "two subspaces": Prior(lambda _: priors.IndependentSubspaces((1, 1), inner=3.0, outer=1.5)),
    "VampPrior": Prior(
        lambda encoder: priors.VampPrior(encoder, torch.randn(7, IN)), reparametrised=False
    ),
    "factorised flow": Prior(
        lambda _: scattered(priors.FactorisedFlow(2, bound=3.0)), factorised=True, meta=False
    ),
    "autoregressive flow": Prior(lambda _: priors.AutoregressiveFlow(2, hidden=(8,)), meta=False),
    "uniform on the sphere": Prior(
        lambda _: priors.UniformSphere(3), lambda: SphereEncoder(IN, 3), sphere=True
    ),
    "von Mises-Fisher": Prior(
        lambda _: priors.VonMisesFisher(torch.tensor([1.0, -2.0, 0.5]), 4.0),
        lambda: SphereEncoder(IN, 3),
        sphere=True,
    ),
    "von Mises-Fisher, learned": Prior(
        lambda _: priors.VonMisesFisher(torch.tensor([1.0, -2.0, 0.5]), 4.0, learned=True),
        lambda: SphereEncoder(IN, 3),
        sphere=True,
    ),
}


def latent_sites(program: Callable[..., object], *args: Tensor) -> dict[str, dict]:
    """The sites of one run that are drawn, in their order."""
    trace = poutine.trace(program).get_trace(*args)
    return {site["name"]: site for site in sample_sites(trace) if not site["is_observed"]}


def continuous(sites: dict[str, dict]) -> dict[str, dict]:
    """Those that are not discrete."""
    return {name: s for name, s in sites.items() if not s["fn"].has_enumerate_support}


def draw(prior: nn.Module, num_samples: int) -> Tensor:
    """Samples of all continuous sites, joined."""
    with pyro.plate("samples", num_samples):
        sites = continuous(latent_sites(prior))
    return torch.cat([site["value"] for site in sites.values()], -1)


def log_density(prior: nn.Module, z: Tensor) -> Tensor:
    """Log p(z) of joined continuous sites, with discrete sites summed out one value at a time."""
    first = latent_sites(prior)
    sites = continuous(first)
    lengths = [site["fn"].event_shape[0] for site in sites.values()]
    values = dict(zip(sites, z.split(lengths, -1), strict=True))
    discrete = {name: site["fn"] for name, site in first.items() if name not in sites}
    branches = []
    for branch in product(*[fn.enumerate_support() for fn in discrete.values()]):
        given = values | dict(zip(discrete, branch, strict=True))
        trace = poutine.trace(poutine.condition(prior, given)).get_trace()
        nodes = [trace.nodes[name] for name in given]
        branches.append(sum(node["fn"].log_prob(node["value"]) for node in nodes))
    return torch.stack(branches).logsumexp(0)


def plane() -> tuple[Tensor, Tensor]:
    """Points and weights of Gauss's rule over the plane, by z = t / (1 - t^2)."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    ends = np.linspace(-1, 1, 41)
    t = torch.tensor((ends[:-1, None] + (nodes + 1) / 40).ravel())
    weight = torch.tensor(np.tile(weights / 40, 40)) * (1 + t**2) / (1 - t**2) ** 2
    line = t / (1 - t**2)
    return torch.cartesian_prod(line, line), torch.outer(weight, weight).flatten()


def sphere() -> tuple[Tensor, Tensor]:
    """The same over the unit sphere in three dimensions: Gauss along the axis, even around it."""
    nodes, weights = map(torch.tensor, np.polynomial.legendre.leggauss(60))
    angle = torch.arange(120).double() * (2 * torch.pi / 120)
    height, turn = (column.flatten() for column in torch.meshgrid(nodes, angle, indexing="ij"))
    radius = (1 - height**2).sqrt()
    points = torch.stack([radius * turn.cos(), radius * turn.sin(), height], -1)
    return points, (weights * 2 * torch.pi / 120).repeat_interleave(120)
