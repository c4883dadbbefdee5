"""A model and a guide from a prior program, an encoder and a decoder."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro.distributions import Distribution, constraints
from pyro.poutine.runtime import _PYRO_STACK, effectful
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import sample_sites


class VAE(Described, nn.Module):
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

    Raises:
        ModelError: A part is of another kind, or returns something else when it is run.
        ArgumentError: The size is no positive whole number.

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
        arguments.text(latent=latent, observed=observed)
        if latent == observed:
            arguments.refuse("observed", "another name than that of the latent site", observed)
        arguments.whole(size=size)
        _check_prior(prior)
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(part, nn.Module):
                raise ModelError(
                    f"{name}: expected a network, an nn.Module whose forward returns a "
                    f"distribution, got {_told(part)}"
                )
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
            if z is None or isinstance(z, Distribution | torch.distributions.Distribution):
                raise ModelError(
                    f"the prior returned {_told(z)}, expected what the decoder takes: "
                    f"return pyro.sample({self.latent!r}, ...) with the distribution in it"
                )
            px_z = self.decoder(*z) if isinstance(z, tuple) else self.decoder(z)
            _check_distribution(px_z, "the decoder", "p(x|z)")
            pyro.sample(self.observed, px_z, obs=x)

    def guide(self, x: Tensor) -> None:
        """Sample the encoding: q(z|x)."""
        _declare_parameters("encoder", self.encoder)
        with pyro.plate("data", self.size, subsample=x):
            qz_x = self.encoder(x)
            if isinstance(qz_x, Mapping):
                for name, fn in qz_x.items():
                    _check_distribution(fn, f"the encoder, for site {name!r},", "q(z|x)")
                    pyro.sample(name, fn)
            elif isinstance(qz_x, Distribution):
                pyro.sample(self.latent, qz_x)
            elif _nothing_is_sampled():
                _check_distribution(qz_x, "the encoder", "q(z|x)")


def _check_prior(prior: object) -> None:
    if isinstance(prior, Distribution | torch.distributions.Distribution) or not callable(prior):
        raise ModelError(
            f"prior: expected a program that samples, got {_told(prior)}: give a function that "
            'returns pyro.sample("z", ...) with the distribution in it'
        )
    if isinstance(prior, type):
        raise ModelError(
            f"prior: expected a program, got the class {prior.__name__}: give one of it, "
            f"{prior.__name__}(...)"
        )
    try:
        inspect.signature(prior.forward if isinstance(prior, nn.Module) else prior).bind()
    except TypeError as error:
        called = getattr(prior, "__name__", type(prior).__name__)
        raise ModelError(
            f"prior: expected a program that is called without arguments, got {called} ({error}): "
            'give a function or module that returns pyro.sample("z", ...)'
        ) from error
    except ValueError:  # written in C, without a signature
        pass


def _check_distribution(found: object, where: str, what: str) -> None:
    """Check that what a network returned is a distribution of Pyro's, and say how to make it one.

    Raises:
        ModelError: It is not.
    """
    if isinstance(found, Distribution):
        return
    depth = f".to_event({found.dim() - 1})" if isinstance(found, Tensor) and found.dim() > 1 else ""
    make = f"return a distribution, such as dist.Normal(loc, 1.0){depth} with it as loc"
    if isinstance(found, torch.distributions.Distribution):
        make = "take the same of pyro.distributions"
    elif isinstance(found, tuple | list) and len(found) == 2:
        make = "return a distribution of the two, such as dist.Normal(loc, scale).to_event(1)"
    elif not isinstance(found, Tensor):
        make = "return a distribution, such as dist.Normal(loc, scale).to_event(1)"
    raise ModelError(
        f"{where} returned {_told(found)}, expected a distribution of pyro.distributions, {what}: "
        f"{make}"
    )


def _told(found: object) -> str:
    """What something is, in words."""
    if isinstance(found, type):
        return f"the class {found.__name__}"
    if isinstance(found, Tensor):
        return f"a tensor of shape {tuple(found.shape)}"
    if isinstance(found, tuple | list):
        kinds = ", ".join(type(each).__name__ for each in found)
        return f"a {type(found).__name__} ({kinds})"
    if isinstance(found, Distribution):
        return f"a distribution ({type(found).__name__})"
    if isinstance(found, torch.distributions.Distribution):
        return f"a distribution of torch ({type(found).__name__})"
    return "None" if found is None else f"{type(found).__name__}"


def _nothing_is_sampled() -> bool:
    """Whether a trace is being taken in which there is no random site so far."""
    traces = [
        handler.trace
        for handler in _PYRO_STACK
        if isinstance(handler, TraceMessenger) and not handler.param_only
    ]
    return bool(traces) and not any(sample_sites(trace) for trace in traces)


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
