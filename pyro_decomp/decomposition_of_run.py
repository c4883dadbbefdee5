"""The KL to the prior over a whole set of data, in parts, with q(z) exact."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, LogDensities, log_prob_over
from pyro_decomp.aggregate_posterior.families import data_rows, marginals
from pyro_decomp.encoded import Encoded, Encodings
from pyro_decomp.errors import ModelError
from pyro_decomp.product_prior import is_product
from pyro_decomp.rows import unmasked
from pyro_decomp.traces import TracePair

OF_MARGINALS = ("total_correlation", "dimensionwise_kl")
PARTS = (
    "divergence",
    "mutual_information",
    "effective_sharing",
    "marginal_kl",
    "total_correlation",
    "dimensionwise_kl",
)


def decomposition(
    encoded: Encoded, num_prior_samples: int, only: Collection[str] = PARTS
) -> tuple[dict[str, float], dict[str, str]]:
    r"""Split KL(q(z|x) || p(z)) of a set of data into what the set's own q(z) says of it.

    .. math::
        KL(q(z|x) || p(z)) = MI + KL(q(z) || p(z)), \quad KL(q(z) || p(z)) = TC + DWKL

    in expectation over the set. MI is the mutual information of data and codes, TC the total
    correlation over all dimensions, DWKL the sum of KL(q(z_d) || p(z_d)): Hoffman & Johnson, "ELBO
    Surgery", 2016, section 2 (http://approximateinference.org/accepted/HoffmanJohnson2016.pdf), and
    Chen et al., "Isolating Sources of Disentanglement in Variational Autoencoders", 2018, eq. 2
    (https://arxiv.org/abs/1802.04942).

    Where the prior is given something u of the datum, p(z) is the mixture of the priors of all data
    of the set, and the parts less R = E[log p(z|u) - \sum_d log p(z_d)] are KL(q(z|x) || p(z|u)).
    Of labels it is the marginal.

    Unbiased: q(z) and its marginals are the mixtures over all data of the set, and expectations are
    means over samples. Rows that are masked over the data plate are no data; with weights of the
    data, q(z) and the means are weighted, and log N is the weights' entropy H(w/W).

    Args:
        encoded: The set.
        num_prior_samples: Draws of the prior for ``divergence``.
        only: Which parts are wanted.

    Returns:
        The parts in nats with their standard errors: ``mutual_information``, ``marginal_kl``
        KL(q(z) || p(z)), ``total_correlation``, ``dimensionwise_kl``, ``divergence``
        KL(p(z) || q(z)); ``prior_information``, R, beside ``dimensionwise_kl`` where the prior is
        given something; and ``effective_sharing``, exp(log N - MI), without a unit. Then, by name,
        why others are left out.
    """
    left_out = _left_out(encoded, only)
    wanted = set(only) - left_out.keys()
    found: dict[str, float] = {}
    if "divergence" in wanted:
        z = encoded.draw_prior(num_prior_samples)
        log_pz = log_prior_over(encoded, z)
        found |= mean("divergence", log_pz - log_prob_over(encoded.parts, z))
    if wanted - {"divergence"}:
        found |= _of_samples(encoded, is_split=bool(wanted & set(OF_MARGINALS)))
    if "dimensionwise_kl" in wanted:
        wanted.add("prior_information")
    kept = {name for name in found if name.removesuffix("_standard_error") in wanted}
    return {name: value for name, value in found.items() if name in kept}, left_out


def mean(name: str, values: Tensor, weights: Tensor | None = None) -> dict[str, float]:
    """The mean of values under a name, and its standard error; weighted, where they have weights.

    The error of a weighted mean is that of a ratio, by the squares of its residuals.
    """
    if weights is None:
        standard_error = values.std() / len(values) ** 0.5
        return {name: values.mean().item(), f"{name}_standard_error": standard_error.item()}
    share = weights / weights.sum()
    average = (share * values).sum()
    squares = (share * (values - average)).square().sum() * (len(values) / (len(values) - 1))
    return {name: average.item(), f"{name}_standard_error": squares.sqrt().item()}


def log_densities_over(parts: Sequence[Encodings], z: Mapping[str, Tensor]) -> LogDensities:
    """Log q(z_s), and that of every site and dimension, of the mixture over several batches.

    Raises:
        ModelError: The marginals of a site's family are not known.
    """
    parts = [part for part in parts if part.mass]
    found = [part.log_densities(z) for part in parts]
    total = sum(part.mass for part in parts)
    shares = [math.log(part.mass / total) for part in parts]

    def mixed(log_probs: Sequence[Tensor]) -> Tensor:
        weighted = [log_q + share for log_q, share in zip(log_probs, shares, strict=True)]
        return torch.stack(weighted).logsumexp(0)

    sites = found[0].sites
    return LogDensities(
        mixed([log_q.joint for log_q in found]),
        {name: mixed([log_q.sites[name] for log_q in found]) for name in sites},
        {name: mixed([log_q.dimensions[name] for log_q in found]) for name in sites},
    )


def information_of_dimensions(pairs: Sequence[TracePair]) -> dict[str, Float[Tensor, " _"]] | None:
    r"""I(x; z_d) = E[log q(z_d|x) - log q(z_d)] of every dimension of each latent site, in nats.

    Over these data and their own samples; at most log N.

    Args:
        pairs: The data, a batch each.

    Returns:
        None where the marginals of q(z) are not known.
    """
    try:
        parts = [pair.aggregate_posterior for pair in pairs]
    except ModelError:
        return None
    if _why_no_marginals(parts[0]):
        return None
    totals: dict[str, Tensor] = {}
    for pair in pairs:
        z = {name: pair.guide.nodes[name]["value"] for name in pair.latents}
        log_qz = log_densities_over(parts, z).dimensions
        for name, value in z.items():
            fn = pair.guide.nodes[name]["fn"]
            axis = int(pair.data_plate.dim) - len(fn.event_shape)
            own = data_rows(marginals(name, unmasked(fn)).log_prob(value), axis)
            found = pair.mean((own - log_qz[name]).mT) * pair.aggregate_posterior.mass
            totals[name] = totals.get(name, 0.0) + found
    total_mass = sum(part.mass for part in parts)
    return {name: total.cpu() / total_mass for name, total in totals.items()}


def _left_out(encoded: Encoded, only: Collection[str]) -> dict[str, str]:
    """What cannot be had, and why."""
    reasons: dict[str, str] = {}
    if not is_product(encoded.first):
        reasons["dimensionwise_kl"] = "the prior is not a product over dimensions"
    if encoded.parts and (why := _why_no_marginals(encoded.parts[0])):
        reasons |= dict.fromkeys(OF_MARGINALS, why)
    if encoded.reason:
        reasons = dict.fromkeys(PARTS, encoded.reason)
    return {name: why for name, why in reasons.items() if name in only}


def _why_no_marginals(part: Encodings) -> str:
    if not isinstance(part, AggregatePosterior):
        return "the guide's sites depend on one another, so that the marginals of q(z) are unknown"
    try:
        for name, fn in part.qz_x.items():
            marginals(name, fn)
    except ModelError as error:
        return str(error).partition(": expected")[0]
    return ""


def log_prior_over(encoded: Encoded, z: Mapping[str, Tensor]) -> Float[Tensor, " s"]:
    """Log p(z_s), in nats, of the prior that q(z) over the whole set is held against.

    It is the mixture of all data's priors where these are given something of the datum.
    """
    if encoded.priors:
        return log_prob_over(encoded.priors, z)
    return encoded.first.prior.log_prob(z)


def _of_samples(encoded: Encoded, *, is_split: bool) -> dict[str, float]:
    """All parts but ``divergence``, from samples of q(z)."""
    is_given = bool(encoded.priors)
    blocks = []
    for some in encoded.samples:
        log_pz = some.log_pz
        if is_given or encoded.first.prior_inputs.labels:
            log_pz = log_prior_over(encoded, some.z)
        joint, product = log_prob_over(encoded.parts, some.z), torch.full_like(log_pz, math.nan)
        prior = log_pz
        if is_split:
            product = _over_dimensions(log_densities_over(encoded.parts, some.z))
            if is_given and is_product(encoded.first):
                prior = _over_dimensions(log_densities_over(encoded.priors, some.z))
        blocks.append(torch.stack([some.log_qz_x, some.log_pz, joint, product, log_pz, prior]))
    log_qz_x, log_own, joint, product, log_pz, prior = torch.cat(blocks, 1)
    counted = [some.weights for some in encoded.samples if some.weights is not None]
    weights = torch.cat(counted) if counted else None
    found = mean("mutual_information", log_qz_x - joint, weights)
    information = max(0.0, found["mutual_information"])
    found["effective_sharing"] = math.exp(encoded.log_size - information)
    found |= mean("marginal_kl", joint - log_pz, weights)
    found |= mean("total_correlation", joint - product, weights)
    if is_given:
        found |= mean("prior_information", log_own - prior, weights)
    return found | mean("dimensionwise_kl", product - prior, weights)


def _over_dimensions(log_densities: LogDensities) -> Float[Tensor, " s"]:
    """The log density of the product of all dimensions' marginals."""
    return torch.stack([each.sum(-1) for each in log_densities.dimensions.values()]).sum(0)
