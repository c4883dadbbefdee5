"""Whether every datum has a density under the model, found before the first step."""

from collections.abc import Iterator, Sequence

import torch
from pyro import poutine
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.data.checks import column_label
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import DecompError, ModelError
from pyro_decomp.experiment import Experiment
from pyro_decomp.modules import in_mode
from pyro_decomp.program_state import undisturbed
from pyro_decomp.sites import SampleTrace, Site, data_plate, sample_sites
from pyro_decomp.support import Constraint, at_edge, elementary, outside, refusal, without_density

BATCH_ELEMENTS = 2**21  # elements of data looked at at once
BLOCK = 2**18  # elements of data held against a support at once
PROBED = 256  # data of the first batch, which tells what has to be looked at
SAMPLED = 1000  # data that are looked at of those that are not in memory
FAILURES = (RuntimeError, ValueError, IndexError, TypeError)


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
) -> None:
    """Check that every observed site has a finite density for all data in memory.

    Where a site observes a tensor of the data as it is, under a support that does not depend on the
    latents, the tensor itself is looked at. Otherwise, and where the data have whole numbers, with
    which programs may index, the programs are run once over all data, without gradients. Of data
    that are not in memory the first batch and a sample of 1,000 are looked at. What the programs
    keep, random generators and buffers are as before afterwards.

    Args:
        experiment: The programs.
        modules: Its networks.
        data: Training or test data.
        name: What messages call them.
        first: The model's trace of the first batch of the training data, if it is known; the
            programs are run on the first of ``data`` otherwise.

    Raises:
        ModelError: A value has no density, or the programs cannot be run on it; it is named by its
            site, row, column and value.
    """
    whole = Data.of(data)
    rows = _rows(whole)
    everything = [experiment.model, experiment.guide, *modules]
    with in_mode(modules, training=False), undisturbed(everything), torch.no_grad():
        source = whole if first is None else Data.of(experiment.data)
        if first is None:
            first = _traced(experiment, source[:PROBED], rows[:PROBED], name)
        sites = list(_observed(first))
        is_known = [_seen_in_full(*found, source, whole, name) for found in sites]
        if all(is_known) and not _has_indices(whole):
            return
        for some in rows.split(max(1, BATCH_ELEMENTS // whole.datum_size)):
            batch = whole[some.to(whole.device)]
            for site, axis in _observed(_traced(experiment, batch, some, name)):
                _check(site, site["value"], axis, some, name)


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


def _seen_in_full(site: Site, axis: int, source: Data, data: Data, name: str) -> bool:
    """Whether all values of a site are known to be good; checks them where they are data.

    Args:
        site: As it was run on the first of ``source``.
        axis: Of the data in its value.
        source: What it was run on.
        data: What is looked at.
        name: What messages call these.
    """
    if _is_real(site):
        return True
    if axis != 0 or not _is_fixed(site["fn"].support):
        return False
    value = site["value"]
    for tensor, seen in zip(data.tensors, source.tensors, strict=True):
        if not (isinstance(tensor, Tensor) and isinstance(seen, Tensor)):
            continue
        if value.data_ptr() == seen.data_ptr() and value.shape[1:] == seen.shape[1:]:
            for rows in torch.arange(len(tensor)).split(max(1, BLOCK // seen[0].numel())):
                _check_rows(site, tensor[rows[0] : rows[-1] + 1], rows, name)
            return True
    return False


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
    spoilt = without_density(site["fn"], tensor[some])
    if spoilt.any():
        _refuse(site, tensor[some], spoilt, 0, rows[some.cpu()], name, is_edge=True)


def _traced(experiment: Experiment, batch: Batch, rows: Tensor, name: str) -> poutine.Trace:
    try:
        guide = SampleTrace()(experiment.guide).get_trace(*batch)
        return SampleTrace()(poutine.replay(experiment.model, trace=guide)).get_trace(*batch)
    except FAILURES as error:
        if isinstance(error, DecompError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"the programs cannot be run on the {name} of rows {int(rows[0])} to {int(rows[-1])}: "
            f"{reason} (are all labels and indices in range?)"
        ) from error


def _observed(model: poutine.Trace) -> Iterator[tuple[Site, int]]:
    """The sites that observe the data, and the axis of the data in their values."""
    plate = data_plate(model)
    for site in sample_sites(model):
        inside = any(frame.name == plate.name for frame in site["cond_indep_stack"])
        if site["is_observed"] and inside and isinstance(site["value"], Tensor):
            axis = site["value"].dim() + int(plate.dim) - len(site["fn"].event_shape)
            yield site, axis


def _rows(data: Data) -> Tensor:
    """All rows, or the first ones and some of the others where they are not in memory."""
    size = len(data)
    if not any(isinstance(tensor, Stored) for tensor in data.tensors) or size <= 2 * SAMPLED:
        return torch.arange(size)
    spread = torch.arange(SAMPLED) * size // SAMPLED
    return torch.cat([torch.arange(SAMPLED), spread[spread >= SAMPLED]])


def _has_indices(data: Data) -> bool:
    types = {tensor.dtype for tensor in data.tensors}
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
