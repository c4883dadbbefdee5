"""The KL to the prior in parts, and the base of the objectives that weigh these apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from pyro.distributions import Distribution
from torch import Tensor

from pyro_decomp.aggregate_posterior import Estimator, Exact, LogDensities
from pyro_decomp.aggregate_posterior.estimators import check_estimator
from pyro_decomp.aggregate_posterior.families import is_factorised, stripped
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.rows import unmasked
from pyro_decomp.sites import plate_dims
from pyro_decomp.traces import OwnSamples, TracePair


@dataclass(frozen=True)
class Decomposition:
    r"""The parts of log q(z|x) - log p(z), which they add up to; scalars in nats per datum.

    Attributes:
        mutual_information: E[log q(z|x) - log q(z)], between a datum and its code.
        between: E[log q(z) - \sum_s log q(z_s)], the total correlation of the latent sites.
        within: \sum_s E[log q(z_s) - \sum_d log q(z_sd)], that of the dimensions of each site.
        dimensionwise_kl: \sum_sd E[log q(z_sd) - log p(z_sd)].
    """

    mutual_information: Tensor
    between: Tensor
    within: Tensor
    dimensionwise_kl: Tensor


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
        q = encodings(traces, self.estimator)
        self._check_prior(traces)

        def parts(own: OwnSamples) -> Float[Tensor, "4 b"]:
            log_q = q(own.z)
            sites = torch.stack(list(log_q.sites.values())).sum(0)
            dimensions = torch.stack([each.sum(-1) for each in log_q.dimensions.values()]).sum(0)
            return torch.stack(
                [
                    own.log_qz_x - log_q.joint,
                    log_q.joint - sites,
                    sites - dimensions,
                    dimensions - own.log_pz,
                ]
            )

        return Decomposition(*traces.mean(traces.over_own_samples(parts)))

    def _check_prior(self, traces: TracePair) -> None:
        """Once for each model and guide: p(z) must be the product of the p(z_sd)."""
        if self._prior_checked is self._structure:
            return
        if traces.conditioned_on:
            named = ", ".join(map(repr, traces.conditioned_on))
            raise ModelError(
                f"the prior depends on the observed label {named}, so that the model gives p(z) "
                f"given the label and not p(z): use FactorELBO for the total correlation alone"
            )
        for name in traces.latents:
            if name in traces.entangled and not _is_mixed_by_dimension(traces, name):
                summed = ", ".join(map(repr, traces.summed_out))
                raise ModelError(
                    f"site '{name}': its prior is a mixture over {summed} and so is not a product "
                    f"over dimensions, {INSTEAD}"
                )
        if len(traces.latents) > 1:
            values = {name: traces.guide.nodes[name]["value"] for name in traces.latents}
            _check_independent(traces.prior.dependencies(values))
        for name in traces.latents:
            pz = unmasked(traces.model.nodes[name]["fn"])
            _check_factorised(name, pz, traces.batch_size)
        self._prior_checked = self._structure


def encodings(
    traces: TracePair, estimator: Estimator
) -> Callable[[Mapping[str, Tensor]], LogDensities]:
    """Log q(z_i) at samples of the batch's own, of its sites and of its dimensions."""
    if isinstance(estimator, Exact):
        return traces.encodings(*estimator.args).log_densities
    weights = traces.pair_weights(estimator)
    return partial(traces.aggregate_posterior.log_densities, weights=weights)


INSTEAD = (
    "so KL(q(z|x) || p(z)) splits no further than into the mutual information and "
    "KL(q(z) || p(z)): use AggregateELBO with ExclusiveKL() for these, or, of continuous "
    "sites, FactorELBO for the total correlation alone"
)


def _is_mixed_by_dimension(traces: TracePair, name: str) -> bool:
    """Whether each dimension of a site has discrete sites of its own that are summed out."""
    site = traces.model.nodes[name]
    summed_out = (traces.model.nodes[each] for each in traces.summed_out)
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


def _check_independent(dependencies: dict[str, set[str]]) -> None:
    for name, parents in dependencies.items():
        if parents:
            named = ", ".join(map(repr, sorted(parents)))
            raise ModelError(
                f"site '{name}': its prior depends on {named} and so is not a product over "
                f"dimensions, {INSTEAD}"
            )
