"""Discrete latent sites, which are summed over instead of drawn (internal).

Those of the guide are summed over in expectations, those of the model alone are summed out of its
density. Pyro's handler gives every such site all of its values along a batch dimension of its own,
to the left of the plates; here is which sites, and the sums. Labels, discrete sites that are
observed for all of the data or some, are drawn in the prior, and summed over there too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import Site, plate_dims, sample_sites
from pyro_decomp.programs.substitute import Substitute

Program = Callable[..., Any]

OBSERVED, UNOBSERVED = "_observed", "_unobserved"  # what Pyro calls the two parts of an obs_mask


@dataclass(frozen=True)
class Enumeration:
    """Which sites of a pair of programs are summed over.

    Attributes:
        guide: Discrete sites of the guide, but those that it draws with gradients.
        model: Discrete sites of the model alone.
        num_plates: How many batch dimensions plates take, counted from the right.
    """

    guide: frozenset[str] = frozenset()
    model: frozenset[str] = frozenset()
    num_plates: int = 0

    @classmethod
    def of(cls, model: poutine.Trace, guide: poutine.Trace) -> "Enumeration":
        """Find the sites to be summed over, from traces in which they were drawn."""
        sites = {"guide": sample_sites(guide), "model": sample_sites(model)}
        discrete = {
            role: frozenset(
                site["name"]
                for site in found
                if not site["is_observed"] and site["fn"].has_enumerate_support
            )
            for role, found in sites.items()
        }
        dims = {dim for found in sites.values() for site in found for dim in plate_dims(site)}
        alone = discrete["model"] - {site["name"] for site in sites["guide"]}
        drawn = {site["name"] for site in sites["guide"] if site["fn"].has_rsample}
        return cls(discrete["guide"] - drawn, alone, -min(dims, default=0))

    def __bool__(self) -> bool:
        return bool(self.guide or self.model)

    def without_guide(self) -> "Enumeration":
        """What is summed over where the guide's discrete sites are drawn."""
        return Enumeration(frozenset(), self.model, self.num_plates)

    def wrapped(self, model: Program, guide: Program) -> tuple[Program, Program]:
        """Wrap programs so that these sites have all of their values; the guide is to run first."""
        if not self:
            return model, guide
        leftmost = EnumMessenger(first_available_dim=-1 - self.num_plates)
        further = EnumMessenger()  # it goes on to the left of what the guide took
        return further(_marked(model, self.model)), leftmost(_marked(guide, self.guide))

    def wrapped_model(self, model: Program) -> Program:
        """Wrap the model so that the sites that it alone has have all of their values."""
        leftmost = EnumMessenger(first_available_dim=-1 - self.num_plates)
        return leftmost(self.marked_model(model)) if self.model else model

    def marked_model(self, model: Program) -> Program:
        """Mark the sites that the model alone has for Pyro's handlers."""
        return _marked(model, self.model)


NOTHING = Enumeration()


def _marked(program: Program, names: frozenset[str]) -> Program:
    def configured(site: Site) -> dict[str, Any]:
        return {"enumerate": "parallel" if site["name"] in names else None, "num_samples": None}

    return poutine.infer_config(program, configured)


def enumerated_dim(site: Site) -> int | None:
    """The batch dimension along which a site has all of its values; None if it was drawn."""
    dim: int | None = site["infer"].get("_enumerate_dim")
    return dim


def varies_along(x: Tensor, dim: int) -> bool:
    """Whether a tensor has this (negative) dimension, and more than one entry along it."""
    return x.dim() >= -dim and x.shape[dim] > 1


def per_datum(x: Tensor, data_dim: int, num_plates: int) -> Tensor:
    """Sum over all plates but the data's.

    Returns:
        The sum, ``[..., B]``, with enumerated dimensions to the left.
    """
    if x.dim() <= 1:
        return x
    configurations = x.shape[: max(0, x.dim() - num_plates)]
    moved = x.movedim(data_dim, -1)
    return moved.reshape(*configurations, -1, moved.shape[-1]).sum(-2)


@dataclass(frozen=True)
class Factor:
    """One factor of a density.

    Attributes:
        log_prob: Its logarithm, over plates and enumerated dimensions.
        dims: The dimensions of its plates.
        name: The site that it came from.
    """

    log_prob: Tensor
    dims: set[int]
    name: str


def factor(site: Site, log_prob: Tensor, *, is_masked: bool = True) -> Factor:
    """Make a factor of the log density of a site, which is given, unscaled and as it is masked."""
    if is_masked:
        log_prob = scale_and_mask(log_prob, 1.0, site["mask"])
    return Factor(log_prob, plate_dims(site), site["name"])


def sum_out(factors: Iterable[Factor], sites: Sequence[Site]) -> list[Factor]:
    """Sum a product of densities over all values of discrete sites.

    One site after the other, those in most plates first and of these the last: the factors that
    vary with it are multiplied, over those plates too that the site is not in, and summed. A chain
    of sites costs what its longest link does, not the product of all.

    Args:
        factors: The factors, those of ``sites`` among them.
        sites: The discrete sites, in the order of the program.

    Raises:
        ModelError: Something varies with a site without being in the site's plates.
    """
    remaining = list(factors)
    by_plates = sorted(sites, key=lambda site: len(plate_dims(site)))
    for site in reversed(by_plates):
        dim, plates = enumerated_dim(site), plate_dims(site)
        if dim is None:
            continue
        varying = [f for f in remaining if varies_along(f.log_prob, dim)]
        if not varying:
            continue
        remaining = [f for f in remaining if not varies_along(f.log_prob, dim)]
        for f in varying:
            if not plates <= f.dims:
                raise ModelError(
                    f"site '{f.name}' depends on the discrete site '{site['name']}', which is in a "
                    f"plate that '{f.name}' is not in, so that its values cannot be summed out one "
                    "by one: open the plate around both, or take the discrete site out of it"
                )
        inside = [
            f.log_prob.sum(sorted(f.dims - plates), keepdim=True) if f.dims - plates else f.log_prob
            for f in varying
        ]
        joint = torch.stack(torch.broadcast_tensors(*inside)).sum(0)
        remaining.append(Factor(joint.logsumexp(dim, keepdim=True), plates, site["name"]))
    return remaining


def log_marginal(
    factors: Iterable[Factor], sites: Sequence[Site], data_dim: int, num_plates: int
) -> Tensor:
    """Log of the product of densities, summed over discrete sites: per datum, ``[..., B]``."""
    values = (per_datum(f.log_prob, data_dim, num_plates) for f in sum_out(factors, sites))
    total = sum(values, torch.zeros(()))
    while total.dim() > 1 and total.shape[0] == 1:
        total = total[0]
    return total


def companion(label: str) -> str | None:
    """The site of the same values for the data without a label, as ``obs_mask=`` makes one."""
    return label.removesuffix(OBSERVED) + UNOBSERVED if label.endswith(OBSERVED) else None


def unlabelled(program: Program, labels: tuple[str, ...]) -> Program:
    """Wrap a program so that labels are drawn instead of observed.

    A label of some of the data is drawn once for each datum, whether it is known or not.

    Args:
        program: The model.
        labels: Its observed discrete sites that are to be drawn.
    """
    return partial(_unlabelled, program, labels) if labels else program


def _unlabelled(program: Program, labels: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    """Run a program, its labels' draws given to what Pyro makes of an ``obs_mask=`` beside them."""
    beside = {companion(label): label for label in labels if companion(label)}
    beside |= {label.removesuffix(OBSERVED): label for label in beside.values()}

    def drawn(site: Site) -> Tensor | None:
        if site["name"] in labels:
            site["value"], site["is_observed"] = None, False
            return None
        label = handler.sites.get(beside.get(site["name"], ""))
        return None if label is None else label["value"]

    handler = Substitute(drawn, record=labels)
    with handler:
        return program(*args, **kwargs)
