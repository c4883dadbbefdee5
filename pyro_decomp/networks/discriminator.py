"""The discriminator of FactorVAE."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.networks.event_shape import leading_shape


class Discriminator(nn.Module):
    """One logit a row: a perceptron of LeakyReLU that tells samples of two distributions apart.

    Args:
        in_dim: D, the length of a row; of codes, all latent sites together.
        hidden: Width of each hidden layer; by default the paper's six of 1000.
        slope: Of LeakyReLU below zero.

    Reference:
        Kim & Mnih, Disentangling by factorising, 2018, https://arxiv.org/abs/1802.05983. It has two
        logits there, of which only the difference matters.

    >>> import torch
    >>> Discriminator(2, hidden=(16,))(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(
        self, in_dim: int, hidden: Sequence[int] = (1000,) * 6, slope: float = 0.2
    ) -> None:
        super().__init__()
        arguments.whole(in_dim=in_dim)
        arguments.wholes(hidden=hidden)
        arguments.number("[0, inf)", slope=slope)
        self.in_dim = in_dim
        widths = [in_dim, *hidden]
        layers = [
            [nn.Linear(width, after), nn.LeakyReLU(slope)] for width, after in pairwise(widths)
        ]
        self.body = nn.Sequential(*[module for layer in layers for module in layer])
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits of shape ``(...)`` for rows of shape ``(..., in_dim)``.

        Raises:
            ValueError: The rows have another length.
        """
        leading_shape(z, (self.in_dim,))
        logits: Tensor = self.logit(self.body(z)).squeeze(-1)
        return logits
