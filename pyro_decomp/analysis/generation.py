"""Draws from a trained run: of its prior, and under interventions on latent sites."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, Shaped
from pyro import poutine
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.inference import Kind, global_latents, likelihood_mean, local_latents
from pyro_decomp.analysis.latents import encoded
from pyro_decomp.data.batches import AnyData, Batch
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.errors import ArgumentError, DataError, memory
from pyro_decomp.programs.provenance import dependencies
from pyro_decomp.programs.sites import Site, data_plate, is_latent
from pyro_decomp.programs.substitute import Substitute
from pyro_decomp.seeds import derive, seeded
from pyro_decomp.training.run import Run
from pyro_decomp.training.user_code import memory_counted

WORKING_COPIES = 4  # of what draws give, that are in memory while they are made

BATCH_SIZE = 500  # draws at once
DESCENDANTS = 1  # the stream of what is drawn anew


@dataclass(frozen=True, repr=False)
class Draws:
    """Draws of a model, data along the first axis of everything.

    Attributes:
        latents: Latent site of a datum to its values, ``[n, ...]``.
        x: The mean of p(x|z), ``[n, ...]``; a draw of it where it has no mean that is known.
    """

    latents: dict[str, Shaped[Tensor, "n ..."]]
    x: Shaped[Tensor, "n ..."]

    __repr__ = constructor_call


def sample_prior(run: Run, num_samples: int, *, x: AnyData | None = None, seed: int = 0) -> Draws:
    """Draw every latent site from the model, and the mean of the data given them.

    It is :func:`intervene` without an intervention, and takes its arguments.

    Returns:
        The draws.
    """
    return intervene(run, {}, num_samples=num_samples, x=x, seed=seed)


@memory_counted("a smaller num_samples")
def intervene(
    run: Run,
    given: Mapping[str, Any],
    *,
    num_samples: int | None = None,
    x: AnyData | None = None,
    seed: int = 0,
) -> Draws:
    """Draw from the model under do(site = value): what depends on it is drawn anew given it.

    What a site is computed from keeps its own distribution, as in ``pyro.poutine.do``: setting a
    cluster draws its codes, setting a code leaves the prior of its cluster as it was. Latent sites
    outside the data plate are drawn once, from the guide, which has learned them.

    Args:
        run: The run.
        given: Latent site to its values, ``[n, ...]`` with draws along the first axis, or one value
            for all draws; other latent sites are drawn.
        num_samples: n, where no site in ``given`` tells.
        x: What the model takes beside the latents where it depends on the data (labels,
            covariates), row i for draw i and from the start again where it ends; by default the
            training data, of which fewer draws take as many, spread evenly over them.
        seed: The seed of the draws; the global random generators are left as they were.

    Returns:
        The draws.

    Raises:
        ArgumentError: A site is not a latent site of a datum, its values have the wrong shape, or
            nothing says how many to draw.
        DataError: So many draws would take more memory than is free.
    """
    arguments.annotated(intervene, locals(), num_samples=1)
    data = encoded(run, x)
    return intervention(data, given, num_samples=num_samples, is_spread=x is None, seed=seed)


def intervention(
    data: EncodedData,
    given: Mapping[str, Any],
    *,
    num_samples: int | None = None,
    is_spread: bool = True,
    seed: int = 0,
) -> Draws:
    """Draw from the model of data that are encoded; see :func:`intervene`. Internal.

    Args:
        data: What the model takes.
        given: As for :func:`intervene`.
        num_samples: As for :func:`intervene`.
        is_spread: Whether fewer draws than data take as many data, spread evenly over them.
        seed: The seed of the draws.
    """
    with seeded(seed), torch.no_grad():
        model = _ModelDraws(data, is_spread=is_spread)
        first = model({}, 1)
        like = first.latents
        values = {name: _as_values(name, value, like) for name, value in given.items()}
        total = _number_of_draws(values, num_samples)
        _check_affordable(total, [*like.values(), first.x])
        return model({n: v.expand(total, *v.shape[1:]) for n, v in values.items()}, total)


@memory_counted("fewer values")
def traverse(
    run: Run,
    site: str,
    values: Sequence[Any] | Tensor,
    *,
    dim: int | None = None,
    x: AnyData | None = None,
    kind: Kind = "mean",
    seed: int = 0,
) -> Draws:
    """Move one latent site, or one dimension of it, through values, holding what it leaves alone.

    The sites that depend on it in the model are drawn anew for every value, with the same noise for
    each; all others stay at one base point.

    Args:
        run: The run.
        site: The latent site.
        values: V of them: numbers, if ``dim`` is given or the site has one dimension, else rows.
        dim: Which dimension of the site to set, flattened; None sets all of it.
        x: One datum, ``[1, ...]``, whose code is the base; by default a draw of the prior is.
        kind: Whether the base is the mean of q(z|x) or a draw of it.
        seed: The seed of the draws; the global random generators are left as they were.

    Returns:
        V draws.

    Raises:
        ArgumentError: The site is not a latent site of a datum, has no such dimension or another
            shape; or x is not one datum.
    """
    arguments.annotated(traverse, locals())
    data = encoded(run, x)
    if x is not None and len(data) != 1:
        raise ArgumentError(f"x: expected one datum, got {len(data)}")
    return traversal(
        data, site, values, row=None if x is None else 0, dim=dim, kind=kind, seed=seed
    )


def traversal(
    data: EncodedData,
    site: str,
    values: Sequence[Any] | Tensor,
    *,
    row: int | None,
    dim: int | None = None,
    kind: Kind = "mean",
    seed: int = 0,
    below: Collection[str] | None = None,
) -> Draws:
    """Move one latent site of a row of data that are encoded; see :func:`traverse`. Internal.

    Args:
        data: The data and their encodings.
        site: The latent site.
        values: As for :func:`traverse`.
        row: The row whose code is the base; None for a draw of the prior.
        dim: As for :func:`traverse`.
        kind: As for :func:`traverse`.
        seed: The seed of the draws.
        below: What :func:`descendants_in` finds, where that is known.

    Returns:
        One draw for each value.
    """
    below = descendants_in(data, site) if below is None else below
    device = data.data.device
    rows = torch.tensor([row or 0])
    with seeded(seed), torch.no_grad():
        model = _ModelDraws(data, rows)
        drawn = model({}, 1).latents
    with seeded(seed), torch.no_grad():
        base = drawn if row is None else data.latents(rows, kind=kind)
    moved = _moved(base[site], _as_tensor("values", values).to(device), site, dim)
    total = len(moved)
    held = {n: v.expand(total, *v.shape[1:]) for n, v in base.items() if n not in below}
    held[site] = moved
    # One at a time where something is drawn, so that each has the same noise.
    parts = []
    for rows in torch.arange(total, device=device).split(1 if below else BATCH_SIZE):
        with seeded(derive(seed, DESCENDANTS)), torch.no_grad():  # noise apart from the base's
            parts.append(model({name: value[rows] for name, value in held.items()}, len(rows)))
    return _joined(parts)


def descendants(run: Run, site: str) -> set[str]:
    """The latent sites of a datum that depend on one in the model, directly or through others.

    Returns:
        Their names.

    Raises:
        ArgumentError: The site is not a latent site of a datum.
    """
    return descendants_in(EncodedData.of(run), site)


def descendants_in(data: EncodedData, site: str) -> set[str]:
    """The latent sites that depend on one in the model of some data, as :func:`descendants`."""
    with seeded(0), torch.no_grad():
        model = _ModelDraws(data)
        batch = data.data[:2]
        trace = model.trace({}, batch)
        parents = dependencies(data.model, trace, *batch)
    _check_site(site, local_latents(trace))
    found = {site}
    for name, above in parents.items():  # parents come first
        if above & found and is_latent(trace.nodes[name]):
            found.add(name)
    return found - {site}


class _ModelDraws:
    """A model, drawn from; its latent sites outside the data plate are drawn once, here.

    These are drawn from the guide, which has learned them.

    Args:
        data: What the model takes.
        rows: Which of it, used in order, and from the start again where more is drawn; by default
            all.
        is_spread: Whether fewer draws than rows take as many rows, spread evenly over them.
    """

    def __init__(
        self, data: EncodedData, rows: Int[Tensor, " n"] | None = None, *, is_spread: bool = False
    ) -> None:
        self._data = data
        self._rows = torch.arange(len(data)) if rows is None else rows
        self._is_spread = is_spread
        first = self._rows[:1]
        guide = poutine.trace(data.guide(first)).get_trace(*data.batch(first))
        self._outside = global_latents(guide)
        self._data_dim = int(data_plate(guide).dim)

    def __call__(self, given: Mapping[str, Tensor], total: int) -> Draws:
        """Draw from the model.

        Args:
            given: Latent sites of a datum to their values, ``[total, ...]``.
            total: The number of draws.
        """
        parts, size = [], len(self._rows)
        for start in range(0, total, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, total)
            places = torch.arange(start, stop)
            if self._is_spread and total < size:
                places = places * size // total
            batch = self._data.batch(self._rows[places % size])
            trace = self.trace({name: value[start:stop] for name, value in given.items()}, batch)
            parts.append(Draws(local_latents(trace), likelihood_mean(trace, batch[0])))
        return _joined(parts)

    def trace(self, given: Mapping[str, Tensor], batch: Batch) -> poutine.Trace:
        """Run the model once, with latent sites of a datum given."""

        def value_of(site: Site) -> Tensor | None:
            name = site["name"]
            if name in self._outside or name not in given:
                return self._outside.get(name)
            return given[name].movedim(0, self._data_dim - len(site["fn"].event_shape))

        with poutine.trace() as trace, Substitute(value_of):
            self._data.model(*batch)
        return trace.trace


def _joined(parts: Sequence[Draws]) -> Draws:
    """Several draws as one, after one another."""
    names = parts[0].latents
    return Draws(
        {name: torch.cat([part.latents[name] for part in parts]) for name in names},
        torch.cat([part.x for part in parts]),
    )


def _moved(base: Tensor, values: Tensor, site: str, dim: int | None) -> Tensor:
    """The value of a traversed site at every step, ``[V, ...]``."""
    shape, size = base.shape[1:], base.numel()
    arguments.whole(-size, size - 1, **arguments.given(dim=dim))
    width = size if dim is None else 1
    if values.dim() < 1 or values.numel() != len(values) * width or not len(values):
        what = f"rows of the {size} dimensions of site '{site}', or a dim to set"
        raise ArgumentError(
            f"values: expected {what if dim is None else 'numbers'}, got shape "
            f"{tuple(values.shape)}"
        )
    if dim is None:
        return values.reshape(-1, *shape).to(base.dtype)
    moved = base.reshape(1, -1).repeat(len(values), 1)
    moved[:, dim] = values.flatten().to(moved.dtype)
    return moved.reshape(-1, *shape)


def _as_values(name: str, value: Any, like: Mapping[str, Tensor]) -> Tensor:
    """Values of a site, ``[n, ...]``."""
    _check_site(name, like)
    tensor, shape = _as_tensor(f"given[{name!r}]", value).to(like[name]), like[name].shape[1:]
    if tensor.shape == shape:
        tensor = tensor[None]
    if tensor.shape[1:] != shape:
        raise ArgumentError(
            f"given[{name!r}]: expected values of shape {_text('n', *shape)} or {_text(*shape)}, "
            f"got {_text(*tensor.shape)}"
        )
    return tensor


def _as_tensor(name: str, value: Any) -> Tensor:
    """Values as a tensor of finite numbers."""
    try:
        values = torch.as_tensor(value)
    except (RuntimeError, TypeError, ValueError):
        arguments.refuse(name, "numbers", value)
    if values.is_complex():
        arguments.refuse(name, "real numbers", value)
    if not values.isfinite().all():
        arguments.refuse(name, "finite numbers", value if values.numel() == 1 else math.nan)
    return values


def _text(*shape: object) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _number_of_draws(given: Mapping[str, Tensor], num_samples: int | None) -> int:
    counts = {len(value) for value in given.values()} - {1}
    if num_samples is not None:
        counts.add(num_samples)
    if len(counts) > 1 or not (counts or given):
        raise ArgumentError(
            "num_samples: expected one number of draws from it and the values given, got "
            f"{sorted(counts) or None}"
        )
    return counts.pop() if counts else 1


def _check_affordable(total: int, like: Sequence[Tensor]) -> None:
    """Refuse more draws than there is memory for what they give, by one of each tensor."""
    of_one = sum(tensor.numel() * tensor.element_size() for tensor in like)
    most = memory.free() // (WORKING_COPIES * max(1, of_one))
    if like[0].device.type == "cpu" and total > most:
        raise DataError(
            f"num_samples: expected at most {most} draws, for which {memory.text(memory.free())} "
            f"of free memory are enough, got {total}"
        )


def _check_site(site: str, sites: Iterable[str]) -> None:
    if site not in sites:
        names = ", ".join(map(repr, sites))
        raise ArgumentError(f"site: expected a latent site of a datum ({names}), got {site!r}")
