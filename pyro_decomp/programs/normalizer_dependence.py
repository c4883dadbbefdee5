"""What the normaliser of an annealed site is computed from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyro
import torch
from pyro.infer.inspect import TrackProvenance
from pyro.ops.provenance import get_provenance
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyro_decomp import arguments
from pyro_decomp.distributions.annealing.registry import Annealed, Power, annealed_with_normalizer
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import LastSiteReached, is_latent


def check_normalizers(
    program: Callable[[], Any], beta: Power, sites: Sequence[str] | None = None
) -> None:
    """Check that no site's log F_beta is computed from the value of another latent site.

    Args:
        program: The program with its arguments bound.
        beta: The power.
        sites: The sites that are annealed; None for all latent ones.

    Raises:
        ModelError: One is; or a site's distribution cannot be annealed.
    """
    for name, parents in normalizer_parents(program, beta, sites).items():
        if parents:
            named = ", ".join(map(repr, sorted(parents)))
            raise ModelError(
                f"site '{name}' cannot be annealed by itself: expected a normaliser, the integral "
                f"of its density to the power beta, that is constant, but it is computed from "
                f"{named}; let {named} enter through the location alone"
            )


def normalizer_parents(
    program: Callable[[], Any], beta: Power, sites: Sequence[str] | None = None
) -> dict[str, set[str]]:
    """For each latent site, the other latent sites that its log F_beta is computed from.

    The program is run once, as far as the last of the sites and without touching the random state;
    values are followed through it by Pyro's provenance.

    Args:
        program: The program with its arguments bound.
        beta: The power.
        sites: Names of the sites; None for all latent ones.

    Raises:
        ModelError: A site's distribution cannot be annealed.
    """
    arguments.annotated(normalizer_parents, locals())
    inspector = _Inspector(beta, sites)
    with (
        torch.random.fork_rng(),
        torch.no_grad(),
        pyro.validation_enabled(False),
        _BroadcastEachAlone(),
        suppress(LastSiteReached),
        _plates_alone(),
        TrackProvenance(),
        inspector,
    ):
        program()
    return inspector.parents


def anneal_site(name: str, p: Any, beta: Power) -> Annealed:
    """The annealed density and log F_beta of a site's distribution.

    Raises:
        ModelError: It cannot be annealed.
    """
    try:
        return annealed_with_normalizer(p, beta)
    except (NotImplementedError, ValueError) as error:
        raise ModelError(f"site '{name}' cannot be annealed: {error}") from error


class _Inspector(Messenger):
    """Notes what each site's log normaliser is computed from; leaves after the last site named."""

    def __init__(self, beta: Power, sites: Sequence[str] | None) -> None:
        super().__init__()
        self._beta = beta
        self._sites = sites
        self._latents: set[str] = set()
        self.parents: dict[str, set[str]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if not is_latent(msg):
            return
        name = msg["name"]
        if self._sites is None or name in self._sites:
            _, log_f = anneal_site(name, msg["fn"], self._beta)
            self.parents[name] = self._latents & get_provenance(log_f)
        self._latents.add(name)
        if self._sites is not None and self._latents.issuperset(self._sites):
            raise LastSiteReached


@contextmanager
def _plates_alone() -> Iterator[None]:
    """Hides what runs inside from all handlers outside, but for the plates that it is in."""
    handlers = _PYRO_STACK[:]
    _PYRO_STACK[:] = [handler for handler in handlers if isinstance(handler, IndepMessenger)]
    try:
        yield
    finally:
        _PYRO_STACK[:] = handlers


class _BroadcastEachAlone(TorchFunctionMode):
    """Broadcasts tensors one at a time, so that none inherits where another came from.

    Distributions broadcast their parameters together; the scale of Normal(net(z), 1) would be seen
    as computed from z.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.broadcast_tensors:
            tensors: Sequence[Tensor] = args
            shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
            return tuple(tensor.expand(shape) for tensor in tensors)
        return func(*args, **(kwargs or {}))
