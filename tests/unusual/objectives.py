"""Objectives, each with weights under which all its terms count."""

from collections.abc import Callable

from pyro_decomp.divergences import (
    MMD,
    RBF,
    CovariancePenalty,
    DimensionwiseMMD,
    EnergyDistance,
    ExclusiveKL,
    InclusiveKL,
    SlicedWasserstein,
)
from pyro_decomp.elbo import (
    DIPELBO,
    AggregateELBO,
    AnnealedPriorELBO,
    BetaELBO,
    CapacityELBO,
    EntropyRegularizedELBO,
    GroupedTotalCorrelationELBO,
    InfoELBO,
    TermsELBO,
    TotalCorrelationELBO,
    WassersteinELBO,
)

OBJECTIVES: dict[str, Callable[[], TermsELBO]] = {
    "beta": lambda: BetaELBO(1.5),
    "three particles": lambda: BetaELBO(2.0, num_particles=3),
    "capacity": lambda: CapacityELBO(10.0, 1.0),
    "annealed prior": lambda: AnnealedPriorELBO(2.0),
    "entropy": lambda: EntropyRegularizedELBO(2.0),
    "inclusive KL": lambda: AggregateELBO(1.5, 0.7, InclusiveKL()),
    "exclusive KL": lambda: AggregateELBO(0.5, 1.5, ExclusiveKL()),
    "a sum": lambda: AggregateELBO(1.0, 1.5, ExclusiveKL() + 3.0 * MMD()),
    "RBF kernel": lambda: AggregateELBO(1.0, 5.0, MMD(RBF())),
    "energy distance": lambda: AggregateELBO(1.0, 2.0, EnergyDistance()),
    "sliced Wasserstein": lambda: AggregateELBO(1.0, 2.0, SlicedWasserstein()),
    "covariance penalty": lambda: AggregateELBO(1.0, 2.0, CovariancePenalty()),
    "InfoVAE": lambda: InfoELBO(0.2, 20.0),
    "dimension-wise MMD": lambda: WassersteinELBO(10.0, DimensionwiseMMD()),
    "total correlation": lambda: TotalCorrelationELBO(1.0, 4.0, 0.7),
    "stratified, no closed form": lambda: TotalCorrelationELBO(
        1.0, 4.0, 0.7, analytic_kl=False, num_particles=2, estimator="stratified"
    ),
    "grouped total correlation": lambda: GroupedTotalCorrelationELBO(0.9, 3.0, 2.0, 0.8),
    "DIP I": lambda: DIPELBO("I", lambda_od=3.0, lambda_d=1.0),
    "DIP II": lambda: DIPELBO("II", lambda_od=3.0, lambda_d=1.0),
}
