"""Distributions without their wrappers, and what their families say (internal)."""

from typing import Any

from pyro.distributions import Distribution, Independent, MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution


def unwrapped(fn: Distribution) -> Any:
    """A distribution without what declares, masks or expands its dimensions."""
    base: Any = fn
    while isinstance(base, Independent | MaskedDistribution | ExpandedDistribution):
        base = base.base_dist
    return base


def unmasked(fn: Distribution) -> Distribution:
    """A distribution without the mask of its data, which says nothing of its density elsewhere."""
    while isinstance(fn, MaskedDistribution):
        fn = fn.base_dist
    return fn


def stripped(fn: Distribution) -> Any:
    """A distribution without what declares its dimensions, inside of ``Independent``."""
    base: Any = fn
    while isinstance(base, Independent):
        base = base.base_dist
    return base


def is_factorised(fn: Distribution) -> bool:
    """Whether the dimensions are independent of one another by construction."""
    return len(stripped(fn).event_shape) == 0


def family(fn: Distribution) -> str:
    """The name of a distribution's family, without its wrappers."""
    return type(unwrapped(fn)).__name__
