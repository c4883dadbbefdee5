"""Which rows of a batch are data, and how much each counts, by what handlers say (internal).

A mask that leaves out the same rows at every site of a datum makes these rows no data. A scale that
varies along the data plate, the same at every site, is a weight of the datum. A scale that latent
sites have beside that, one for all data, is annealing: it belongs to the objective and to no
quantity of q(z).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import broadcast_shape
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import Independent

from pyro_decomp.programs.sites import Site

Scale = float | Tensor


@dataclass(frozen=True)
class Rows:
    """What each row of a batch is.

    Attributes:
        valid: Whether it is a datum; None where all are.
        weight: How much it counts; None where all count the same.
        annealing: The scale that all latent sites of a datum have beside that.
        irregular: Why handlers ask for something that q(z) has no meaning for; else empty.
        is_of_sites: Whether that is of whole sites, not of rows, so that samples of q(z) are known.
    """

    valid: Bool[Tensor, " b"] | None = None
    weight: Float[Tensor, " b"] | None = None
    annealing: Scale = 1.0
    irregular: str = ""
    is_of_sites: bool = False

    @property
    def counts(self) -> Float[Tensor, " b"] | None:
        """The weight of every row, 0 of those that are masked; None where all count the same."""
        if self.valid is None:
            return self.weight
        if self.weight is None:
            return self.valid.to(torch.get_default_dtype())
        return self.weight.where(self.valid, 0.0)


def rows_of(
    latent: Sequence[tuple[str, Site]],
    others: Sequence[tuple[str, Site]],
    plate: CondIndepStackFrame,
    batch_size: int,
    *,
    of_one_program: bool = False,
) -> Rows:
    """What the handlers around the sites of a datum say of the rows of a batch.

    Args:
        latent: Role ("model" or "guide") and site, of every latent one.
        others: The same of those that are observed, or of the guide alone.
        plate: The data plate.
        batch_size: B.
        of_one_program: Whether the sites are those of the guide alone, so that a scale that varies
            along the plate is a weight as it stands.
    """
    along = Along(int(plate.dim), batch_size)
    valid, why = _valid(latent, others, along)
    if why:
        masks = [site_mask(site)[0] for _, site in latent]
        return Rows(irregular=why, is_of_sites=not any(isinstance(m, Tensor) for m in masks))
    weight, annealing, why = _weight(latent, latent if of_one_program else others, along)
    return Rows(irregular=why) if why else Rows(valid, weight, annealing)


def own_scale(site: Site) -> Scale:
    """The scale of a site that no plate gives it, for what it subsamples."""
    scale: Scale = site["scale"]
    of_plates = plates_scale(site)
    if isinstance(scale, Tensor):
        return scale / of_plates if of_plates != 1 else scale
    return 1.0 if math.isclose(scale, of_plates, rel_tol=1e-9) else scale / of_plates


def plates_scale(site: Site, *, without: str = "") -> float:
    """The product of N/B over the plates of a site."""
    frames = [frame for frame in site["cond_indep_stack"] if frame.name != without]
    return math.prod(float((f.full_size or f.size) / f.size) for f in frames)


def site_mask(site: Site) -> tuple[bool | Tensor | None, bool]:
    """The mask of a site, by handlers and by its distribution; and whether it parts one datum."""
    fn, mask, event_dim = site["fn"], site["mask"], 0
    while isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
        if isinstance(fn, MaskedDistribution) and fn._mask is not True:
            if event_dim and fn._mask is not False:
                return mask, True
            mask = fn._mask if mask is None else mask & fn._mask
        event_dim += getattr(fn, "reinterpreted_batch_ndims", 0)
        fn = fn.base_dist
    return (None if mask is True else mask), False


@dataclass(frozen=True)
class Along:
    """The dimension of the data plate, along which masks and scales may vary."""

    dim: int
    batch_size: int

    def vector(self, x: bool | float | Tensor) -> bool | float | Tensor | None:
        """Reduce a mask or scale to one for all data or ``[B]``; None where it parts a datum."""
        if not isinstance(x, Tensor) or x.numel() == 1:
            return x.reshape(()) if isinstance(x, Tensor) else x
        if x.dim() < -self.dim or x.shape[self.dim] != self.batch_size:
            return None
        table = x.movedim(self.dim, -1).reshape(-1, self.batch_size)
        return table[0] if len(table) == 1 or _holds(table == table[:1]) else None

    def expanded(self, x: bool | float | Tensor, like: Tensor) -> Tensor:
        """Expand a mask or scale to one for each datum, ``[B]``."""
        return torch.as_tensor(x, device=like.device).expand(self.batch_size)


Sites = Sequence[tuple[str, Site]]


def _valid(latent: Sites, others: Sites, along: Along) -> tuple[Tensor | None, str]:
    """Which rows are data, or why it cannot be told."""
    found = []
    for role, site in latent:
        mask, is_parted = site_mask(site)
        row = None if is_parted else along.vector(True if mask is None else mask)
        if row is None:
            return None, f"the {role}'s site '{site['name']}' is masked for a part of a datum"
        found.append((role, site, row))
    if all(row is True for *_, row in found):
        return None, ""
    like = latent[0][1]["value"]
    _, first, whole = found[0]
    valid = along.expanded(whole, like)
    for role, site, row in found:
        agrees = (row is True) == (whole is True)
        if not agrees or (row is not whole and not _holds(along.expanded(row, like) == valid)):
            one, other = (first, site) if whole is not True else (site, first)
            where = f"in the {role}" if one is site else f"in the {found[0][0]}"
            return None, (
                f"latent site '{one['name']}' is masked {where} for rows for which "
                f"'{other['name']}' is not so in the {role if one is first else found[0][0]}"
            )
    for role, site in others:
        mask, _ = site_mask(site)
        if mask is not None and mask is not whole:
            table = torch.as_tensor(mask, device=like.device)
            table = table.expand(broadcast_shape(table.shape, site["fn"].batch_shape))
            rows = table.movedim(along.dim, -1).reshape(-1, along.batch_size)
        if mask is None or (mask is not whole and not _holds(~rows | valid)):
            return None, (
                f"the {role}'s site '{site['name']}' counts for rows that are masked at latent "
                f"site '{first['name']}'"
            )
    return valid, ""


def _weight(  # noqa: PLR0911
    latent: Sites, others: Sites, along: Along
) -> tuple[Tensor | None, Scale, str]:
    """The data's weights and the scale of latent sites beside them, or why it cannot be told."""
    (role, first), *further = [*latent, *((r, s) for r, s in others if not s["is_observed"])]
    scale = along.vector(own_scale(first))
    if scale is None:
        return None, 1.0, f"the {role}'s site '{first['name']}' has a scale for a part of a datum"
    for other_role, site in further:
        own = along.vector(own_scale(site))
        if own is None or not same(own, scale):
            return (
                None,
                1.0,
                (
                    f"latent site '{site['name']}' has another scale in the {other_role} than "
                    f"'{first['name']}' in the {role}"
                ),
            )
    if not isinstance(scale, Tensor) or scale.dim() == 0:
        return None, scale, ""
    if scale.requires_grad:
        return None, 1.0, f"the weights of data at site '{first['name']}' are learned"
    for _, site in others:
        own = along.vector(own_scale(site))
        if isinstance(own, Tensor) and own.dim():
            ratio = scale / own
            if same(ratio, ratio[:1]):
                return own.detach(), ratio[0].detach(), ""
    if same(scale, scale[:1]) and _is_visible(scale):
        return None, scale[0], ""
    return (
        None,
        1.0,
        (
            f"the scale of site '{first['name']}' varies from datum to datum, and that of no "
            "observed site does so with it"
        ),
    )


def same(a: Any, b: Any) -> bool:
    """Whether two scales, numbers or tensors, are the same up to rounding."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return math.isclose(a, b, rel_tol=1e-5)
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return _holds((a - b).abs() <= 1e-5 * b.abs())


def same_mask(a: bool | Tensor | None, b: bool | Tensor | None) -> bool:
    """Whether two masks, of which None leaves out nothing, leave out the same."""
    a, b = (torch.as_tensor(True if mask is None else mask) for mask in (a, b))
    return _holds(a == b)


def _holds(all_of: Tensor) -> bool:
    """Whether all entries hold, as far as can be seen: transforms hide values that were seen."""
    try:
        return bool(all_of.all())
    except RuntimeError:
        return True


def _is_visible(x: Tensor) -> bool:
    try:
        return bool(x.isfinite().all())
    except RuntimeError:
        return False
