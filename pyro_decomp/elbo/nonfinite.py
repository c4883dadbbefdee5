"""What made an objective infinite or not a number, and what may help (internal)."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.data.batches import Batch
from pyro_decomp.data.checks import column_label, large_columns
from pyro_decomp.distributions.densities import family, is_bounded, is_inside, unwrapped
from pyro_decomp.elbo import Estimate
from pyro_decomp.programs.sites import sample_sites

FAR = 1e6  # times the size of the values: what fits so badly has diverged


def blame_terms(estimate: Estimate, values: Mapping[str, float], batch: Batch, step: int) -> str:
    """Say which terms, and which sites' log densities, are not finite."""
    terms = [n for n in estimate.terms if not math.isfinite(values[n])]
    sites = []
    with torch.no_grad():
        for pair in estimate.pairs:
            for trace, role in ((pair.guide, "guide"), (pair.model, "model")):
                for site in sample_sites(trace):
                    value = site["value"]
                    finite = value.isfinite().all() if isinstance(value, Tensor) else True
                    if not finite or not _log_prob_is_finite(site):
                        sites.append(f"'{site['name']}' ({_what_is_wrong(site, role)})")
    if not terms:
        objective = values["objective"]
        return (
            f"step {step}: the objective is {objective} but every term finite, so a weight is not, "
            "or is too large, or another density of Pyro's own objective"
        )
    named = ", ".join(f"{name} = {values[name]}" for name in terms)
    where = f", at site {', '.join(dict.fromkeys(sites))}" if sites else ""
    hint = remedy(estimate, batch, step)
    if not sites and (bounded := _bounded_encodings(estimate)):
        hint = (
            f"q(z) may have density 0 where the prior has draws, as {bounded} is bounded in the "
            "guide: use ExclusiveKL() or a divergence of samples, or a guide with the prior's "
            "support"
        )
    return f"step {step}: {named}{where} ({hint})"


def blame_gradients(gradients: Mapping[str, Tensor], hint: str, step: int) -> str:
    """Say which gradients are not finite, by the names of their parameters, and what may help."""
    names = [name for name, gradient in gradients.items() if not bool(gradient.isfinite().all())]
    return (
        f"step {step}: the gradient of {', '.join(names) or 'the parameters'} is not finite "
        f"({hint})"
    )


def remedy(estimate: Estimate, batch: Batch, step: int) -> str:
    """Say in a clause what may help where a step gives no finite number.

    The causes are looked for in turn: a scale that has become too small for a likelihood that fits,
    as on a constant column; values that are large for a network; the programs themselves, where no
    step was taken yet; and only then the learning rate.

    Args:
        estimate: The objective on the batch of the step.
        batch: That batch.
        step: The number of the step, from 1.
    """
    if collapsed := _collapsed_scale(estimate):
        return collapsed
    if large := large_columns(batch[0]):
        return large
    if step == 1:
        return (
            "no step was taken before it, so it is in the programs: look for a log, root or "
            "division at 0, or for numbers or weights too large for their type"
        )
    return "try a smaller learning rate"


def _collapsed_scale(estimate: Estimate) -> str:
    """Say which scale of an observed site is too small for a finite density, and what to do."""
    for site in sample_sites(estimate.pairs[-1].model):
        fn, value = unwrapped(site["fn"]), site["value"]
        loc, scale = (getattr(fn, name, None) for name in ("loc", "scale"))
        if not (site["is_observed"] and isinstance(loc, Tensor) and isinstance(scale, Tensor)):
            continue
        if not isinstance(value, Tensor) or not bool(value.isfinite().all()):
            continue
        with torch.no_grad():
            residual, size = (value - loc).abs(), 1 + value.abs().max()
            smallest = torch.finfo(value.dtype).tiny ** 0.5 * residual
            is_small = (scale <= smallest) & (residual <= FAR * size) & (scale >= 0)
            if not bool(is_small.any()) or not bool((scale <= FAR * size).all()):
                continue
            first = is_small.nonzero()[0]
            least = scale.expand_as(is_small)[tuple(first)].item()
        sentence = f"the scale of site '{site['name']}' is as small as {least:.3g}"
        if value.dim() > 1:
            column = int(is_small[first[0]].reshape(-1).nonzero()[0])
            label = column_label(column, value.shape[1:])
            sentence += f" in column {label}"
            of_column = value.reshape(len(value), -1)[:, column]
            if len(value) > 1 and bool((of_column == of_column[0]).all()):
                sentence += f", where all data are {of_column[0].item():.6g}"
                return f"{sentence}: leave constant columns out, or bound the scale from below"
        return f"{sentence}: bound it from below, as softplus(h) + 1e-3 does"
    return ""


def _bounded_encodings(estimate: Estimate) -> str:
    """Latent sites of a datum whose distribution in the guide does not reach everywhere."""
    pair = estimate.pairs[-1]
    fns = {name: pair.guide.nodes[name]["fn"] for name in pair.latents}
    return ", ".join(f"'{n}' ({family(fn)})" for n, fn in fns.items() if is_bounded(fn))


def _log_prob_is_finite(site: Mapping[str, Any]) -> bool:
    try:
        return bool(site["fn"].log_prob(site["value"]).isfinite().all())
    except ValueError:  # the distribution's own validation: the value is outside its support
        return False


def _what_is_wrong(site: Mapping[str, Any], role: str) -> str:
    """The program that a site is in and, where that is why, that its values leave the support."""
    with suppress(NotImplementedError):
        if site["value"].isfinite().all() and not is_inside(site["fn"], site["value"]).all():
            return f"{role}, with values outside of the support of {family(site['fn'])}"
    return role
