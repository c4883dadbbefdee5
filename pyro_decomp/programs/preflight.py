"""Checks that an objective can score a model and guide with a batch (internal).

Each check is one sentence that names the site and the fix. They read the traces of a run that is
made anyway, so they draw no random numbers of their own.
"""

from collections.abc import Mapping

import torch
from pyro import poutine
from torch import Tensor

from pyro_decomp.distributions.densities import family
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import Site, data_plate, missing_values, sample_sites
from pyro_decomp.programs.support import outside, refusal


def check(model: poutine.Trace, guide: poutine.Trace) -> None:
    """Check one guide trace and the model trace replayed against it.

    Raises:
        ModelError: There is no data plate; a site is on one side only, not in the plate, or has
            the wrong event dimensions; a guide site is observed or cannot be drawn with gradients;
            a value lies outside the support of the distribution that scores it.
    """
    plate = data_plate(model)
    _check_matching(model, guide)
    for site in sample_sites(model):
        if site["name"] not in guide.nodes:
            _check_summed_out(site, plate.name)
    for site in sample_sites(guide):
        _check_gradients(site, plate.name)
        if site["name"] in model.nodes:
            _check_latent(model.nodes[site["name"]], site, plate.name)
    for trace, role in ((guide, "guide"), (model, "model")):
        for site in sample_sites(trace):
            _check_value(site, role)
            _check_shapes(site, role)
    for site in sample_sites(model):
        _check_support(site)
    observed = [site for site in sample_sites(model) if site["is_observed"]]
    if not any(frame.name == plate.name for s in observed for frame in s["cond_indep_stack"]):
        raise ModelError(
            f"no site of the model is observed inside the data plate '{plate.name}': expected the "
            "likelihood there, as in pyro.sample('x', ..., obs=x)"
        )


def check_missing_values(
    model: poutine.Trace, guide: poutine.Trace, dependencies: Mapping[str, set[str]]
) -> None:
    """Check that nothing in the model depends on missing values that the guide does not draw.

    Raises:
        ModelError: Something does, so that they do not integrate to one.
    """
    missing = missing_values(model) - set(guide.nodes)
    for name, parents in dependencies.items():
        for parent in sorted(parents & missing):
            observed = parent.removesuffix("_unobserved")
            raise ModelError(
                f"site '{name}' depends on the missing values of '{observed}', which then cannot "
                f"be left out: expected pyro.sample('{parent}', ...) in the guide, or a model in "
                f"which nothing depends on '{observed}'"
            )


def check_plate_size(model: poutine.Trace, num_data: int) -> None:
    """Check that the data plate was opened with the size of the whole data set.

    Raises:
        ModelError: It was opened with another size.
    """
    plate = data_plate(model)
    if plate.full_size != num_data:
        raise ModelError(
            f"the data plate '{plate.name}' was opened with size {plate.full_size}, expected "
            f"{num_data}, the size of the whole data set"
        )


def _check_matching(model: poutine.Trace, guide: poutine.Trace) -> None:
    latent = {s["name"]: s for s in sample_sites(model) if not s["is_observed"]}
    observed = {s["name"] for s in sample_sites(model) if s["is_observed"]}
    drawn = {s["name"]: s for s in sample_sites(guide)}
    for name, site in drawn.items():
        if site["is_observed"]:
            if name not in observed:
                raise ModelError(
                    f"the guide's site '{name}' is observed but not in the model: expected the "
                    "same label observed in both"
                )
            continue
        auxiliary = site["infer"].get("is_auxiliary")
        if name in observed:
            raise ModelError(
                f"site '{name}' is drawn in the guide but observed in the model: observe it in the "
                "guide too, remove it there, or remove its obs= from the model"
            )
        if f"{name}_unobserved" in latent:
            raise ModelError(
                f"site '{name}' is observed for some of the data in the model but drawn for all in "
                "the guide: give its obs= and obs_mask= there too"
            )
        if name not in latent and not auxiliary:
            expected = f"expected one of {_names(latent)}"
            if not latent:
                expected = (
                    "it draws no latent site: expected pyro.sample, where what it has in its place "
                    f"only makes a value, as in pyro.sample('{name}', ...)"
                )
            raise ModelError(f"the guide's site '{name}' is not in the model: {expected}")
    for name, site in latent.items():
        if name in drawn or name in missing_values(model):
            continue
        if site["fn"].has_enumerate_support:
            continue
        if getattr(site["fn"].support, "is_discrete", False):
            raise ModelError(
                f"the model's discrete site '{name}' is absent from the guide and cannot be summed "
                "out: expected finitely many values, and a plate in the place of .to_event()"
            )
        raise ModelError(
            f"the model's latent site '{name}' is absent from the guide{_returned(guide)}: "
            f"expected pyro.sample('{name}', ...) there too"
        )


def _returned(program: poutine.Trace) -> str:
    """What a program returned, where that is a distribution that it might have sampled."""
    value = program.nodes["_RETURN"]["value"] if "_RETURN" in program else None
    parts = value if isinstance(value, tuple | list) else [value]
    if all(part is None for part in parts):
        return ""
    kinds = ", ".join(type(part).__name__ for part in parts)
    return f", which returned {kinds} and sampled nothing of that name"


def _check_value(site: Site, role: str) -> None:
    """Check that a site has a tensor that its distribution can score."""
    name, value = site["name"], site["value"]
    if not isinstance(value, Tensor) and not isinstance(value, float | int):
        raise ModelError(
            f"the {role}'s site '{name}' has a value of type {type(value).__name__}: expected a "
            "tensor, as torch.as_tensor(value) is"
        )
    if isinstance(value, Tensor) and value.dtype == torch.bool and site["is_observed"]:
        raise ModelError(
            f"the {role}'s site '{name}' observes truth values: expected numbers, as value.float() "
            "gives them"
        )


def _check_shapes(site: Site, role: str) -> None:
    name, fn, value = site["name"], site["fn"], site["value"]
    depth = max((-f.dim for f in site["cond_indep_stack"] if f.vectorized), default=0)
    batch, event = tuple(fn.batch_shape), tuple(fn.event_shape)
    if len(batch) > depth and any(size > 1 for size in batch[: len(batch) - depth]):
        extra = len(batch) - depth
        plate = "" if depth else "open the data plate around it, or "
        remedy = f"{plate}declare the other {extra} as event dimensions with .to_event({extra})"
        shape = tuple(value.shape) if isinstance(value, Tensor) else ()
        if depth and site["is_observed"] and len(shape) < len(batch):
            remedy = (
                f"it observes values of shape {shape}, so give it parameters of that shape, as "
                "loc.squeeze(-1) is of a loc with one column"
            )
        raise ModelError(
            f"the {role}'s site '{name}' has batch shape {batch} but its plates account for "
            f"{depth} dimension(s): {remedy}"
        )
    if isinstance(value, Tensor) and tuple(value.shape) != batch + event:
        raise ModelError(
            f"the {role}'s site '{name}' has values of shape {tuple(value.shape)}, expected "
            f"{batch + event} (batch {batch}, event {event}): make the parameters of the "
            "distribution and what it is given of one shape"
        )


def _check_latent(model_site: Site, guide_site: Site, plate: str) -> None:
    name, p, q = model_site["name"], model_site["fn"], guide_site["fn"]
    sizes = [
        next((frame.full_size for frame in site["cond_indep_stack"] if frame.name == plate), None)
        for site in (model_site, guide_site)
    ]
    if None in sizes and sizes != [None, None]:
        where, other = ("model", "guide") if sizes[1] is None else ("guide", "model")
        raise ModelError(
            f"site '{name}' is inside the data plate '{plate}' in the {where} but not in the "
            f"{other}: open pyro.plate('{plate}', N, subsample=x) around it in both"
        )
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"the data plate '{plate}' around site '{name}' was opened with size {sizes[1]} in the "
            f"guide but {sizes[0]} in the model: expected the size of the whole data set in both"
        )
    if p.event_shape != q.event_shape:
        raise ModelError(
            f"site '{name}' has event shape {tuple(q.event_shape)} in the guide but "
            f"{tuple(p.event_shape)} in the model: expected the same in both; adjust .to_event()"
        )


def _check_gradients(site: Site, plate: str) -> None:
    name, q = site["name"], site["fn"]
    if q.has_rsample or site["is_observed"]:
        return
    if not q.has_enumerate_support:
        raise ModelError(
            f"the guide's site '{name}' ({family(q)}) cannot be drawn with gradients: use a family "
            "with rsample, such as Normal or Laplace; or a discrete one with finitely many values, "
            "such as Categorical, whose dimensions are not declared with .to_event()"
        )
    plates = [frame.name for frame in site["cond_indep_stack"] if frame.vectorized]
    if plates != [plate]:
        where = ", ".join(map(repr, plates)) or "no plate"
        raise ModelError(
            f"the guide's discrete site '{name}' is in {where}: expected it in the data plate "
            f"'{plate}' alone, where the objective can sum over its values"
        )


def _check_summed_out(site: Site, plate: str) -> None:
    """Check that a discrete site of the model alone can be summed out of each datum's density."""
    if site["is_observed"] or not site["fn"].has_enumerate_support:
        return
    if plate not in [frame.name for frame in site["cond_indep_stack"]]:
        raise ModelError(
            f"the model's discrete site '{site['name']}' is absent from the guide and outside the "
            f"data plate '{plate}', so that it cannot be summed out of each datum: move it into "
            "the plate, or make it continuous"
        )


def _check_support(site: Site) -> None:
    value = site["value"]
    if not isinstance(value, Tensor):
        return
    spoilt = outside(site["fn"].support, value)
    if bool(spoilt.any()):
        first = tuple(spoilt.nonzero()[0].tolist())
        place = f"first at [{', '.join(map(str, first))}]" if site["is_observed"] else ""
        raise refusal(site, value, place, value[first])


def _names(sites: dict[str, Site]) -> str:
    return ", ".join(repr(name) for name in sites) or "none"
