"""What made an objective infinite or not a number."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.densities import is_bounded, is_inside
from pyro_decomp.elbo import Estimate
from pyro_decomp.sites import sample_sites
from pyro_decomp.support import family


def blame_terms(estimate: Estimate, values: Mapping[str, float], step: int) -> str:
    """Which terms, and which sites' log densities, are not finite."""
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
            f"step {step}: the objective is {objective} but every term finite, so a weight is not"
        )
    named = ", ".join(f"{name} = {values[name]}" for name in terms)
    where = f", at site {', '.join(dict.fromkeys(sites))}" if sites else ""
    hint = "try a smaller learning rate, or a likelihood whose scale cannot vanish"
    if not sites and (bounded := _bounded_encodings(estimate)):
        hint = (
            f"q(z) may have density 0 where the prior has draws, as {bounded} is bounded in the "
            "guide: use ExclusiveKL() or a divergence of samples, or a guide with the prior's "
            "support"
        )
    return f"step {step}: {named}{where}; the last checkpoint is kept ({hint})"


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
