"""The metrics, as two tables: one a row, and each gets every law of its kind.

``LAWS`` has the metrics of codes and factors (``test_laws.py``), ``INVARIANCES`` those that need no
factors (``test_laws_label_free.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.metrics import (
    Score,
    active_units,
    beta_vae_score,
    dci_lasso,
    dci_trees,
    density_mig,
    explicitness,
    factor_vae_score,
    gaussian_total_correlation,
    hoyer_sparsity,
    irs,
    mig,
    modularity,
    sap,
    udr,
    wasserstein_dependence,
)

NUM_FACTORS = 6
NUM_LEVELS = 5
NUM_ROWS = 1000


@dataclass(frozen=True)
class Law:
    """What to expect of one metric.

    Attributes:
        score: The metric, of codes and factors.
        identity: The least that codes equal to the factors score.
        constant: The most that codes which never vary score.
        duplicated: Between what the same codes twice over score.
        rotated: Whether codes rotated into one another score lower; if not, the same to 0.02.
        tolerance: How far permuted or flipped columns may move the value.
    """

    score: Callable[[NDArray[np.float64], NDArray[np.int64]], Score]
    identity: float = 0.9
    constant: float = 0.2
    duplicated: tuple[float, float] = (0.9, 1.0)
    rotated: bool = True
    tolerance: float = 1e-9


def factors() -> NDArray[np.int64]:
    """Independent uniform factors."""
    return np.random.default_rng(0).integers(NUM_LEVELS, size=[NUM_ROWS, NUM_FACTORS])


def rotation() -> NDArray[np.float64]:
    """Every two codes turned by 45 degrees."""
    return np.kron(np.eye(NUM_FACTORS // 2), [[0.5**0.5, -(0.5**0.5)], [0.5**0.5, 0.5**0.5]])


LAWS = {
    "mig": Law(lambda z, v: mig(z, v, num_resamples=0), duplicated=(0.0, 0.1)),
    "density_mig": Law(
        lambda z, v: density_mig((z, np.full_like(z, 0.1)), v, num_samples=1000, num_resamples=0),
        duplicated=(0.0, 0.1),
        tolerance=0.02,  # other noise
    ),
    "factor_vae_score": Law(
        lambda z, v: factor_vae_score(z, v, num_votes=600, num_held_out=600, num_resamples=0)
    ),
    "beta_vae_score": Law(
        lambda z, v: beta_vae_score(z, v, num_points=600, num_held_out=600, num_resamples=0),
    ),
    "sap": Law(
        lambda z, v: sap(z, v, continuous=range(NUM_FACTORS), num_resamples=0),
        duplicated=(0.0, 0.1),
    ),
    "dci_lasso": Law(lambda z, v: dci_lasso(z, v, num_resamples=0)),
    "dci_trees": Law(
        lambda z, v: dci_trees(z[:200], v[:200], num_rounds=2),
        tolerance=0.02,  # ties between splits
    ),
    "modularity": Law(lambda z, v: modularity(z, v, num_resamples=0)),
    # the mean over five ordered values of what a line can tell: 1, 3/4, 1/2, 3/4, 1
    "explicitness": Law(
        lambda z, v: explicitness(z, v, num_resamples=0),
        identity=0.77,
        constant=0.5,
        duplicated=(0.77, 0.83),
        rotated=False,
    ),
    "irs": Law(lambda z, v: irs(z, v, num_resamples=0), constant=0.1),
}


@dataclass(frozen=True)
class Invariance:
    """What changes a metric that needs no factors.

    Attributes:
        score: The metric, of codes.
        scaled: Whether a dimension's unit counts.
        shifted: Whether a dimension's origin counts.
        rotated: Whether the axes count.
    """

    score: Callable[[NDArray[np.float64]], Score]
    scaled: bool = False
    shifted: bool = False
    rotated: bool = True


def last_of_two(z: NDArray[np.float64]) -> Score:
    """UDR of a run beside one that is fixed."""
    generator = np.random.default_rng(5)
    other = generator.normal(size=z.shape) @ np.diag(np.arange(1.0, 1 + z.shape[1]))
    return udr([other + INVARIANT_CODES, z], num_resamples=0)[1]


INVARIANT_CODES = np.random.default_rng(4).normal(size=(300, 4)) @ np.array(
    [[1.0, 0.5, 0.0, 0.0], [0.0, 2.0, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.5]]
)

INVARIANCES = {
    "gaussian_total_correlation": Invariance(
        lambda z: gaussian_total_correlation(z, num_resamples=0)
    ),
    "wasserstein_dependence": Invariance(
        lambda z: wasserstein_dependence(z, num_resamples=0), scaled=True
    ),
    "hoyer_sparsity": Invariance(lambda z: hoyer_sparsity(z, num_resamples=0), shifted=True),
    "active_units": Invariance(
        lambda z: active_units(z, threshold=2.0, num_resamples=0), scaled=True
    ),
    "udr": Invariance(last_of_two),
}
