"""Pyro's automatic guides, whose local sites have parameters for every datum (internal)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import (
    AutoCallable,
    AutoContinuous,
    AutoGuide,
    AutoGuideList,
    AutoStructured,
)
from pyro.infer.autoguide.effect import AutoMessenger
from pyro.infer.autoguide.gaussian import AutoGaussian
from torch import Tensor, nn

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state.modules import find_modules
from pyro_decomp.programs.sites import data_plate

WHOLE = (AutoContinuous, AutoStructured, AutoGaussian)  # one vector for the sites of all data
REMEDY = (
    "give the programs the row numbers as one more tensor of the data, torch.arange(N), open the "
    "model's data plate with subsample=rows, and give the guide create_plates=, a function of the "
    "same arguments that returns that plate"
)


@dataclass(frozen=True)
class LocalGuides:
    """The automatic guides of sites inside the data plate.

    Such a guide does not see the data: which parameters belong to which datum, it takes from the
    rows of the plate that ``create_plates`` gives it or, without, from a plate of its own.

    Attributes:
        named: Name of the family to whether its data plate comes from ``create_plates``; None for
            one that cannot be told of rows.
    """

    named: dict[str, bool | None]

    @classmethod
    def of(
        cls, guide: Callable[..., Any], model_trace: poutine.Trace, args: Any, kwargs: Any
    ) -> "LocalGuides":
        """Find the automatic guides that a guide is or uses; it has been run."""
        plate = data_plate(model_trace).name
        named: dict[str, bool | None] = {}
        for part in _parts(guide):
            if isinstance(part, AutoMessenger) and plate not in part.amortized_plates:
                named[type(part).__name__] = True  # it runs the model, and is in its plates
            if not isinstance(part, AutoGuide) or isinstance(part, AutoCallable):
                continue
            if isinstance(part, AutoGuideList):
                continue  # its parts come after it
            if plate in part._prototype_frames:
                whole = isinstance(part, WHOLE)
                given = None if whole else plate in _created(part, args, kwargs)
                named[type(part).__name__] = given
        return cls(named)

    def check(self, guide_trace: poutine.Trace, model_trace: poutine.Trace) -> None:
        """Refuse a batch whose rows a guide does not know.

        Raises:
            ModelError: Latents of other data would be given to the batch's.
        """
        plate = data_plate(model_trace)
        size, full_size = int(plate.size), int(plate.full_size or plate.size)
        for name, is_given in self.named.items():
            if size < full_size and is_given is None:
                raise ModelError(
                    f"{name} holds one vector for the latents of all {full_size} data, of which a "
                    f"batch of {size} cannot take its own: use AutoNormal or AutoDelta with "
                    "create_plates= for sites inside the data plate, or all data in one batch"
                )
            if size < full_size and not is_given:
                raise ModelError(
                    f"{name} draws rows of its own for the plate '{plate.name}', which are not "
                    f"those of a batch of {size} of {full_size} data: {REMEDY}"
                )
            if size < full_size:
                continue
            if size > full_size or not (is_given is False or _in_order(guide_trace, plate.name)):
                raise ModelError(
                    f"{name} takes the parameters of all {full_size} data in their order, and the "
                    f"batch has {size} rows in another: give rows 0, 1, ... or fewer of them"
                )


def has_local_parameters(guide: Callable[..., Any]) -> bool:
    """Whether a guide is or uses an automatic one, whose parameters belong to certain data."""
    return any(isinstance(part, AutoGuide | AutoMessenger) for part in _parts(guide))


def explain(guide: Callable[..., Any], reason: str) -> str | None:
    """Explain an error of shapes of a guide with parameters for certain data; None of others."""
    if "index_select" in reason:
        return (
            "a parameter with an entry for every datum, as Pyro's automatic guides have, is taken "
            f"by the rows of its plate, and these are no row numbers: {REMEDY}"
        )
    guides = [p for p in _parts(guide) if isinstance(p, AutoGuide | AutoMessenger)]
    if not guides or not any(word in reason.lower() for word in ("shape", "size", "dimension")):
        return None
    return (
        f"{type(guides[0]).__name__} has latents of its own for every datum, and cannot be run on "
        f"a batch of other rows ({reason}): {REMEDY}"
    )


def _parts(guide: Callable[..., Any]) -> list[nn.Module]:
    return [part for module in find_modules([guide]) for part in module.modules()]


def _created(part: AutoGuide, args: Any, kwargs: Any) -> set[str]:
    """The names of the plates that come from ``create_plates``."""
    master = part if part.master is None else part.master()
    if master.create_plates is None:
        return set()
    with poutine.block():
        plates = master.create_plates(*args, **kwargs)
    return {plate.name for plate in ([plates] if hasattr(plates, "name") else plates)}


def _in_order(trace: poutine.Trace, plate: str) -> bool:
    """Whether the rows of a plate are 0, 1, ..., as Pyro takes them to be where there are all."""
    rows = trace.nodes[plate]["value"] if plate in trace.nodes else None
    if not isinstance(rows, Tensor) or rows.is_floating_point() or rows.dim() != 1:
        return True  # given to tell the plate its size
    return bool(torch.equal(rows, torch.arange(len(rows), device=rows.device)))
