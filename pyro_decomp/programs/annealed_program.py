"""Whole prior programs, annealed site by site where that is what annealing the joint means."""

from collections.abc import Callable
from typing import Any

from pyro.distributions import Distribution
from pyro.poutine.messenger import Messenger
from torch import nn

from pyro_decomp.arguments import function, number, refuse
from pyro_decomp.distributions.annealing.registry import Power
from pyro_decomp.programs.normalizer_dependence import anneal_site, check_normalizers
from pyro_decomp.programs.sites import is_latent

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
    """What :func:`anneal` returns.

    Args:
        program: The program.
        beta: The power.

    Attributes:
        program: The program; its parameters are this module's too.
        beta: The power.
    """

    def __init__(self, program: Program, beta: Power) -> None:
        super().__init__()
        if isinstance(program, Distribution):
            refuse("program", "a program that samples sites, or annealed(p, beta) for p", program)
        function("a program that samples latent sites", program=program)
        number("(0, inf)", beta=beta)
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
        with _Anneal(self.beta):
            return self.program(*args, **kwargs)


class _Anneal(Messenger):
    def __init__(self, beta: Power) -> None:
        super().__init__()
        self._beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg):
            msg["fn"], _ = anneal_site(msg["name"], msg["fn"], self._beta)
