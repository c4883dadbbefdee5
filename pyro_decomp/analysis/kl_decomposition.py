"""The KL to the prior over a whole set of data, in parts, with q(z) exact."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, LogDensities, log_prob_over
from pyro_decomp.aggregate_posterior.families import data_rows, marginals
from pyro_decomp.analysis.encoding import Posterior
from pyro_decomp.analysis.posterior_samples import PosteriorSamples, Samples
from pyro_decomp.analysis.quantities import by_itself, keep_finite, mean
from pyro_decomp.distributions.densities import unmasked
from pyro_decomp.elbo.decomposition import RATIOS
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.factorization import is_product
from pyro_decomp.programs.traces import TracePair

OF_MARGINALS = ("total_correlation", "dimensionwise_kl")
OF_PRIOR = ("divergence", "marginal_kl", "dimensionwise_kl")
PARTS = (
    "divergence",
    "mutual_information",
    "effective_sharing",
    "marginal_kl",
    "total_correlation",
    "dimensionwise_kl",
)
INFINITE = {
    "divergence": "it is infinite, as q(z) has density 0 at draws of the prior",
    "marginal_kl": "it is infinite, as the prior has density 0 at codes of the data",
}


def decomposition(
    encoded: PosteriorSamples, num_prior_samples: int, only: Collection[str] = PARTS
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
        why others are left out: each is computed by itself, and what fails or is infinite has its
        reason there.
    """
    found: dict[str, float] = {}
    left_out: dict[str, str] = {}
    densities = _LogDensities(encoded)
    for name in PARTS:
        if name in only:
            with by_itself(left_out, name):
                _require(encoded, name)
                found |= _part(name, densities, num_prior_samples)
            if math.isinf(found.get(name, 0.0)):
                left_out[name] = INFINITE.get(name, INFINITE["marginal_kl"])
    keep_finite(found, left_out)
    return found, left_out


def log_densities_over(parts: Sequence[Posterior], z: Mapping[str, Tensor]) -> LogDensities:
    """Log q(z_s), and that of every site and dimension, of the mixture over several batches.

    Raises:
        ModelError: The marginals of a site's family are not known.
    """
    counted = [(part, mass) for part in parts if (mass := part.mass)]
    found = [part.log_densities(z) for part, _ in counted]
    total = sum(mass for _, mass in counted)
    shares = [math.log(mass / total) for _, mass in counted]

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


def _require(encoded: PosteriorSamples, name: str) -> None:
    """Refuse a part that cannot be had.

    Raises:
        ModelError: It cannot.
    """
    reasons = [
        encoded.reason,
        _why_no_marginals(encoded.parts[0]) if name in OF_MARGINALS and encoded.parts else "",
        encoded.no_prior if name in OF_PRIOR else "",
    ]
    if name == "dimensionwise_kl" and not is_product(encoded.first):
        reasons.append("the prior is not a product over dimensions")
    if reason := next(filter(None, reasons), ""):
        raise ModelError(reason)


def _why_no_marginals(part: Posterior) -> str:
    if not isinstance(part, AggregatePosterior):
        return "the guide's sites depend on one another, so that the marginals of q(z) are unknown"
    if reason := part.why_no_density():
        return reason
    try:
        for name, fn in part.qz_x.items():
            marginals(name, fn)
    except ModelError as error:
        return str(error).partition(": expected")[0]
    return ""


def log_prior_over(encoded: PosteriorSamples, z: Mapping[str, Tensor]) -> Float[Tensor, " s"]:
    """Log p(z_s), in nats, of the prior that q(z) over the whole set is held against.

    It is the mixture of all data's priors where these are given something of the datum.
    """
    if encoded.priors:
        return log_prob_over(encoded.priors, z)
    return encoded.first.prior.log_prob(z)


class _LogDensities:
    """The log densities of :data:`.RATIOS` at a set's samples of q(z), each once it is wanted."""

    def __init__(self, encoded: PosteriorSamples) -> None:
        self.encoded = encoded
        counted = [some.weights for some in encoded.samples if some.weights is not None]
        self._weights = torch.cat(counted) if counted else None

    @cached_property
    def log_qz_x(self) -> Float[Tensor, " s"]:
        return self._over_samples(lambda some: some.log_qz_x)

    @cached_property
    def log_qz(self) -> Float[Tensor, " s"]:
        return self._over_samples(lambda some: log_prob_over(self.encoded.parts, some.z))

    @cached_property
    def log_qz_dimensions(self) -> Float[Tensor, " s"]:
        return self._of_dimensions(self.encoded.parts)

    @cached_property
    def log_pz_x(self) -> Float[Tensor, " s"]:
        return self._over_samples(lambda some: some.log_pz)

    @cached_property
    def log_pz(self) -> Float[Tensor, " s"]:
        if self.encoded.priors or self.encoded.first.prior_inputs.labels:
            return self._over_samples(lambda some: log_prior_over(self.encoded, some.z))
        return self.log_pz_x

    @cached_property
    def log_pz_dimensions(self) -> Float[Tensor, " s"]:
        priors = self.encoded.priors
        return self._of_dimensions(priors) if priors else self.log_pz

    def mean(self, name: str) -> dict[str, float]:
        """One of the ratios, in the mean over the samples, and its standard error."""
        one, two = (getattr(self, each) for each in RATIOS[name])
        return mean(name, one - two, self._weights)

    def _of_dimensions(self, parts: Sequence[Posterior]) -> Float[Tensor, " s"]:
        return self._over_samples(
            lambda some: log_densities_over(parts, some.z).product_of_dimensions
        )

    def _over_samples(self, log_prob: Callable[[Samples], Tensor]) -> Float[Tensor, " s"]:
        return torch.cat([log_prob(some) for some in self.encoded.samples])


def _part(name: str, of: _LogDensities, num_prior_samples: int) -> dict[str, float]:
    """One of :data:`PARTS`, with its standard error and what goes with it."""
    encoded = of.encoded
    if name == "divergence":
        z = encoded.draw_prior(num_prior_samples)
        return mean(name, log_prior_over(encoded, z) - log_prob_over(encoded.parts, z))
    if name == "effective_sharing":
        information = of.mean("mutual_information")["mutual_information"]
        if not math.isfinite(information):
            raise ModelError(f"I(x; z) is {information}, which is no number to report")
        return {name: math.exp(encoded.log_size - max(0.0, information))}
    found = of.mean(name)
    if name == "dimensionwise_kl" and encoded.priors:
        found |= of.mean("prior_information")
    return found
