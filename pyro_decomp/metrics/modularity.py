"""Modularity: does each code know one factor."""

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import interval
from pyro_decomp.metrics.mutual_information import JointHistogram, equal_bins
from pyro_decomp.metrics.score import Score


def modularity(
    codes: object, factors: object, *, num_bins: int = 20, num_resamples: int = 100, seed: int = 0
) -> Score:
    r"""Modularity of codes: the mean over codes of how little they know beyond their best factor.

    .. math:: 1 - \frac{\sum_{k \neq k(j)} I(z_j; v_k)^2}{(K - 1) I(z_j; v_{k(j)})^2}

    for code j, where k(j) is the factor it knows best; 0 for a code that knows none. From 0 to 1.
    Two codes of one factor cost nothing. Information is counted (:func:`.mutual_information`), so
    that a code of noise, which should know nothing, is counted for what chance gives it.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        num_bins: Bins of equal width for each code.
        num_resamples: Half samples for the interval (:func:`.interval`); 0 for none. The bins stay
            those of all rows.
        seed: Of the half samples.

    Returns:
        The score, with ``mutual_information`` [d, k] in nats and the codes' ``modularity`` [d].

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary.
        ValueError: ``num_bins`` is less than 1.

    Reference:
        Ridgeway & Mozer, Learning deep disentangled embeddings with the F-statistic loss, 2018,
        section 3, https://arxiv.org/abs/1802.05312; binned, and averaged over codes that know
        nothing too, as Locatello et al., 2019, appendix B, https://arxiv.org/abs/1811.12359.

    >>> v = np.arange(200)[:, None] // [1, 10] % 10
    >>> round(modularity(v, v, num_resamples=0).value, 6)
    1.0
    """
    arguments.annotated(modularity, locals(), num_resamples=0, seed=0)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared_by="modularity")
    histogram = JointHistogram(equal_bins(z, num_bins), num_bins, levels)

    def statistic(rows: Int[np.ndarray, " m"]) -> float:
        return float(code_modularity(histogram.mutual_information(rows)).mean())

    information = histogram.mutual_information()
    of_codes = code_modularity(information)
    value = float(of_codes.mean())
    return Score(
        name="modularity",
        value=value,
        interval=interval(
            statistic, len(z), value=value, num_resamples=num_resamples, seed=seed, bounds=(0, 1)
        ),
        variant={
            "estimator": "histogram",
            "num_bins": num_bins,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"mutual_information": information, "modularity": of_codes},
    )


def code_modularity(information: Float[np.ndarray, "d k"]) -> Float[np.ndarray, " d"]:
    """The modularity of each code.

    Args:
        information: I(z_j; v_k) in any unit; with a single factor, a code that knows it has 1.

    >>> code_modularity(np.array([[2.0, 1.0], [0.0, 0.0]])).tolist()
    [0.75, 0.0]
    """
    squared = information**2
    best = squared.max(1)
    rivals = (squared.sum(1) - best) / max(1, squared.shape[1] - 1)
    return np.where(best > 0, 1 - rivals / np.where(best > 0, best, 1.0), 0.0)
