"""Scores of how much the codes know of each factor: the mutual information gap, and the most."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.mutual_information import JointHistogram, equal_bins
from pyro_decomp.metrics.score import Score


def score_of_information(  # noqa: PLR0917
    name: str,
    detail: str,
    of_factors: Callable[[np.ndarray, np.ndarray], np.ndarray],
    codes: object,
    factors: object,
    num_bins: int,
    num_resamples: int,
    seed: int,
) -> Score:
    """The mean over factors of a number from 0 to 1 for each, with its interval; internal.

    Args:
        name: Of the metric.
        detail: What the factors' numbers are called in its details.
        of_factors: Maps I(z_j; v_k) [d, k] and H(v_k) [k] to the factors' numbers [k].
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers.
        num_bins: Bins of equal width for each code, which stay those of all rows.
        num_resamples: Half samples for the interval.
        seed: Of the half samples.
    """
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z))
    histogram = JointHistogram(equal_bins(z, num_bins), num_bins, levels)

    def statistic(rows: Int[np.ndarray, " m"]) -> float:
        information = histogram.mutual_information(rows)
        return float(of_factors(information, histogram.entropy(rows)).mean())

    information, entropy = histogram.mutual_information(), histogram.entropy()
    numbers = of_factors(information, entropy)
    value = float(numbers.mean())
    return Score(
        name=name,
        value=value,
        **estimate(
            statistic,
            len(z),
            value=value,
            num_resamples=num_resamples,
            seed=seed,
            bounds=(0, 1),
            least=histogram.fewest_rows(),
        )._asdict(),
        variant={
            "estimator": "histogram",
            "num_bins": num_bins,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"mutual_information": information, "entropy": entropy, detail: numbers},
    )


def mig(
    codes: object, factors: object, *, num_bins: int = 20, num_resamples: int = 100, seed: int = 0
) -> Score:
    r"""The mutual information gap (MIG) of codes, with information from histograms.

    .. math:: \frac{1}{K} \sum_k \frac{I(z_{j(k)}; v_k) - \max_{j \neq j(k)} I(z_j; v_k)}{H(v_k)}

    where j(k) is the code that knows most of factor k. From 0 to 1. This is the large study's
    variant, made for mean codes in 20 bins (:func:`.mutual_information`); it and the paper's own,
    :func:`.density_mig`, give different numbers for the same encoder. A single code has no rival:
    its gap is its information.

    Factor values that give the same datum put a ceiling below 1 on the score: merge them first
    (:func:`.merge_levels`).

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; constant columns are left out.
        num_bins: Bins of equal width for each code.
        num_resamples: Half samples for the interval (:class:`.Score`), which needs two rows for
            each cell of the largest histogram; 0 for none. The bins stay those of all rows.
        seed: Of the half samples.

    Returns:
        The score, with ``mutual_information`` [d, k] and ``entropy`` [k] in nats and the ``gaps``
        [k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`).
        ArgumentError: ``num_bins`` is less than 1.

    Reference:
        Chen et al., Isolating sources of disentanglement in VAEs, 2018, eq. 6,
        https://arxiv.org/abs/1802.04942; binned as Locatello et al., Challenging common assumptions
        in the unsupervised learning of disentangled representations, 2019, appendix B,
        https://arxiv.org/abs/1811.12359.

    >>> v = np.arange(200)[:, None] // [1, 10] % 10
    >>> round(mig(v, v, num_resamples=0).value, 6)
    1.0
    """
    arguments.annotated(mig, locals(), num_resamples=0, seed=0)
    return score_of_information("mig", "gaps", gaps, codes, factors, num_bins, num_resamples, seed)


def gaps(
    information: Float[np.ndarray, "d k"], entropy: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """The gap of each factor: its two largest informations' difference, over its entropy.

    Args:
        information: I(z_j; v_k).
        entropy: H(v_k), in the same unit; 0 gives 0.

    >>> gaps(np.array([[0.5, 0.0], [0.1, 0.2]]), np.array([1.0, 0.5])).tolist()
    [0.4, 0.4]
    """
    rivals = np.sort(np.vstack([np.zeros_like(entropy), information]), axis=0)
    return (rivals[-1] - rivals[-2]) / np.where(entropy > 0, entropy, 1.0)


def mean_maximal_mutual_information(
    codes: object, factors: object, *, num_bins: int = 20, num_resamples: int = 100, seed: int = 0
) -> Score:
    r"""The mean over factors of what the code that knows most of one knows, as a share of it.

    .. math:: \frac{1}{K} \sum_k \max_j \frac{I(z_j; v_k)}{H(v_k)}

    From 0 to 1. It is the larger half of the gap of :func:`.mig`, with the same histograms: codes
    that are copies of one another have no gap and keep this. It says whether a factor is in one
    code at all, not whether it is in one alone.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; constant columns are left out.
        num_bins: Bins of equal width for each code.
        num_resamples: Half samples for the interval (:class:`.Score`), which needs two rows for
            each cell of the largest histogram; 0 for none. The bins stay those of all rows.
        seed: Of the half samples.

    Returns:
        The score, with ``mutual_information`` [d, k] and ``entropy`` [k] in nats and the factors'
        ``shares`` [k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`).
        ArgumentError: ``num_bins`` is less than 1.

    Reference:
        The first term of equation 6 of Chen et al., Isolating sources of disentanglement in VAEs,
        2018, https://arxiv.org/abs/1802.04942.

    >>> v = np.arange(200)[:, None] // [1, 10] % 10
    >>> round(mean_maximal_mutual_information(np.hstack([v, v]), v, num_resamples=0).value, 6)
    1.0
    """
    arguments.annotated(mean_maximal_mutual_information, locals(), num_resamples=0, seed=0)
    name = "mean_maximal_mutual_information"
    return score_of_information(
        name, "shares", maximal_shares, codes, factors, num_bins, num_resamples, seed
    )


def maximal_shares(
    information: Float[np.ndarray, "d k"], entropy: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """The largest information that a code has about each factor, over the factor's entropy.

    Args:
        information: I(z_j; v_k), such as :func:`.mig` and :func:`.density_mig` have in their
            details.
        entropy: H(v_k), in the same unit; 0 gives 0.

    >>> maximal_shares(np.array([[0.5, 0.0], [0.1, 0.2]]), np.array([1.0, 0.5])).tolist()
    [0.5, 0.4]
    """
    return information.max(0) / np.where(entropy > 0, entropy, 1.0)
