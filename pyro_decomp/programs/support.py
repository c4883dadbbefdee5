"""Values that a distribution gives no density, and the error that names the first (internal)."""

from typing import Any

import torch
from jaxtyping import Bool
from pyro.distributions import Distribution, constraints
from torch import Tensor
from torch.distributions.constraints import MixtureSameFamilyConstraint

from pyro_decomp.distributions.densities import family
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import Site

Constraint = Any


def elementary(support: Constraint) -> Constraint:
    """What a support asks of one value, or of the smallest vector that it asks something of."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def outside(support: Constraint, value: Tensor) -> Bool[Tensor, "..."]:
    """Which values are not finite or not in a support; fewer dimensions if it is one of vectors."""
    infinite = ~value.isfinite()
    try:
        found: Tensor = ~elementary(support).check(value)
    except NotImplementedError:  # it is not known
        return infinite
    return found | (infinite if found.dim() == value.dim() else infinite.any(-1))


def at_edge(support: Constraint, value: Tensor) -> Bool[Tensor, "..."]:
    """Which values lie on the edge of a continuous support, where a density may be infinite."""
    one = elementary(support)
    if one.is_discrete:
        return torch.zeros((), dtype=torch.bool).expand(value.shape)
    is_mixture = isinstance(one, MixtureSameFamilyConstraint)
    one = elementary(one.base_constraint) if is_mixture else one
    found = torch.zeros((), dtype=torch.bool)
    for name in ("lower_bound", "upper_bound"):
        bound = getattr(one, name, None)
        if isinstance(bound, Tensor) and is_mixture and bound.numel() > 1:
            continue  # its components have bounds of their own
        if isinstance(bound, int | float | Tensor):
            found = found | (value == bound)
    if one is constraints.simplex:
        found = (value == 0) | (value == 1)
    return found.expand(value.shape)


def without_density(fn: Distribution, value: Tensor) -> Bool[Tensor, "..."]:
    """Which values are in the support, on its edge, in a datum whose log density is not finite."""
    edge = at_edge(fn.support, value)
    if not edge.any():
        return edge
    finite = fn.log_prob(value).isfinite()
    while finite.dim() > value.dim() - len(fn.event_shape):  # values of a discrete site
        finite = finite.any(0)
    return edge & ~finite.reshape(finite.shape + (1,) * len(fn.event_shape))


def refusal(
    site: Site,
    value: Tensor,
    place: str,
    offender: Tensor,
    *,
    data: str = "data",
    is_edge: bool = False,
) -> ModelError:
    """The error about a site with values that have no density.

    Args:
        site: The site.
        value: All its values.
        place: Where the first offender is; empty to leave it out.
        offender: That value, or the vector that it is.
        data: What the values of an observed site are called.
        is_edge: They are in the support, but on an edge where the density is not finite.
    """
    fn = site["fn"]
    where = data if site["is_observed"] else "guide's draws"
    first = f", {place} with {_shown(offender)}" if place else ""
    finite = value[value.isfinite()]
    if not bool(offender.isfinite().all()):
        fix = "look for a log, root or division in the guide"
        if site["is_observed"]:
            fix = "leave such rows out, or fill them with a number and give an obs_mask="
            fix += "; what is masked out must be a number too" if site["mask"] is not None else ""
        return ModelError(f"the {where} for site '{site['name']}' are not all finite{first}: {fix}")
    if is_edge:
        what = f"at an edge of the support of {family(fn)} where its density is 0 or infinite"
    else:
        what = f"outside the support of {family(fn)}, {_described(elementary(fn.support))}"
    return ModelError(
        f"the {where} for site '{site['name']}' range from {finite.min():.4g} to "
        f"{finite.max():.4g}, {what}{first}: {_remedy(site, is_edge=is_edge)}"
    )


def _described(support: Constraint) -> str:
    """A support in words, its bounds as numbers even where each datum has its own."""
    bounds = {name: value for name, value in vars(support).items() if name.endswith("_bound")}
    if not any(isinstance(value, Tensor) for value in bounds.values()):
        return str(support)
    told = [f"{name}={_range(value)}" for name, value in bounds.items()]
    return f"{type(support).__name__.strip('_')}({', '.join(told)})"


def _range(bound: float | Tensor) -> str:
    if not isinstance(bound, Tensor):
        return f"{bound:.6g}"
    low, high = float(bound.min()), float(bound.max())
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def _remedy(site: Site, *, is_edge: bool) -> str:
    fn = site["fn"]
    fix = "rescale the data or choose a likelihood with that support"
    if not site["is_observed"]:
        fix = "choose a guide family with the prior's support"
    elif is_edge:
        fix = "move such values inside, as x.clamp(1e-6, 1 - 1e-6) does for [0, 1], or choose a "
        fix += "likelihood that allows them"
    elif family(fn) == "Bernoulli":
        fix = "make the data 0 or 1, or use ContinuousBernoulli (for [0, 1]) or Normal"
    elif family(fn).startswith("OneHotCategorical"):
        fix = "give vectors of zeros with a single 1, as torch.nn.functional.one_hot does"
    elif family(fn) == "Categorical":
        fix = "number the labels from 0; where one is not known, give any of them and an obs_mask="
    elif getattr(fn.support, "is_discrete", False):
        fix = "give whole counts in that range, or choose a likelihood of real numbers"
    if site["mask"] is not None:
        fix += "; values that are masked out must lie in it too"
    return fix


def _shown(offender: Tensor) -> str:
    if offender.numel() == 1:
        return f"{offender.item():.6g}"
    return f"a vector of sum {offender.sum().item():.6g}"
