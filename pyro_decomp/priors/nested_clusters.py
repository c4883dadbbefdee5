"""Clusters of clusters: a tree of two levels, without time."""

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described


class NestedClusters(Described, nn.Module):
    r"""Points gather in clusters, and clusters in groups; the tree is summed out.

    .. math::
        p(z) = \sum_{g, c} p(g) \, p(c|g) \, \mathcal{N}(z; m_g + d_{gc}, s^2 I)

    A cluster's place is relative to its group's: when m_g moves, all of the group moves with it,
    so nearby leaves share what is learned. Not a product over dimensions. Drawn without gradients,
    so that a learned one needs a divergence of densities, ExclusiveKL, or the plain ELBO.

    Args:
        locs: m, the places of the groups, ``[G, D]``.
        offsets: d, the places of the clusters from their group's, ``[G, C, D]``.
        scale: s of the points in a cluster, positive.
        learned: Whether m, d, s (through its logarithm) and the probabilities of groups and
            clusters, equal at first, are learned.
        name: Of the site.

    Raises:
        ArgumentError: ``offsets`` has another number of groups, or ``scale`` is not positive.

    Reference:
        A finite tree in the place of the nested Chinese restaurant process of Goyal et al.,
        Nonparametric variational auto-encoders for hierarchical representation learning, 2017,
        https://arxiv.org/abs/1703.07027.

    >>> groups = 3 * torch.eye(2)
    >>> NestedClusters(groups, torch.randn(2, 4, 2), scale=0.1)().shape
    torch.Size([2])
    """

    def __init__(
        self,
        locs: Float[Tensor, "g d"],
        offsets: Float[Tensor, "g c d"],
        scale: float,
        *,
        learned: bool = False,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.annotated(NestedClusters.__init__, locals())
        arguments.tensor("g d", locs=locs)
        arguments.tensor("g c d", offsets=offsets)
        arguments.number("(0, inf)", scale=scale)
        if (offsets.shape[0], offsets.shape[-1]) != tuple(locs.shape):
            arguments.refuse("offsets", f"shape ({len(locs)}, C, {locs.shape[1]})", offsets)
        kind = nn.Parameter if learned else nn.Buffer
        self.name = name
        self.locs = kind(locs.clone())
        self.offsets = kind(offsets.clone())
        self.log_scale = kind(torch.full_like(locs[0, 0], float(scale)).log())
        self.group_logits = kind(torch.zeros_like(locs[:, 0]))
        self.cluster_logits = kind(torch.zeros_like(offsets[..., 0]))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The scale s at present."""
        return self.log_scale.exp()

    @property
    def learned(self) -> bool:
        """Whether the tree is learned."""
        return isinstance(self.locs, nn.Parameter)

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        log_leaves = self.group_logits.log_softmax(0)[:, None] + self.cluster_logits.log_softmax(1)
        leaves = (self.locs[:, None] + self.offsets).flatten(0, 1)
        points = dist.Normal(leaves, self.scale).to_event(1)
        clusters = dist.Categorical(logits=log_leaves.flatten())
        return pyro.sample(self.name, dist.MixtureSameFamily(clusters, points))


class EnumeratedNestedClusters(NestedClusters):
    r""":class:`NestedClusters` with sites for the branches, to be summed out by enumeration.

    .. math:: g \sim p(g), \quad c \sim p(c|g), \quad z \sim \mathcal{N}(m_g + d_{gc}, s^2 I)

    Sites are "g", "c" and ``name``; the guide may infer g and c, or they may be observed for some
    of the data. z given both is drawn with gradients.

    Args:
        locs: As :class:`NestedClusters`.
        offsets: As :class:`NestedClusters`.
        scale: As :class:`NestedClusters`.
        learned: As :class:`NestedClusters`.
        name: Of the site of z.

    >>> tree = EnumeratedNestedClusters(3 * torch.eye(2), torch.randn(2, 4, 2), scale=0.1)
    >>> sorted(pyro.poutine.trace(tree).get_trace().stochastic_nodes)
    ['c', 'g', 'z']
    """

    def forward(self) -> Tensor:
        """Sample g, c, then z, ``[D]``, and return z."""
        summed_out = {"enumerate": "parallel"}
        g = pyro.sample("g", dist.Categorical(logits=self.group_logits), infer=summed_out)
        c = pyro.sample("c", dist.Categorical(logits=self.cluster_logits[g]), infer=summed_out)
        loc = self.locs[g] + self.offsets[g, c]
        return pyro.sample(self.name, dist.Normal(loc, self.scale).to_event(1))
