"""Kullback-Leibler divergences between the aggregate posterior and the prior."""

from functools import reduce
from operator import add

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.aggregate_posterior import Estimator
from pyro_decomp.aggregate_posterior.estimators import check_estimator
from pyro_decomp.divergences.base import Divergence, require_gradients
from pyro_decomp.programs.traces import TracePair


class InclusiveKL(Divergence):
    r"""KL(p(z) || q(z)) in nats, which makes q(z) cover all of the prior.

    .. math:: (1/S) \sum_s log p(z_s) - log q(z_s),  z_s ~ p(z),  q(z) = (1/M) \sum_j q(z|x_j)

    Unbiased when the batch is the whole data set; on a minibatch biased up, since the logarithm
    of an unbiased estimate of q(z_s) is biased low. Mathieu et al. 2019, section 6.2.

    Where the prior is given something of the datum, p(z|u), z_s is drawn given u_s, and log p(z_s)
    is that of the mixture of all data's priors. Its datum sets z_s apart: q(z_s) and p(z_s) take
    the weights of "stratified_averaged", 1/N for datum s, and each is unbiased. Of labels, p(z) is
    the marginal.

    Args:
        num_samples: S, draws from the prior; None for as many as the batch has data. Where the
            prior is given something of the datum it is rounded up to a multiple of the batch.
    """

    def __init__(self, num_samples: int | None = None) -> None:
        arguments.whole(**arguments.given(num_samples=num_samples))
        self.num_samples = num_samples

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate KL(p || q), in nats.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: No latent site is inside the data plate; latent sites depend on one another
                in the guide; the prior is learned but its sampler passes no gradients.
        """
        q, p = traces.aggregate_posterior, traces.aggregate_prior
        if p is None:
            z, log_pz = traces.prior.draw(self.num_samples)
            require_gradients(traces.prior, "KL(p || q)")
            log_ratios = log_pz - q.log_prob(z, traces.pair_weights("batch"))
            return traces.mean(log_ratios) if self.num_samples is None else log_ratios.mean()
        weights = traces.pair_weights("stratified_averaged")
        num_runs = -(-(self.num_samples or traces.batch_size) // traces.batch_size)
        each = []
        for _ in range(num_runs):
            z, _ = traces.prior.draw()
            require_gradients(traces.prior, "KL(p || q)")
            each.append(traces.mean(p.log_prob(z, weights) - q.log_prob(z, weights)))
        return reduce(add, each) / num_runs


class ExclusiveKL(Divergence):
    r"""KL(q(z) || p(z)) in nats, which keeps q(z) from where the prior is small.

    .. math:: (1/B) \sum_i log q(z_i) - log p(z_i),  z_i ~ q(z|x_i)

    with log q(z_i) over the batch by one of the estimators in
    :mod:`pyro_decomp.aggregate_posterior.estimators`, and densities alone of the prior: a learned
    prior needs no reparametrised sampler. Together with the mutual information of data and codes it
    is the KL of the ELBO: KL(q(z|x) || p(z)) = MI + KL(q(z) || p(z)) in the mean over data
    (Hoffman & Johnson, "ELBO surgery", 2016). In AggregateELBO, ``alpha=0`` is the plain ELBO.

    Unbiased with ``Exact`` over all data, and with "stratified_averaged" (the default) when the
    batch is the data set. On a minibatch the stratified estimators are unbiased for q(z_i), so that
    its logarithm, and the divergence, are biased low; "batch" counts a code's own encoding 1/B
    instead of 1/N, and is biased up by as much as log(N/B) where encodings do not overlap;
    "weighted" is too small by about log N, and only its gradient has meaning. Where the prior is
    given something of the datum, p(z_i) is the mixture of all data's priors with the weights of
    q(z_i); of labels it is the marginal. Rows that are masked over the data plate are no data, and
    a scale that varies along it weighs them: in q(z), in that mixture, and in the mean.

    Args:
        estimator: Of log q(z): "stratified_averaged", "stratified", "weighted", "batch", or
            :class:`Exact` with the whole data set.

    Raises:
        ArgumentError: ``estimator`` is none of these.
    """

    def __init__(self, estimator: Estimator = "stratified_averaged") -> None:
        check_estimator(estimator)
        self.estimator = estimator

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate KL(q || p), in nats.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: No latent site is inside the data plate; latent sites depend on one another
                in the guide; one of them has no density, such as a Delta.
        """
        reference = traces.reference(self.estimator)
        q, weights = reference.posterior, reference.weights
        log_ratios = traces.over_own_samples(
            lambda own: q.log_prob(own.z, weights) - traces.log_pz(own, reference)
        )
        return traces.mean(log_ratios)
