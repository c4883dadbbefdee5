"""The mean maximal mutual information: how much of each factor its best code knows."""

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.metrics.information_score import score_of_information
from pyro_decomp.metrics.score import Score


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
        num_resamples: Half samples for the interval (:func:`.interval`), which needs two rows for
            each cell of the largest histogram; 0 for none. The bins stay those of all rows.
        seed: Of the half samples.

    Returns:
        The score, with ``mutual_information`` [d, k] and ``entropy`` [k] in nats and the factors'
        ``shares`` [k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`).
        ValueError: ``num_bins`` is less than 1.

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
    """Of each factor the largest information of a code, over the factor's entropy.

    Args:
        information: I(z_j; v_k), such as :func:`.mig` and :func:`.density_mig` have in their
            details.
        entropy: H(v_k), in the same unit; 0 gives 0.

    >>> maximal_shares(np.array([[0.5, 0.0], [0.1, 0.2]]), np.array([1.0, 0.5])).tolist()
    [0.5, 0.4]
    """
    return information.max(0) / np.where(entropy > 0, entropy, 1.0)
