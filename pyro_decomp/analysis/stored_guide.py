"""The encodings of a data set, kept, so that codes are drawn without running the encoder again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyro
import torch
from jaxtyping import Int
from pyro import poutine
from pyro.distributions import Distribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_decomp.distributions.slicing import Combine, combined, joined, picked
from pyro_decomp.programs.rows import own_scale, plates_scale
from pyro_decomp.programs.sites import Site, sample_sites
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import seeded, set_random_state


@dataclass(frozen=True)
class Encodings:
    """What a guide says at one site of some rows of data. Internal.

    Attributes:
        fn: The distribution, whose batch dimensions are those of the plates.
        value: What is observed there; None where the site is drawn.
        mask: The mask that handlers give it.
        scale: The scale that handlers give it, without that of plates.
        frames: The plates.
        infer: What else the site is marked with.
        dim: The data's (negative) batch dimension; None outside the data plate.
    """

    fn: Distribution
    value: Tensor | None
    mask: bool | Tensor | None
    scale: float | Tensor
    frames: tuple[CondIndepStackFrame, ...]
    infer: Mapping[str, Any]
    dim: int | None

    @cached_property
    def scale_with_plates(self) -> float | Tensor:
        """The scale of the site, that of its plates included."""
        return self.scale * plates_scale({"cond_indep_stack": self.frames})

    @classmethod
    def of(cls, site: Site, plate: str) -> "Encodings":
        """What a traced site says of the rows of a batch."""
        fn, mask, scale = site["fn"], site["mask"], own_scale(site)
        frames = tuple(site["cond_indep_stack"])
        return cls(
            fn,
            site["value"] if site["is_observed"] else None,
            mask.expand(fn.batch_shape) if isinstance(mask, Tensor) else mask,
            scale.expand(fn.batch_shape) if isinstance(scale, Tensor) else scale,
            frames,
            {key: value for key, value in site["infer"].items() if not key.startswith("_")},
            next((frame.dim for frame in frames if frame.name == plate), None),
        )


class StoredGuide:
    """A guide as a program that draws from its own distributions at given rows of a data set.

    Internal. It stands for a guide of which no site depends on what another one draws: the
    distributions of a datum are then the same in every run, and its encoder need not be run for
    each. Rows may be repeated, for several draws of each datum.
    """

    _is_memory_of_programs = True

    def __init__(self, size: int, plate: str) -> None:
        self._plate = plate
        self._place = torch.full((size,), -1)
        self._num_joined = self._num_rows = 0  # those before the last part, and all
        self._parts: list[dict[str, Encodings]] = []
        self._chosen: dict[str, Encodings] = {}

    @classmethod
    def of(
        cls, pair: TracePair, size: int, rows: Int[Tensor, " b"], began: dict[str, Any]
    ) -> "StoredGuide | None":
        """Keep the encodings of a first batch, if draws from them are draws of the guide.

        So it is where no site depends on another's draw, and drawing from what is kept gives the
        values and densities of the guide's own run from the same state of the random generators.
        That fails for a guide that draws elsewhere than at its sites, and for a family that is not
        known by its parameters.

        Returns:
            None where the guide has to be run for every draw.
        """
        if any(pair.guide_dependencies.values()):
            return None
        stored = cls(size, pair.data_plate.name)
        if not stored.add(rows, pair.guide):
            return None
        chosen = _joined(stored._parts, picked(torch.arange(len(rows))))
        stored._chosen = chosen or {}
        with seeded(0), torch.no_grad():
            set_random_state(began)
            redrawn = poutine.trace(stored).get_trace()
        return stored if _is_same(pair.guide, redrawn) else None

    def add(self, rows: Int[Tensor, " b"], guide: poutine.Trace) -> bool:
        """Keep the encodings of further rows, as they are in a trace of the guide.

        Returns:
            Whether they could be kept, as they can where all batches have the same families.
        """
        part = {site["name"]: Encodings.of(site, self._plate) for site in sample_sites(guide)}
        if _joined([*self._parts[-1:], part], lambda several, axis: several[0]) is None:
            return False
        self._parts.append(part)
        self._place[rows.cpu()] = torch.arange(self._num_rows, self._num_rows + len(rows))
        self._num_joined, self._num_rows = self._num_rows, self._num_rows + len(rows)
        return True

    def missing(self, rows: Int[Tensor, " b"]) -> Int[Tensor, " m"]:
        """Those of the rows whose encodings are not kept, each once and in order."""
        rows = rows.cpu()
        return rows[self._place[rows] < 0].unique()

    def at(self, rows: Int[Tensor, " b"]) -> "StoredGuide":
        """This program at these rows, which are kept, until others are asked for."""
        places = self._place[rows.cpu()]
        if len(self._parts) > 1 and not self._are_last(places):
            whole = _joined(self._parts, joined)
            assert whole is not None  # each part has the families of the one before
            self._parts, self._num_joined = [whole], 0
        is_part = self._are_last(places)  # as in the first pass over the data, or for all of them
        self._chosen = self._parts[-1] if is_part else _joined(self._parts, picked(places)) or {}
        return self

    def _are_last(self, places: Int[Tensor, " b"]) -> bool:
        """Whether these places are those of the last part, in order."""
        return torch.equal(places, torch.arange(self._num_joined, self._num_rows))

    def distribution(self, name: str) -> Distribution:
        """The distribution of a site at the rows of :meth:`at`."""
        return self._chosen[name].fn

    def __call__(self, *_batch: Tensor) -> None:
        """Draw every site at the rows of :meth:`at`; the batch itself is not looked at."""
        for name, found in self._chosen.items():
            with _Context(found):
                pyro.sample(name, found.fn, obs=found.value, infer=dict(found.infer))


class _Context(Messenger):
    """Gives a site the plates, the mask and the scale that it had in the guide."""

    def __init__(self, found: Encodings) -> None:
        super().__init__()
        self._found = found

    def _process_message(self, msg: Any) -> None:
        msg["cond_indep_stack"] = self._found.frames
        msg["mask"] = self._found.mask
        msg["scale"] = self._found.scale_with_plates


def _joined(
    parts: Sequence[Mapping[str, Encodings]], combine: Combine
) -> dict[str, Encodings] | None:
    """The encodings of all sites, made of several parts; None where a family is not known."""
    if any(part.keys() != parts[0].keys() for part in parts):
        return None
    whole: dict[str, Encodings] = {}
    for name in parts[0]:
        found = _merged([part[name] for part in parts], combine)
        if found is None:
            return None
        whole[name] = found
    return whole


def _merged(several: Sequence[Encodings], combine: Combine) -> Encodings | None:
    first = several[0]
    if (dim := first.dim) is None:
        return first
    fn = combined([each.fn for each in several], combine, dim)
    if fn is None:
        return None

    def tensors(values: Sequence[Any], axis: int) -> Any:
        return combine(values, axis) if isinstance(values[0], Tensor) else values[0]

    size = fn.batch_shape[dim]
    return replace(
        first,
        fn=fn,
        value=tensors([each.value for each in several], dim - len(fn.event_shape)),
        mask=tensors([each.mask for each in several], dim),
        scale=tensors([each.scale for each in several], dim),
        frames=tuple(f._replace(size=size) if f.dim == dim else f for f in first.frames),
    )


def _is_same(guide: poutine.Trace, redrawn: poutine.Trace) -> bool:
    """Whether two traces have the same sites, with the same values and densities."""
    for site in sample_sites(guide):
        other = redrawn.nodes[site["name"]]
        shapes = [(each["fn"].batch_shape, each["fn"].event_shape) for each in (site, other)]
        if shapes[0] != shapes[1] or not torch.equal(site["value"], other["value"]):
            return False
        with torch.no_grad():
            log_probs = [each["fn"].log_prob(site["value"]) for each in (site, other)]
        if not torch.allclose(log_probs[0], log_probs[1], equal_nan=True):
            return False
    return True
