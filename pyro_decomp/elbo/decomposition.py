"""The KL to the prior in parts, and the base of the objectives that weigh these apart."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from pyro.distributions import Distribution
from torch import Tensor

from pyro_decomp.aggregate_posterior import Estimator
from pyro_decomp.aggregate_posterior.estimators import check_estimator
from pyro_decomp.distributions.densities import is_factorised, stripped, unmasked
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.site_densities import OwnSamples
from pyro_decomp.programs.sites import plate_dims
from pyro_decomp.programs.traces import TracePair

RATIOS: Mapping[str, tuple[str, str]] = {
    "mutual_information": ("log_qz_x", "log_qz"),
    "marginal_kl": ("log_qz", "log_pz"),
    "total_correlation": ("log_qz", "log_qz_dimensions"),
    "between": ("log_qz", "log_qz_sites"),
    "within": ("log_qz_sites", "log_qz_dimensions"),
    "dimensionwise_kl": ("log_qz_dimensions", "log_pz_dimensions"),
    "prior_information": ("log_pz_x", "log_pz_dimensions"),
}
"""Each part of the KL: the mean, over draws of q(z|x), of one log density less another.

Of a draw z of datum x: ``log_qz_x`` is log q(z|x), ``log_qz`` log q(z), ``log_qz_sites`` and
``log_qz_dimensions`` the sums of log q(z_s) over sites and of log q(z_sd) over dimensions,
``log_pz_x`` the log density under the prior of x, ``log_pz`` that under the prior of all data, and
``log_pz_dimensions`` the sum of the latter's log p(z_sd).
"""


@dataclass(frozen=True)
class Decomposition:
    r"""The parts of log q(z|x) - log p(z|u); scalars in nats per datum.

    It is the sum of the first four less the last.

    Attributes:
        mutual_information: E[log q(z|x) - log q(z)], between a datum and its code.
        between: E[log q(z) - \sum_s log q(z_s)], the total correlation of the latent sites.
        within: \sum_s E[log q(z_s) - \sum_d log q(z_sd)], that of the dimensions of each site.
        dimensionwise_kl: \sum_sd E[log q(z_sd) - log p(z_sd)].
        prior_information: E[log p(z|u) - \sum_sd log p(z_sd)], which the sum of the parts is to be
            lessened by where the prior is given u: p(z_sd) is then the mixture over all data's u.
            It is 0 where all data share one prior.
    """

    mutual_information: Tensor
    between: Tensor
    within: Tensor
    dimensionwise_kl: Tensor
    prior_information: Tensor


class DecomposedELBO(TermsELBO):
    """An objective that weighs the parts of the KL apart.

    Args:
        estimator: Of log q(z) and its marginals.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.
    """

    def __init__(
        self, estimator: Estimator, *, num_particles: int = 1, analytic_kl: bool = True
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        check_estimator(estimator)
        self.estimator = estimator
        self._prior_checked: object = object()

    def is_plain(self) -> bool:
        """Whether the parts all count once, as they do in the KL, and need not be computed."""
        return all(
            not isinstance(weight, Tensor) and weight == 0
            for name, weight in self.weights().items()
            if name not in {"log_likelihood", "kl", "global_kl"}
        )

    def decomposition(self, traces: TracePair) -> Decomposition:
        """Split the KL of this batch's samples into its parts.

        Raises:
            ModelError: The prior does not factorise over dimensions, the guide's sites depend on
                one another, or the marginals of their family are not known.
        """
        self._check_prior(traces)
        reference = traces.reference(self.estimator)
        q, p, weights = reference.posterior, reference.prior, reference.weights

        def parts(own: OwnSamples) -> Float[Tensor, "5 b"]:
            log_q = q.log_densities(own.z, weights)
            log_pz = own.log_pz
            if p is not None:
                log_pz = p.log_densities(own.z, weights).product_of_dimensions
            log_densities = {
                "log_qz_x": own.log_qz_x,
                "log_qz": log_q.joint,
                "log_qz_sites": log_q.product_of_sites,
                "log_qz_dimensions": log_q.product_of_dimensions,
                "log_pz_x": own.log_pz,
                "log_pz_dimensions": log_pz,
            }
            ratios = (RATIOS[name] for name in names)
            return torch.stack([log_densities[one] - log_densities[two] for one, two in ratios])

        names = [each.name for each in fields(Decomposition)]
        return Decomposition(*traces.mean(traces.over_own_samples(parts)))

    def terms_of(self, traces: TracePair, parts: Decomposition) -> dict[str, Tensor]:
        """The parts that objectives name alike."""
        terms = {
            "mutual_information": parts.mutual_information,
            "dimensionwise_kl": parts.dimensionwise_kl,
        }
        if traces.prior_inputs.given:
            terms["prior_information"] = parts.prior_information
        return terms

    def _check_prior(self, traces: TracePair) -> None:
        """Once for each model and guide: p(z) must be the product of the p(z_sd)."""
        if self._prior_checked is self._structure:
            return
        inputs = traces.prior_inputs
        for name in traces.latents:
            over = [n for n in (*inputs.labels, *traces.summed_out) if n in inputs.sites[name]]
            if over and (inputs.given or not _is_mixed_by_dimension(traces, name, over)):
                summed = ", ".join(map(repr, over))
                raise ModelError(
                    f"site '{name}': its prior is a mixture over {summed} and so is not a product "
                    f"over dimensions, {INSTEAD}"
                )
        latents = set(traces.latents)
        _check_independent({name: inputs.sites[name] & latents for name in traces.latents})
        for name in traces.latents:
            pz = unmasked(traces.model.nodes[name]["fn"])
            _check_factorised(name, pz, traces.batch_size)
        self._prior_checked = self._structure


INSTEAD = (
    "so KL(q(z|x) || p(z)) splits no further than into the mutual information and "
    "KL(q(z) || p(z)): use AggregateELBO with ExclusiveKL() for these, or, of continuous "
    "sites, FactorELBO for the total correlation alone"
)


def _is_mixed_by_dimension(traces: TracePair, name: str, over: list[str]) -> bool:
    """Whether each dimension of a site has discrete sites of its own that are summed out."""
    site = traces.model.nodes[name]
    summed_out = (traces.model.nodes[each] for each in over)
    return site["fn"].event_shape.numel() == 1 and all(
        plate_dims(each) >= plate_dims(site) for each in summed_out
    )


def _check_factorised(name: str, pz: Distribution, batch_size: int) -> None:
    base = stripped(pz)
    if not is_factorised(pz) and pz.shape().numel() > batch_size:
        raise ModelError(
            f"site '{name}': its prior, {type(base).__name__}, is not a product over dimensions, "
            f"{INSTEAD}"
        )


def _check_independent(dependencies: Mapping[str, frozenset[str]]) -> None:
    for name, parents in dependencies.items():
        if parents:
            named = ", ".join(map(repr, sorted(parents)))
            raise ModelError(
                f"site '{name}': its prior depends on {named} and so is not a product over "
                f"dimensions, {INSTEAD}"
            )
