"""Whether every datum has a density under the model, found before it is first trained on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_decomp.data.batches import Batch, Data
from pyro_decomp.data.checks import check_finite, column_label
from pyro_decomp.data.stored import Stored
from pyro_decomp.programs.program_state import preserving_rng_and_buffers
from pyro_decomp.programs.program_state.modules import in_mode
from pyro_decomp.programs.sites import Site, data_plate, sample_sites
from pyro_decomp.programs.support import (
    Constraint,
    at_edge,
    elementary,
    outside,
    refusal,
    without_density,
)
from pyro_decomp.seeds import derive
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.first_batch import traced

BATCH_ELEMENTS = 2**21  # elements of data looked at at once
BLOCK = 2**18  # elements of data held against a support at once
PROBED = 256  # data of the first batch, which tells what has to be looked at
SAMPLED = 1000  # data that are looked at of those that are not in memory


def check_support(
    experiment: Experiment, modules: Sequence[nn.Module], first: poutine.Trace
) -> None:
    """Check the training and test data of an experiment against its likelihood.

    See :func:`check_data`, whose arguments these are.
    """
    sets = {"data": experiment.data, "test data": experiment.test_data}
    for name, data in sets.items():
        if data is not None:
            check_data(experiment, modules, data, name, first=first)


def check_data(
    experiment: Experiment,
    modules: Sequence[nn.Module],
    data: Data,
    name: str = "data",
    *,
    first: poutine.Trace | None = None,
    is_whole: bool = False,
) -> None:
    """Check that every observed site has a finite density for all data in memory.

    Where a site observes a tensor of the data as it is, under a support that does not depend on the
    latents, the tensor itself is looked at. Otherwise, where the data have whole numbers, with
    which programs may index, and where they have weights, which have to be positive, the programs
    are run once over all data, without gradients. Of data
    that are not in memory the first batch and a sample of 1,000 are looked at, also for values that
    are not finite; :class:`Unseen` looks at the others. What the programs keep, random generators
    and buffers are as before afterwards.

    Args:
        experiment: The programs.
        modules: Its networks.
        data: Training or test data.
        name: What messages call them.
        first: The model's trace of the first batch of the training data, if it is known and these
            are in memory; the programs are run on the first of ``data`` otherwise.
        is_whole: Look at all data, also where they are not in memory.

    Raises:
        ModelError: A value has no density, or the programs cannot be run on it; it is named by its
            site, row, column and value.
        DataError: A value is not finite.
    """
    rows = torch.arange(len(data)) if is_whole else looked_at_first(data)
    with looking(experiment, modules):
        trained_on = experiment.data
        if first is None or is_stored(data) or is_stored(trained_on):
            seen = data[:PROBED]
            check_stored(data, seen, rows, name)
            first = traced(experiment, seen, rows[:PROBED], name)
        else:
            seen = trained_on[:]
        look = Look(experiment, first, seen, name)
        for some in rows.split(look.rows_at_once):
            span = slice(int(some[0]), int(some[-1]) + 1)
            is_span = span.stop - span.start == len(some)
            batch = data[span if is_span else some.to(data.device)]
            check_stored(data, batch, some, name)
            look.check(batch, some)


class Look:
    """How data are held against the sites that observe them."""

    def __init__(
        self, experiment: Experiment, first: poutine.Trace, seen: Batch, name: str
    ) -> None:
        self._experiment, self._name = experiment, name
        found = [(site, _place(site, axis, seen)) for site, axis in _observed(first)]
        known = {tensor.untyped_storage().data_ptr() for tensor in seen}
        needed = [
            (site, place)
            for site, place in found
            if not (_is_real(site) and site["value"].untyped_storage().data_ptr() in known)
        ]
        is_weighted = any(isinstance(site["scale"], Tensor) for site in sample_sites(first))
        self.is_direct = not (
            is_weighted or _has_indices(seen) or any(place is None for _, place in needed)
        )
        self._direct = [(site, place) for site, place in needed if place is not None]
        self.rows_at_once = max(1, BATCH_ELEMENTS // sum(t[0].numel() for t in seen))
        if self.is_direct and self._direct:
            largest = max(seen[place][0].numel() for _, place in self._direct)
            self.rows_at_once = max(1, BLOCK // largest)

    def check(self, batch: Batch, rows: Tensor) -> None:
        """Check a batch, by running the programs where its tensors do not tell."""
        if self.is_direct:
            for site, place in self._direct:
                _check_rows(site, batch[place], rows, self._name)
            return
        trace = traced(self._experiment, batch, rows, self._name)
        for site, axis in _observed(trace):
            _check(site, site["value"], axis, rows, self._name)


@contextmanager
def looking(experiment: Experiment, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Run programs as in an evaluation, and leave everything as it was."""
    everything = [experiment.model, experiment.guide, *modules]
    with in_mode(modules, training=False), preserving_rng_and_buffers(everything), torch.no_grad():
        yield


def check_stored(data: Data, batch: Batch, rows: Tensor, name: str) -> None:
    """Check the tensors of a batch of data that are not in memory.

    Raises:
        DataError: A value is not finite.
    """
    for index, (kept, tensor) in enumerate(zip(data.tensors, batch, strict=True)):
        if not isinstance(kept, Stored) or kept.is_finite:
            continue
        check_finite(tensor, name if len(batch) == 1 else f"{name}[{index}]", rows)


def _check(site: Site, value: Tensor, axis: int, rows: Tensor, name: str) -> None:
    """Check values of a site at these rows of the data."""
    spoilt = outside(site["fn"].support, value)
    is_edge = not bool(spoilt.any())
    if is_edge:
        spoilt = without_density(site["fn"], value)
        if not bool(spoilt.any()):
            return
    _refuse(site, value, spoilt, axis, rows, name, is_edge=is_edge)


def _refuse(  # noqa: PLR0917
    site: Site, value: Tensor, spoilt: Tensor, axis: int, rows: Tensor, name: str, *, is_edge: bool
) -> None:
    spoilt = spoilt.movedim(axis, 0)
    value = value.movedim(axis, 0)
    first = tuple(spoilt.nonzero()[0].tolist())
    where = f"first in row {int(rows[first[0]])}"
    if spoilt.dim() > 1:
        inner = int(spoilt[first[0]].reshape(-1).nonzero()[0])
        where += f", column {column_label(inner, spoilt.shape[1:])}"
    raise refusal(site, value, where, value[first], data=name, is_edge=is_edge)


def _place(site: Site, axis: int, seen: Batch) -> int | None:
    """Which tensor of the data a site observes as it is, under a support that is known; or none.

    Args:
        site: As it was run on ``seen``.
        axis: Of the data in its value.
        seen: A batch.
    """
    value = site["value"]
    if axis != 0 or not _is_fixed(site["fn"].support):
        return None
    for place, tensor in enumerate(seen):
        if value.data_ptr() == tensor.data_ptr() and value.shape[1:] == tensor.shape[1:]:
            return place
    return None


def _check_rows(site: Site, tensor: Tensor, rows: Tensor, name: str) -> None:
    """Check some data as values of a site that was seen with others.

    Those on an edge of the support are scored as if they were the others: what makes a density
    infinite there is no matter of the latents.
    """
    spoilt = outside(site["fn"].support, tensor)
    if spoilt.any():
        _refuse(site, tensor, spoilt, 0, rows, name, is_edge=False)
    edge = at_edge(site["fn"].support, tensor)
    if not edge.any():
        return
    found = edge.reshape(len(tensor), -1).any(1).nonzero().flatten()
    size = len(site["value"])
    some = found[torch.arange(size, device=found.device) % len(found)]
    spoilt = torch.zeros_like(edge)
    spoilt[some] = without_density(site["fn"], tensor[some])
    if spoilt.any():
        _refuse(site, tensor, spoilt, 0, rows, name, is_edge=True)


def _observed(model: poutine.Trace) -> Iterator[tuple[Site, int]]:
    """The sites that observe the data, and the axis of the data in their values."""
    plate = data_plate(model)
    for site in sample_sites(model):
        inside = any(frame.name == plate.name for frame in site["cond_indep_stack"])
        if site["is_observed"] and inside and isinstance(site["value"], Tensor):
            axis = site["value"].dim() + int(plate.dim) - len(site["fn"].event_shape)
            yield site, axis


def looked_at_first(data: Data) -> Tensor:
    """All rows, or the first ones and some of the others where they are not in memory."""
    size = len(data)
    if not is_stored(data) or size <= 2 * SAMPLED:
        return torch.arange(size)
    spread = torch.arange(SAMPLED) * size // SAMPLED
    return torch.cat([torch.arange(SAMPLED), spread[spread >= SAMPLED]])


def is_stored(data: Data) -> bool:
    """Whether any of the tensors is not in memory."""
    return any(isinstance(tensor, Stored) for tensor in data.tensors)


def _has_indices(batch: Batch) -> bool:
    types = {tensor.dtype for tensor in batch}
    return any(not dtype.is_floating_point and dtype != torch.bool for dtype in types)


def _is_real(site: Site) -> bool:
    try:
        return elementary(site["fn"].support) is constraints.real
    except NotImplementedError:
        return True


def _is_fixed(support: Constraint) -> bool:
    """Whether a support has no parameters that could differ from datum to datum."""
    parts = vars(elementary(support)).values()
    return all(
        part is None
        or isinstance(part, bool | int | float | str)
        or (isinstance(part, Tensor) and part.numel() == 1)
        for part in parts
    )


class Unseen:
    """Checks data that are not in memory before they are first trained on.

    In the first epoch every batch is held against the same as data in memory before training, by
    rows of the whole data; from the second epoch on nothing is done.

    Attributes:
        is_due: Whether there may be data that were not looked at yet.
    """

    def __init__(
        self, experiment: Experiment, modules: Sequence[nn.Module], seed: int, *streams: int
    ) -> None:
        self._experiment, self._modules = experiment, modules
        self._data = experiment.data
        self.is_due = is_stored(self._data) and len(self._data) > len(looked_at_first(self._data))
        self._size = experiment.data_per_step
        self._seed, self._streams = seed, streams
        self._rows: list[Sequence[Tensor]] | None = None
        self._look: Look | None = None

    def check(self, step: int, *batches: Batch | None) -> None:
        """Check the batches of a step, one for each stream.

        Args:
            step: Steps done before it.
            batches: Its data; None for none.

        Raises:
            ModelError: As :func:`check_data`.
            DataError: A value is not finite.
        """
        if not self.is_due:
            return
        if step >= self._experiment.steps_per_epoch:
            self.is_due, self._rows, self._look = False, None, None
            return
        if self._rows is None:
            orders = [self._data.order(derive(self._seed, s, 0)) for s in self._streams]
            if self._experiment.steps_per_epoch == 1:
                orders = [torch.arange(len(self._data)) for _ in self._streams]
            self._rows = [order.split(self._size) for order in orders]
        for batch, rows in zip(batches, self._rows, strict=False):
            if batch is not None:
                self._check(batch, rows[step])

    def _check(self, batch: Batch, rows: Tensor) -> None:
        check_stored(self._data, batch, rows, "data")
        if self._look is not None and self._look.is_direct:
            self._look.check(batch, rows)
            return
        with looking(self._experiment, self._modules):
            if self._look is None:
                first = traced(self._experiment, batch, rows, "data")
                self._look = Look(self._experiment, first, batch, "data")
            self._look.check(batch, rows)
