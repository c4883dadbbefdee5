"""A model and a guide from a prior program, an encoder and a decoder."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro.distributions import Distribution, constraints
from pyro.poutine.runtime import _PYRO_STACK, effectful
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyro_decomp import arguments


class VAE(nn.Module):
    r"""A variational autoencoder whose prior is a Pyro program.

    :meth:`model` is p(z) p(x|z) and :meth:`guide` is q(z|x), both inside the data plate, ready for
    any objective of this package or Pyro's. Parameters live in the module alone, never in Pyro's
    global store, so that two of them in one process share nothing.

    Args:
        prior: A program that samples the latent site and returns what the decoder takes. It may be
            a function or a module; it is run inside the data plate, so it says nothing of N or B.
        encoder: ``encoder(x)`` is the distribution q(z|x), its batch shape that of the data; or a
            dictionary of one for each latent site, by name; or nothing, and then the encoder is a
            program itself, run inside the data plate, which samples the latent sites.
        decoder: ``decoder(z)`` is the distribution p(x|z), of what the prior returns; a tuple is
            given as several arguments.
        size: N, the size of the whole data set, with which the data plate is opened.
        latent: Name of the prior's latent site, where the encoder gives one distribution.
        observed: Name of the site of the data.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyro_decomp.networks import MLPDecoder, MLPEncoder
        >>> def prior():
        ...     return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> vae = VAE(prior, MLPEncoder(3, 2), MLPDecoder(2, 3), size=10)
        >>> pyro.poutine.trace(vae.model).get_trace(torch.randn(5, 3)).nodes["z"]["value"].shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        size: int,
        latent: str = "z",
        observed: str = "x",
    ) -> None:
        super().__init__()
        arguments.annotated(VAE.__init__, locals(), size=1)
        arguments.function("a program that samples the latent site", prior=prior)
        arguments.instance(nn.Module, "a module", encoder=encoder, decoder=decoder)
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder
        self.size = size
        self.latent = latent
        self.observed = observed

    def model(self, x: Tensor) -> None:
        """Sample the prior and observe the data: p(z) p(x|z)."""
        if isinstance(self.prior, nn.Module):
            _declare_parameters("prior", self.prior)
        _declare_parameters("decoder", self.decoder)
        with pyro.plate("data", self.size, subsample=x):
            z = self.prior()
            px_z: Distribution = self.decoder(*z) if isinstance(z, tuple) else self.decoder(z)
            pyro.sample(self.observed, px_z, obs=x)

    def guide(self, x: Tensor) -> None:
        """Sample the encoding: q(z|x)."""
        _declare_parameters("encoder", self.encoder)
        with pyro.plate("data", self.size, subsample=x):
            qz_x: Distribution | Mapping[str, Distribution] | None = self.encoder(x)
            if isinstance(qz_x, Mapping):
                for name, fn in qz_x.items():
                    pyro.sample(name, fn)
            elif isinstance(qz_x, Distribution):
                pyro.sample(self.latent, qz_x)


def _declare_parameters(prefix: str, module: nn.Module) -> None:
    """Let a trace that records parameters, such as SVI's, see those of a module.

    Unlike ``pyro.module`` it neither stores nor looks up anything by name, and it costs nothing
    where nobody records.
    """
    if not any(
        isinstance(handler, TraceMessenger) and getattr(handler, "records_parameters", True)
        for handler in _PYRO_STACK
    ):
        return
    for name, parameter in module.named_parameters():
        declared = parameter.detach()  # an attribute on the parameter could not be pickled
        declared.unconstrained = lambda it=parameter: it  # type: ignore[attr-defined]
        _parameter(declared, constraint=constraints.real, name=f"{prefix}.{name}")


@effectful(type="param")
def _parameter(parameter: Tensor, *, constraint: constraints.Constraint) -> Tensor:
    return parameter
