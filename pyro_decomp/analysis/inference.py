"""The latent sites of one batch, inferred by the guide, and what the model makes of them."""

from typing import Literal

import torch
from pyro import poutine
from pyro.distributions import Distribution
from pyro.infer import infer_discrete
from torch import Tensor

from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.enumeration import Enumeration
from pyro_decomp.programs.sites import Site, data_plate, is_latent, missing_values, sample_sites
from pyro_decomp.programs.substitute import Substitute
from pyro_decomp.training.experiment import Program

Kind = Literal["mean", "sample"]


def infer(
    model: Program, guide: Program, batch: Batch, kind: Kind
) -> tuple[poutine.Trace, poutine.Trace]:
    """Infer the latent sites of a batch: by the guide, and by Bayes' rule where it leaves them.

    Discrete sites of the model alone are drawn from p(c|x, z), or are jointly the likeliest.

    Args:
        model: The generative model.
        guide: The guide.
        batch: The data.
        kind: "mean" for the guide's means, "sample" for a draw of it.

    Returns:
        The guide's trace, and the model's at its values.

    Raises:
        ModelError: The mean of a site's family is not known.
    """
    with poutine.trace() as traced, _centred(kind):
        guide(*batch)
    codes = traced.trace
    at_codes = _replayed(model, codes, batch)
    enumeration = Enumeration.of(at_codes, codes)
    if not enumeration.model:
        return codes, at_codes
    known = [site for site in sample_sites(codes) if site["name"] in at_codes.nodes]
    given = poutine.condition(model, data={site["name"]: site["value"] for site in known})
    discrete = infer_discrete(
        enumeration.marked_model(given),
        first_available_dim=-1 - enumeration.num_plates,
        temperature=0 if kind == "mean" else 1,
    )
    found = poutine.trace(discrete).get_trace(*batch)
    whole = codes.copy()
    for name in enumeration.model:
        shape = at_codes.nodes[name]["fn"].shape()  # Pyro drops the plate of a batch of one
        value = found.nodes[name]["value"].expand(shape)
        whole.add_node(name, **found.nodes[name] | {"value": value})
    return codes, _replayed(model, whole, batch)


def local_latents(trace: poutine.Trace) -> dict[str, Tensor]:
    """The latent sites of a datum and their values, data first.

    Auxiliary sites are left out, and missing values of the data.
    """
    plate, missing = data_plate(trace), missing_values(trace)
    return {
        site["name"]: data_first(site["value"], site, int(plate.dim))
        for site in sample_sites(trace)
        if is_latent(site) and not site["infer"].get("is_auxiliary")
        if site["name"] not in missing
        if any(frame.name == plate.name for frame in site["cond_indep_stack"])
    }


def global_latents(trace: poutine.Trace) -> dict[str, Tensor]:
    """The latent sites outside the data plate and their values."""
    name = data_plate(trace).name
    return {
        site["name"]: site["value"]
        for site in sample_sites(trace)
        if is_latent(site) and all(frame.name != name for frame in site["cond_indep_stack"])
    }


def likelihood_mean(model: poutine.Trace, x: Tensor) -> Tensor:
    """The mean of the likelihood of x, data first; the mode or a draw where it has no mean.

    Its site is the one that observes the values of x; of several tensors of data, labels may come
    before it in the model.
    """
    plate = data_plate(model)
    observed = [
        site
        for site in sample_sites(model)
        if site["is_observed"] and any(f.name == plate.name for f in site["cond_indep_stack"])
    ]
    site = max(observed, key=lambda site: _likeness(site["value"], x))
    mean = _mean_or_mode(site["fn"], prefer_mean=True)
    return data_first(site["fn"].sample() if mean is None else mean, site, int(plate.dim))


def data_first(value: Tensor, site: Site, data_dim: int) -> Tensor:
    """A site's values with the data along the first axis."""
    return value.movedim(data_dim - len(site["fn"].event_shape), 0)


def centre(site: Site) -> Tensor:
    """The mean of a site's distribution, or its likeliest value where the mean is not possible.

    Raises:
        ModelError: Neither is known.
    """
    value = _mean_or_mode(site["fn"], prefer_mean=False)
    if value is None:
        raise ModelError(
            f"site '{site['name']}' ({type(site['fn']).__name__}) has no mean that is known: use "
            "kind='sample'"
        )
    return value


def _mean_or_mode(fn: Distribution, *, prefer_mean: bool) -> Tensor | None:
    """The mean; the likeliest value where there is none or, unless preferred, it is not possible.

    The mean of a coin or of a direction is not a possible value: as a picture it is fine, as a code
    it is nothing that a decoder has seen.
    """
    mean = _known(fn, "mean")
    if mean is not None and (prefer_mean or _is_possible(fn, mean)):
        return mean
    if not fn.has_enumerate_support:
        return _known(fn, "mode")
    values = fn.enumerate_support(expand=True)
    index = fn.log_prob(values).argmax(0)[(None, ..., *[None] * len(fn.event_shape))]
    return values.gather(0, index.expand(1, *fn.shape()))[0]


def _is_possible(fn: Distribution, value: Tensor) -> bool:
    try:
        return bool(fn.support.check(value).all())
    except NotImplementedError:
        return True


def _known(fn: Distribution, name: str) -> Tensor | None:
    try:
        value: Tensor = getattr(fn, name)
    except (NotImplementedError, AttributeError):
        return None
    return value.expand(fn.shape()) if value.isfinite().all() else None


def _replayed(model: Program, codes: poutine.Trace, batch: Batch) -> poutine.Trace:
    return poutine.trace(poutine.replay(model, trace=codes)).get_trace(*batch)


def _likeness(value: Tensor, x: Tensor) -> tuple[bool, bool]:
    is_equal = value.shape == x.shape and bool(torch.equal(value, x))
    return is_equal, value.numel() == x.numel()


def _centred(kind: Kind) -> Substitute:
    """A handler that gives every latent site its mean, unless it is to be drawn."""
    return Substitute(lambda site: centre(site) if kind == "mean" and is_latent(site) else None)
