"""Clusters: a mixture of Gaussians, in one site or with a site for the cluster."""

from collections.abc import Collection

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described


class GaussianMixture(Described, nn.Module):
    r"""A mixture of K Gaussians, fixed or learned.

    .. math:: p(z) = \sum_k w_k \mathcal{N}(z; m_k, \mathrm{diag}(s_k^2))

    Not a product over dimensions. Drawn without gradients, so that once anything is learned it
    needs a divergence of densities, ExclusiveKL, or none: the plain ELBO learns it too.

    Args:
        locs: m, ``[K, D]``.
        scale: s, positive: a number, or a tensor that broadcasts to ``[K, D]``.
        weights: w, positive, ``[K]``, in any unit; None for equal ones.
        learned: Which of "locs", "scale" and "weights" are learned, from where they are; the last
            two through their logarithms.
        name: Of the site.

    Raises:
        ArgumentError: A scale or weight is not positive, or ``learned`` has another name.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.2, https://arxiv.org/abs/1812.02833, fixed; Jiang et al., Variational deep
        embedding, 2017, https://arxiv.org/abs/1611.05148, learned.

    >>> locs = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> GaussianMixture(locs, 0.03**0.5)().shape  # the paper's
    torch.Size([2])
    """

    def __init__(
        self,
        locs: Float[Tensor, "k d"],
        scale: float | Tensor,
        weights: Float[Tensor, " k"] | None = None,
        *,
        learned: Collection[str] = (),
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.tensor("k d", locs=locs)
        arguments.positive(scale=scale, **arguments.given(weights=weights))
        arguments.instance(Collection, "names such as ['locs']", learned=learned)
        arguments.text(name=name)
        if weights is not None and weights.shape != locs.shape[:1]:
            arguments.refuse("weights", f"shape ({len(locs)},)", weights)
        try:
            log_scale = torch.as_tensor(scale).to(locs).log().expand_as(locs).clone()
        except RuntimeError:
            shape = f"a number or a tensor that broadcasts to {tuple(locs.shape)}"
            arguments.refuse("scale", shape, scale)
        logits = torch.zeros_like(locs[:, 0]) if weights is None else weights.log()
        if unknown := set(learned) - {"locs", "scale", "weights"}:
            arguments.refuse("learned", "'locs', 'scale' or 'weights'", unknown)
        self.name = name
        locs = locs.clone()
        self.locs = nn.Parameter(locs) if "locs" in learned else nn.Buffer(locs)
        self.log_scale = nn.Parameter(log_scale) if "scale" in learned else nn.Buffer(log_scale)
        self.logits = nn.Parameter(logits) if "weights" in learned else nn.Buffer(logits)

    @property
    def scale(self) -> Float[Tensor, "k d"]:
        """The scales s at present, ``[K, D]``."""
        return self.log_scale.exp()

    @property
    def weights(self) -> Float[Tensor, " k"]:
        """The weights w at present, which sum to 1, ``[K]``."""
        return self.logits.softmax(0)

    @property
    def learned(self) -> tuple[str, ...]:
        """Which of "locs", "scale" and "weights" are learned."""
        parts = {"locs": self.locs, "scale": self.log_scale, "weights": self.logits}
        return tuple(n for n, p in parts.items() if isinstance(p, nn.Parameter))

    def forward(self) -> Tensor | tuple[Tensor, Tensor]:
        """Sample z, ``[D]``, and return it."""
        clusters = dist.Categorical(logits=self.logits)
        components = dist.Normal(self.locs, self.scale).to_event(1)
        return pyro.sample(self.name, dist.MixtureSameFamily(clusters, components))


class EnumeratedGaussianMixture(GaussianMixture):
    r"""A :class:`GaussianMixture` with a site for the cluster, to be summed out by enumeration.

    .. math:: c \sim \mathrm{Categorical}(w), \quad z \sim \mathcal{N}(m_c, \mathrm{diag}(s_c^2))

    Write it so where the decoder sees the cluster, where the guide infers it, q(c|x), or where it
    is known for some of the data. z given c is drawn with gradients, c is not. While c is
    enumerated it has a dimension on the left that z does not have: index with it, or broadcast.

    Args:
        locs: As :class:`GaussianMixture`.
        scale: As :class:`GaussianMixture`.
        weights: As :class:`GaussianMixture`.
        learned: As :class:`GaussianMixture`.
        return_component: Whether the decoder takes z and c instead of z.
        component: Name of the cluster's site.
        name: Of the site of z.

    Reference:
        Dilokthanakul et al., Deep unsupervised clustering with Gaussian mixture variational
        autoencoders, 2016, https://arxiv.org/abs/1611.02648.

    >>> prior = EnumeratedGaussianMixture(torch.eye(3), 0.1, return_component=True)
    >>> z, c = prior()
    """

    def __init__(
        self,
        locs: Float[Tensor, "k d"],
        scale: float | Tensor,
        weights: Float[Tensor, " k"] | None = None,
        *,
        learned: Collection[str] = (),
        return_component: bool = False,
        component: str = "c",
        name: str = "z",
    ) -> None:
        super().__init__(locs, scale, weights, learned=learned, name=name)
        arguments.annotated(EnumeratedGaussianMixture.__init__, locals())
        self.return_component = return_component
        self.component = component

    def forward(self) -> Tensor | tuple[Tensor, Tensor]:
        """Sample c, then z, ``[D]``, and return z, or (z, c)."""
        clusters = dist.Categorical(logits=self.logits)
        c: Int[Tensor, ""] = pyro.sample(self.component, clusters, infer={"enumerate": "parallel"})
        z = pyro.sample(self.name, dist.Normal(self.locs[c], self.log_scale[c].exp()).to_event(1))
        return (z, c) if self.return_component else z
