"""Independent subspaces: groups of dimensions that belong together."""

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described
from pyro_decomp.distributions import LpNested


class IndependentSubspaces(Described, nn.Module):
    r"""Groups of dimensions, independent of one another but not within; each has variance 1.

    .. math:: p(z) \propto \exp\Big( -\sum_k \big( \| v_k \|_{p} / a_k \big)^{r} \Big), \quad
        z = (v_1, \dots, v_K)

    With ``inner=2`` z may be rotated within a group at no cost, but not across groups unless
    ``outer`` is 2 as well, the standard Normal. With ``outer`` below ``inner`` few groups are large
    at a time. Not a product over dimensions, unless the groups have length 1; drawn with gradients.

    Args:
        sizes: The length of each group; D is their sum.
        inner: p, the norm within a group, positive.
        outer: r, the power of that norm, positive.
        name: Of the site.

    Raises:
        ArgumentError: ``inner`` or ``outer`` is not positive, or a group is empty.

    Reference:
        Stuehmer, Turner & Nowozin, Independent subspace analysis for unsupervised learning of
        disentangled representations, 2020, https://arxiv.org/abs/1909.05063.

    >>> IndependentSubspaces((2, 2, 3))().shape
    torch.Size([7])
    """

    def __init__(
        self, sizes: Sequence[int], inner: float = 2.0, outer: float = 1.0, *, name: str = "z"
    ) -> None:
        super().__init__()
        arguments.wholes(1, sizes=sizes)
        arguments.number("(0, inf)", inner=inner, outer=outer)
        arguments.text(name=name)
        self.name = name
        self.sizes = tuple(sizes)
        self.inner = nn.Buffer(torch.full((len(self.sizes),), float(inner)))
        self.outer = nn.Buffer(torch.tensor(float(outer)))
        unit = LpNested(self.sizes, self.inner, self.outer, torch.ones_like(self.inner))
        first = torch.tensor([0, *self.sizes[:-1]]).cumsum(0)  # dimension of each group
        self.scale = nn.Buffer(unit.variance[first].rsqrt())

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        return pyro.sample(self.name, LpNested(self.sizes, self.inner, self.outer, self.scale))
