"""Whether every datum has a density under the model, found before the first step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.data.checks import check_finite, column_label
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import DecompError, ModelError
from pyro_decomp.programs.modules import in_mode
from pyro_decomp.programs.program_state import undisturbed
from pyro_decomp.programs.sites import SampleTrace, Site, data_plate, sample_sites
from pyro_decomp.programs.support import (
    Constraint,
    at_edge,
    elementary,
    outside,
    refusal,
    without_density,
)
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.user_code import one_line

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
    data: AnyData,
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
    whole = Data.of(data)
    rows = torch.arange(len(whole)) if is_whole else looked_at_first(whole)
    with looking(experiment, modules):
        trained_on = experiment.data
        if first is None or is_stored(whole) or is_stored(trained_on):
            seen = whole[:PROBED]
            check_stored(whole, seen, rows, name)
            first = traced(experiment, seen, rows[:PROBED], name)
        else:
            seen = trained_on[:]
        look = Look(experiment, first, seen, name)
        for some in rows.split(look.rows_at_once):
            span = slice(int(some[0]), int(some[-1]) + 1)
            is_span = span.stop - span.start == len(some)
            batch = whole[span if is_span else some.to(whole.device)]
            check_stored(whole, batch, some, name)
            look.check(batch, some)


class Look:
    """How data are held against the sites that observe them.

    Args:
        experiment: The programs.
        first: The model's trace of some data.
        seen: These.
        name: What messages call the data.
    """

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
    with in_mode(modules, training=False), undisturbed(everything), torch.no_grad():
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


def traced(experiment: Experiment, batch: Batch, rows: Tensor, name: str) -> poutine.Trace:
    """The model's trace of a batch, or the sentence about the first row that it cannot take."""
    try:
        return _run(experiment, batch)
    except DecompError:
        raise
    except Exception as error:  # programs are the user's, and raise what they like
        span: slice = slice(0, len(rows))
        reason: Exception = error
        is_safe = (
            batch[0].device.type == "cpu"
        )  # elsewhere nothing runs after an index out of range
        while is_safe and span.stop - span.start > 1:
            middle = (span.start + span.stop) // 2
            for half in (slice(span.start, middle), slice(middle, span.stop)):
                if found := _failure(experiment, tuple(tensor[half] for tensor in batch)):
                    span, reason = half, found
                    break
            else:  # it is no one row's
                break
        where = f"rows {int(rows[span.start])} to {int(rows[span.stop - 1])}"
        if span.stop - span.start == 1:
            where = f"row {int(rows[span.start])}"
        hint = "" if isinstance(reason, ValueError) else " (are all labels and indices in range?)"
        raise ModelError(
            f"the programs cannot be run on {where} of the {name}: {one_line(reason)}{hint}"
        ) from error


def _run(experiment: Experiment, batch: Batch) -> poutine.Trace:
    guide = SampleTrace()(experiment.guide).get_trace(*batch)
    return SampleTrace()(poutine.replay(experiment.model, trace=guide)).get_trace(*batch)


def _failure(experiment: Experiment, batch: Batch) -> Exception | None:
    try:
        _run(experiment, batch)
    except Exception as error:  # as above
        return error
    return None


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
