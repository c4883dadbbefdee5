"""Draws from a trained run: of its prior, and under interventions on latent sites."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.analysis.inference import Kind, local_latents
from pyro_decomp.analysis.latents import latents, on_device
from pyro_decomp.analysis.model_draws import BATCH_SIZE, Draws, ModelDraws, joined
from pyro_decomp.data.batches import AnyData
from pyro_decomp.programs.provenance import dependencies
from pyro_decomp.programs.sites import is_latent
from pyro_decomp.seeds import derive, seeded
from pyro_decomp.training.run import Run

DESCENDANTS = 1  # the stream of what is drawn anew


def sample_prior(run: Run, num_samples: int, *, x: AnyData | None = None, seed: int = 0) -> Draws:
    """Draw every latent site from the model, and the mean of the data given them.

    :func:`intervene` without an intervention, whose arguments these are.
    """
    return intervene(run, {}, num_samples=num_samples, x=x, seed=seed)


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
        seed: Of the draws; the global random generators are left as they were.

    Raises:
        ValueError: A site is not a latent site of a datum, its values have the wrong shape, or
            nothing says how many to draw.
    """
    arguments.annotated(intervene, locals(), num_samples=1)
    with seeded(seed), torch.no_grad():
        model = ModelDraws(run, x)
        like = model({}, 1).latents
        values = {name: _as_values(name, value, like) for name, value in given.items()}
        total = _number_of_draws(values, num_samples)
        return model({n: v.expand(total, *v.shape[1:]) for n, v in values.items()}, total)


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
        seed: Of the draws; the global random generators are left as they were.

    Returns:
        V draws.

    Raises:
        ValueError: The site is not a latent site of a datum, has no such dimension or another
            shape; or x is not one datum.
    """
    arguments.annotated(traverse, locals())
    data = on_device(run, x)
    if x is not None and len(data) != 1:
        raise ValueError(f"x: expected one datum, got {len(data)}")
    below, datum = descendants(run, site), data[:1]
    with seeded(seed), torch.no_grad():
        model = ModelDraws(run, datum)
        drawn = model({}, 1).latents
    base = drawn if x is None else latents(run, datum, kind=kind, seed=seed)
    moved = _moved(base[site], torch.as_tensor(values, device=data.device), site, dim)
    total = len(moved)
    held = {n: v.expand(total, *v.shape[1:]) for n, v in base.items() if n not in below}
    held[site] = moved
    # One at a time where something is drawn, so that each has the same noise.
    parts = []
    for rows in torch.arange(total, device=data.device).split(1 if below else BATCH_SIZE):
        with seeded(derive(seed, DESCENDANTS)), torch.no_grad():  # noise apart from the base's
            parts.append(model({name: value[rows] for name, value in held.items()}, len(rows)))
    return joined(parts)


def descendants(run: Run, site: str) -> set[str]:
    """The latent sites of a datum that depend on one in the model, directly or through others.

    Raises:
        ValueError: The site is not a latent site of a datum.
    """
    with seeded(0), torch.no_grad():
        model = ModelDraws(run)
        batch = model.data[:2]
        trace = model.trace({}, batch)
        parents = dependencies(model.program, trace, *batch)
    _check_site(site, local_latents(trace))
    found = {site}
    for name, above in parents.items():  # parents come first
        if above & found and is_latent(trace.nodes[name]):
            found.add(name)
    return found - {site}


def _moved(base: Tensor, values: Tensor, site: str, dim: int | None) -> Tensor:
    """The site's value at every step, ``[V, ...]``."""
    shape, size = base.shape[1:], base.numel()
    arguments.whole(-size, size - 1, **arguments.given(dim=dim))
    width = size if dim is None else 1
    if values.dim() < 1 or values.numel() != len(values) * width or not len(values):
        what = f"rows of the {size} dimensions of site '{site}', or a dim to set"
        raise ValueError(
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
    tensor, shape = torch.as_tensor(value).to(like[name]), like[name].shape[1:]
    if tensor.shape == shape:
        tensor = tensor[None]
    if tensor.shape[1:] != shape:
        raise ValueError(
            f"given[{name!r}]: expected values of shape {_text('n', *shape)} or {_text(*shape)}, "
            f"got {_text(*tensor.shape)}"
        )
    return tensor


def _text(*shape: object) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _number_of_draws(given: Mapping[str, Tensor], num_samples: int | None) -> int:
    counts = {len(value) for value in given.values()} - {1}
    if num_samples is not None:
        counts.add(num_samples)
    if len(counts) > 1 or not (counts or given):
        raise ValueError(
            "num_samples: expected one number of draws from it and the values given, got "
            f"{sorted(counts) or None}"
        )
    return counts.pop() if counts else 1


def _check_site(site: str, sites: Iterable[str]) -> None:
    if site not in sites:
        names = ", ".join(map(repr, sites))
        raise ValueError(f"site: expected a latent site of a datum ({names}), got {site!r}")
