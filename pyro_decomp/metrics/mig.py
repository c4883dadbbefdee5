"""The mutual information gap, from histograms."""

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.metrics.information_score import score_of_information
from pyro_decomp.metrics.score import Score


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
        num_resamples: Half samples for the interval (:func:`.interval`), which needs two rows for
            each cell of the largest histogram; 0 for none. The bins stay those of all rows.
        seed: Of the half samples.

    Returns:
        The score, with ``mutual_information`` [d, k] and ``entropy`` [k] in nats and the ``gaps``
        [k].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`).
        ValueError: ``num_bins`` is less than 1.

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
