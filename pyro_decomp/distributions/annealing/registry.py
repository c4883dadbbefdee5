"""The annealed density of a distribution, found by its family and open to new ones."""

import math
from collections.abc import Callable
from functools import singledispatch
from typing import TypeVar

import torch
from pyro.distributions import Distribution, TorchDistribution
from pyro.distributions.util import is_validation_enabled
from torch import Tensor

from pyro_decomp.arguments import instance, number
from pyro_decomp.errors import ArgumentError

Power = float | Tensor
Annealed = tuple[TorchDistribution, Tensor]
Rule = TypeVar("Rule", bound=Callable[..., Annealed])


def annealed(p: Distribution, beta: Power) -> TorchDistribution:
    r"""The annealed density :math:`f_\beta(z) = p(z)^\beta / F_\beta`.

    For beta > 1 it gathers at the modes of p, for beta < 1 it spreads; at 1 it is p. Many families
    are closed under it, and then the result is of that family. Mixtures become an
    :class:`AnnealedMixture`, which is normalised numerically.

    Mathieu, Rainforth, Siddharth & Teh, "Disentangling Disentanglement in Variational
    Autoencoders", 2019, Theorem 1 (https://arxiv.org/abs/1812.02833).

    Args:
        p: A distribution over anything that the registry knows; batch and event shape are kept.
        beta: The power, a positive number or a tensor without dimensions.

    Returns:
        The annealed density, of the batch and event shape of p.

    Raises:
        ArgumentError: ``beta`` is not positive, p^beta has no finite integral, or no rule is
            registered for the family.

    Example:
        >>> import pyro.distributions as dist
        >>> annealed(dist.Normal(0.0, 2.0), 4.0).scale
        tensor(1.)
    """
    return annealed_with_normalizer(p, beta)[0]


def log_normalizer(p: Distribution, beta: Power) -> Tensor:
    r""":math:`\log F_\beta = \log \int p(z)^\beta dz`, in nats, of p's batch shape.

    Gradients reach the parameters of p and beta. At beta = 1 it is 0.

    Args:
        p: As for :func:`annealed`.
        beta: As for :func:`annealed`.

    Returns:
        The log normaliser, of the batch shape of p.

    Raises:
        ArgumentError: As for :func:`annealed`.
    """
    return annealed_with_normalizer(p, beta)[1]


def annealed_with_normalizer(p: Distribution, beta: Power) -> Annealed:
    """The annealed density and log F_beta, from one computation.

    Args:
        p: As for :func:`annealed`.
        beta: As for :func:`annealed`.

    Returns:
        The annealed density, and log F_beta in nats.

    Raises:
        ArgumentError: As for :func:`annealed`.
    """
    instance(torch.distributions.Distribution, "a distribution", p=p)
    if isinstance(beta, Tensor) and beta.dim() == 0:
        require(beta > 0, lambda: f"beta: expected a positive number, got {beta}")
    else:
        number("(0, inf)", beta=beta)
    return _rule(p, beta.to(_dtype(p)) if isinstance(beta, Tensor) else beta)


def register_annealed(family: type) -> Callable[[Rule], Rule]:
    """Register how a family is annealed; used as a decorator.

    The rule takes the distribution and beta and returns the annealed distribution and log F_beta.
    It holds for subclasses too, unless they register their own. Compute log F_beta from those
    parameters alone that it depends on: what it is computed from tells :func:`anneal` whether it
    is constant.

    Args:
        family: A subclass of ``torch.distributions.Distribution``.

    Returns:
        A decorator that registers a rule and returns it.

    Example:
        >>> import pyro.distributions as dist
        >>> @register_annealed(dist.Geometric)
        ... def _(p, beta):
        ...     failure = torch.log1p(-p.probs)
        ...     probs = -torch.expm1(beta * failure)
        ...     return dist.Geometric(probs), beta * p.probs.log() - probs.log()
        >>> float(log_normalizer(dist.Geometric(torch.tensor(0.5)), 2.0).exp())  # 1/4 + 1/16 + ...
        0.3333333...
    """
    instance(type, "a class of distributions", family=family)

    def register(rule: Rule) -> Rule:
        _rule.register(family)(rule)
        return rule

    return register


@singledispatch
def _rule(p: Distribution, beta: Power) -> Annealed:
    family = type(p).__name__
    raise ArgumentError(
        f"expected a distribution that can be annealed, got {family}: register its annealed "
        f"density and log normaliser with @register_annealed({family})"
    )


def require(valid: bool | Tensor, message: Callable[[], str]) -> None:
    """Raise with ``message()`` unless ``valid`` holds everywhere.

    Tensors are looked at only while Pyro validates distributions, as their own arguments are.

    Raises:
        ArgumentError: It does not hold.
    """
    if isinstance(valid, Tensor):
        valid = not is_validation_enabled() or bool(valid.all())
    if not valid:
        raise ArgumentError(message())


def _dtype(p: object) -> torch.dtype | None:
    """The type of a distribution's parameters, or None for one that has none."""
    for value in vars(p).values():
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.dtype
        if isinstance(value, torch.distributions.Distribution) and (dtype := _dtype(value)):
            return dtype
    return None


def is_one(beta: Power) -> bool:
    """Whether annealing changes nothing; not asked of a tensor, which may carry gradients."""
    return not isinstance(beta, Tensor) and beta == 1


def log_power(beta: Power) -> Power:
    """The logarithm of beta, a number for a number."""
    return torch.log(beta) if isinstance(beta, Tensor) else math.log(beta)
