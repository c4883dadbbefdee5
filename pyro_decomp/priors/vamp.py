"""The VampPrior: the encodings of a few learned inputs."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described


class VampPrior(Described, nn.Module):
    r"""A mixture of the encodings of K learned pseudo-inputs: a small aggregate posterior.

    .. math:: p(z) = \frac{1}{K} \sum_k q(z | u_k)

    The encoder is the guide's own. It is borrowed, not held: the prior's parameters and state are
    the pseudo-inputs alone, so that a VAE with both has each weight once, and to move or save the
    encoder is left to its owner. Copies of the VAE share nothing with it. Batch normalisation in
    the encoder would count the pseudo-inputs as a batch of their own.

    Not a product over dimensions. Drawn without gradients, so that it needs a divergence of
    densities, ExclusiveKL, or none: the plain ELBO learns the pseudo-inputs too.

    Args:
        encoder: ``encoder(u)`` is q(z|u).
        pseudo_inputs: u to begin with, ``[K, ...]``: K data, for instance.
        name: Of the site.

    Reference:
        Tomczak & Welling, VAE with a VampPrior, 2018, section 3, https://arxiv.org/abs/1705.07120.

    >>> from pyro_decomp.networks import MLPEncoder
    >>> prior = VampPrior(MLPEncoder(3, 2), torch.randn(10, 3))
    >>> list(prior.state_dict())
    ['pseudo_inputs']
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], dist.TorchDistribution],
        pseudo_inputs: Float[Tensor, "k ..."],
        *,
        name: str = "z",
    ) -> None:
        super().__init__()
        of_data = "a function of data that gives a distribution"
        arguments.function(of_data, encoder=encoder)
        if isinstance(encoder, type):
            arguments.refuse("encoder", of_data, encoder)
        arguments.tensor("k ...", pseudo_inputs=pseudo_inputs)
        arguments.text(name=name)
        self.name = name
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.clone())
        self._borrowed = (encoder,)  # a module in a tuple is not registered

    @property
    def encoder(self) -> Callable[[Tensor], dist.TorchDistribution]:
        """The encoder that is borrowed."""
        return self._borrowed[0]

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        qz_u = self.encoder(self.pseudo_inputs)
        equal = dist.Categorical(logits=torch.zeros_like(self.pseudo_inputs.flatten(1)[:, 0]))
        return pyro.sample(self.name, dist.MixtureSameFamily(equal, qz_u))
