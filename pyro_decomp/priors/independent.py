"""Priors whose dimensions are independent, each of a density in one variable."""

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described


class IsotropicNormal(Described, nn.Module):
    r"""The standard Normal, whose dimensions are independent and of one scale.

    .. math:: p(z) = \mathcal{N}(z; 0, I)

    A product over dimensions, as TotalCorrelationELBO needs; drawn with gradients. No rotation of
    z changes it, so beta-VAE under it cannot tell one set of axes from another (Mathieu et al.
    2019, Theorem 2).

    Args:
        latent_dim: D, the length of z.
        name: Of the site.

    Reference:
        Kingma & Welling, Auto-encoding variational Bayes, 2014, https://arxiv.org/abs/1312.6114.

    >>> IsotropicNormal(2)().shape
    torch.Size([2])
    """

    def __init__(self, latent_dim: int, *, name: str = "z") -> None:
        super().__init__()
        arguments.annotated(IsotropicNormal.__init__, locals(), latent_dim=1)
        self.name = name
        self.loc = nn.Buffer(torch.zeros(latent_dim))

    @property
    def latent_dim(self) -> int:
        """D, the length of z."""
        return len(self.loc)

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        return pyro.sample(self.name, dist.Normal(self.loc, 1.0).to_event(1))


class AnisotropicNormal(Described, nn.Module):
    r"""A Normal with a scale for each dimension.

    .. math:: p(z) = \prod_d \mathcal{N}(z_d; 0, s_d^2)

    Where the scales differ, a rotation changes it, which ties the codes to the axes. A learned one
    keeps the mean variance that it starts with, since a common factor of all scales is for the
    decoder to choose:

    .. math:: s_d^2 = v D \, \mathrm{softmax}(a)_d, \quad v = \mathrm{mean}_d(s_d^2)

    A product over dimensions, as TotalCorrelationELBO needs; drawn with gradients.

    Args:
        scale: s, positive, ``[D]``.
        learned: Whether s is learned, from where it is.
        name: Of the site.

    Raises:
        ArgumentError: A scale is not positive.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.1, https://arxiv.org/abs/1812.02833.

    >>> prior = AnisotropicNormal(torch.tensor([2.0, 1.0, 0.5]), learned=True)
    >>> prior().shape
    torch.Size([3])
    """

    def __init__(
        self, scale: Float[Tensor, " d"], *, learned: bool = False, name: str = "z"
    ) -> None:
        super().__init__()
        arguments.annotated(AnisotropicNormal.__init__, locals())
        arguments.tensor("d", scale=scale)
        arguments.positive(scale=scale)
        self.name = name
        self.mean_variance = nn.Buffer(scale.square().mean())
        log_variance = scale.square().log()
        self.log_variance = nn.Parameter(log_variance) if learned else nn.Buffer(log_variance)

    @classmethod
    def from_data(
        cls,
        x: Float[Tensor, "n ..."],
        latent_dim: int,
        *,
        learned: bool = False,
        name: str = "z",
    ) -> "AnisotropicNormal":
        """A prior whose variances are the data's largest principal ones, divided to mean 1.

        The data are centred first, which the paper's public code does not do.

        Args:
            x: The data, one row a datum.
            latent_dim: D.
            learned: Whether they are learned, from there.
            name: Of the site.

        Returns:
            The prior.

        Raises:
            ArgumentError: The data vary in fewer than ``latent_dim`` directions.
        """
        arguments.tensor("n d ...", x=x)
        arguments.whole(latent_dim=latent_dim)
        rows = x.flatten(1).double()
        rows = rows - rows.mean(0)
        squares = rows.T @ rows if rows.shape[1] <= len(rows) else rows @ rows.T
        variance = torch.linalg.eigvalsh(squares).flip(0)
        rank = int((variance > variance[0] * 1e-12).sum())
        if latent_dim > rank:
            directions = f"at most {rank}, the directions in which the data vary"
            arguments.refuse("latent_dim", directions, latent_dim)
        variance = variance[:latent_dim] / variance[:latent_dim].mean()
        return cls(variance.sqrt().to(x), learned=learned, name=name)

    @property
    def scale(self) -> Float[Tensor, " d"]:
        """The scales s at present, ``[D]``."""
        return (self.mean_variance * len(self.log_variance) * self.log_variance.softmax(0)).sqrt()

    @property
    def learned(self) -> bool:
        """Whether the scales are learned."""
        return isinstance(self.log_variance, nn.Parameter)

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        return pyro.sample(self.name, dist.Normal(0.0, self.scale).to_event(1))


class Laplace(Described, nn.Module):
    r"""A Laplace in each dimension: codes of which many are small and few are large.

    .. math:: p(z) = \prod_d \frac{1}{2 b} \exp(-|z_d| / b)

    The prior of sparse coding. It fixes the axes, since its contours are not round. A product over
    dimensions, as TotalCorrelationELBO needs; drawn with gradients.

    Args:
        latent_dim: D, the length of z.
        scale: b, positive; 0.5**0.5 gives every dimension variance 1.
        name: Of the site.

    Raises:
        ArgumentError: ``scale`` is not positive.

    Reference:
        Geadah et al., Sparse-coding variational autoencoders, 2024,
        https://direct.mit.edu/neco/article/36/12/2571/124821.

    >>> Laplace(2)().shape
    torch.Size([2])
    """

    def __init__(self, latent_dim: int, scale: float = 1.0, *, name: str = "z") -> None:
        super().__init__()
        arguments.annotated(Laplace.__init__, locals(), latent_dim=1)
        arguments.number("(0, inf)", scale=scale)
        self.name = name
        self.scale = nn.Buffer(torch.full((latent_dim,), float(scale)))

    @property
    def latent_dim(self) -> int:
        """D, the length of z."""
        return len(self.scale)

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        return pyro.sample(self.name, dist.Laplace(0.0, self.scale).to_event(1))


class StudentT(Described, nn.Module):
    r"""A Student-t in each dimension: its contours are not round, so it fixes the axes.

    .. math:: p(z) = \prod_d \mathrm{StudentT}(z_d; \nu)

    It tends to the standard Normal for large nu; the smaller nu, the heavier the tails along the
    axes and the better axes are told apart. A product over dimensions, as TotalCorrelationELBO
    needs; drawn with gradients.

    Args:
        latent_dim: D, the length of z.
        df: nu, the degrees of freedom, positive.
        name: Of the site.

    Raises:
        ArgumentError: ``df`` is not positive.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.1, https://arxiv.org/abs/1812.02833.

    >>> StudentT(2, df=5.0)().shape
    torch.Size([2])
    """

    def __init__(self, latent_dim: int, df: float, *, name: str = "z") -> None:
        super().__init__()
        arguments.annotated(StudentT.__init__, locals(), latent_dim=1)
        arguments.number("(0, inf)", df=df)
        self.name = name
        self.df = nn.Buffer(torch.full((latent_dim,), float(df)))

    @property
    def latent_dim(self) -> int:
        """D, the length of z."""
        return len(self.df)

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        return pyro.sample(self.name, dist.StudentT(self.df).to_event(1))


class SpikeAndSlab(Described, nn.Module):
    r"""Each dimension is off, in a narrow spike, with probability gamma, and else on.

    .. math::
        p(z) = \prod_d \gamma \mathcal{N}(z_d; 0, \sigma_0^2) + (1 - \gamma) \mathcal{N}(z_d; 0, 1)

    A product over dimensions, as TotalCorrelationELBO needs. Drawn without gradients, which costs
    nothing as it is fixed.

    Args:
        latent_dim: D, the length of z.
        gamma: Probability that a dimension is off, from 0 (the standard Normal) to 1.
        spike_scale: sigma_0. The paper has sigma_0^2 = 0.05, the default here; its public code took
            0.05 for sigma_0 itself, as does ``spike_scale=0.05``.
        name: Of the site.

    Raises:
        ArgumentError: ``gamma`` is no probability, or ``spike_scale`` is not positive.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.3, https://arxiv.org/abs/1812.02833.

    >>> SpikeAndSlab(50, gamma=0.8)().shape
    torch.Size([50])
    """

    def __init__(
        self,
        latent_dim: int,
        gamma: float = 0.8,
        spike_scale: float = 0.05**0.5,
        *,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.annotated(SpikeAndSlab.__init__, locals(), latent_dim=1)
        arguments.number("[0, 1]", gamma=gamma)
        arguments.number("(0, inf)", spike_scale=spike_scale)
        self.name = name
        self.latent_dim = latent_dim
        self.logits = nn.Buffer(torch.tensor([float(gamma), 1 - float(gamma)]).log())
        self.scale = nn.Buffer(torch.tensor([float(spike_scale), 1.0]))

    @property
    def gamma(self) -> Tensor:
        """Probability that a dimension is off."""
        return self.logits.softmax(0)[0]

    @property
    def spike_scale(self) -> Tensor:
        """sigma_0, of a dimension that is off."""
        return self.scale[0]

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        spike_or_slab = dist.Categorical(logits=self.logits.expand(self.latent_dim, 2))
        components = dist.Normal(0.0, self.scale.expand(self.latent_dim, 2))
        z = dist.MixtureSameFamily(spike_or_slab, components).to_event(1)
        return pyro.sample(self.name, z)
