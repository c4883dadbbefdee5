"""Whole prior programs, annealed site by site where that is what annealing the joint means."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.distributions import Distribution
from pyro.infer.inspect import TrackProvenance
from pyro.ops.provenance import get_provenance
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyro_decomp import arguments
from pyro_decomp.distributions.annealing.registry import Annealed, Power, annealed_with_normalizer
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import Site, is_latent
from pyro_decomp.programs.substitute import Substitute

Program = Callable[..., Any]


def anneal(program: Program, beta: Power) -> "AnnealedProgram":
    r"""A prior program whose joint density is p(z)^beta / F_beta.

    Every latent site is replaced by its annealed density. For a program of several sites,

    .. math:: \prod_i f_\beta(z_i | z_{<i}) = p(z)^\beta / \prod_i F_{\beta,i}(z_{<i}),

    and this is the annealed joint only where no F_i depends on earlier sites. A Normal whose
    location depends on its parents passes; one whose scale does is refused. Dependence is followed
    through tensors: a scale chosen by Python's ``if`` on a sampled value is not seen.

    Args:
        program: A function or module that samples latent sites; observed and deterministic sites
            are left as they are.
        beta: The power, a positive number or a tensor without dimensions.

    Returns:
        A module with the program's signature and return value; its ``beta`` may be set.

    Raises:
        ModelError: When run: the normaliser of a site is computed from the value of another, or
            the site's distribution cannot be annealed.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def prior():
        ...     return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> pyro.poutine.trace(anneal(prior, 4.0)).get_trace().nodes["z"]["fn"].base_dist.scale
        tensor([0.5000, 0.5000])
    """
    return AnnealedProgram(program, beta)


class AnnealedProgram(nn.Module):
    """A prior program whose latent sites are annealed, as :func:`anneal` makes it.

    Attributes:
        program: The program; its parameters are this module's too.
        beta: The power.
    """

    def __init__(self, program: Program, beta: Power) -> None:
        super().__init__()
        if isinstance(program, type):
            arguments.refuse("program", f"a program, such as one {program.__name__}(...)", program)
        if isinstance(program, Distribution):
            arguments.refuse(
                "program", "a program that samples sites, or annealed(p, beta) for p", program
            )
        arguments.function("a program that samples latent sites", program=program)
        arguments.number("(0, inf)", beta=beta)
        self.program = program
        self.beta = beta
        self._checked = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program with every latent site annealed.

        Raises:
            ModelError: As for :func:`anneal`.
        """
        if not self._checked:
            check_normalizers(lambda: self.program(*args, **kwargs), self.beta)
            self._checked = True
        with Substitute(self._anneal):
            return self.program(*args, **kwargs)

    def _anneal(self, site: Site) -> None:
        """Put the annealed density in the place of a latent site's distribution."""
        if is_latent(site):
            site["fn"], _ = anneal_site(site["name"], site["fn"], self.beta)


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

    Returns:
        Site name to the names of these sites; none of which where log F_beta is constant.

    Raises:
        ModelError: A site's distribution cannot be annealed.
    """
    arguments.annotated(normalizer_parents, locals())
    latents: set[str] = set()
    parents: dict[str, set[str]] = {}

    def note(site: Site) -> None:
        if not is_latent(site):
            return
        name = site["name"]
        if sites is None or name in sites:
            _, log_f = anneal_site(name, site["fn"], beta)
            parents[name] = latents & get_provenance(log_f)
        latents.add(name)
        if sites is not None and latents.issuperset(sites):
            handler.leave()

    handler = Substitute(note)
    with (
        torch.random.fork_rng(),
        torch.no_grad(),
        pyro.validation_enabled(False),
        _BroadcastEachAlone(),
        _plates_alone(),
        TrackProvenance(),
        handler,
    ):
        program()
    return parents


def anneal_site(name: str, p: Any, beta: Power) -> Annealed:
    """The annealed density and log F_beta of a site's distribution.

    Raises:
        ModelError: It cannot be annealed.
    """
    try:
        return annealed_with_normalizer(p, beta)
    except (NotImplementedError, ValueError) as error:
        raise ModelError(f"site '{name}' cannot be annealed: {error}") from error


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
            shape = func(*tensors)[0].shape
            return tuple(tensor.expand(shape) for tensor in tensors)
        return func(*args, **(kwargs or {}))
