"""Modularity: does each code know one factor."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import (
    Estimate,
    estimate_from_halves,
    half_samples,
    why_no_halves,
    without_interval,
)
from pyro_decomp.metrics.mutual_information import JointHistogram, equal_bins
from pyro_decomp.metrics.score import Score

SHUFFLES = 20
DISTANCE = 4.0  # Student's t with 19 degrees of freedom is above it once in 2,600 times


def modularity(
    codes: object, factors: object, *, num_bins: int = 20, num_resamples: int = 100, seed: int = 0
) -> Score:
    r"""Modularity of codes: the mean over codes of how little they know beyond their best factor.

    .. math:: 1 - \frac{\sum_{k \neq k(j)} I(z_j; v_k)^2}{(K - 1) I(z_j; v_{k(j)})^2}

    for code j, where k(j) is the factor it knows best; 0 for a code that knows none. From 0 to 1.
    Two codes of one factor cost nothing. Information is counted (:func:`.mutual_information`), so
    that the plug-in value counts a code of noise, which knows nothing, for what chance gives it.

    In the corrected value informations lose their bias first, by half samples (:class:`.Score`),
    and are squared and divided then: the square of what independent pairs have by chance falls as
    1/n², other biases as 1/n. A code that knows no more than it does of shuffled factors (the sum
    of its informations within 4 standard deviations of 20 shuffles) has modularity 0/0, of which
    the rows tell nothing: ``unknown`` lists these codes. The corrected value takes them as 0, as
    the definition does, and the interval reaches up by what they could add, 1/d each. There is no
    interval where all are such.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        num_bins: Bins of equal width for each code.
        num_resamples: Half samples for the interval (:class:`.Score`), which needs two rows for
            each cell of the largest histogram; 0 for none. The bins stay those of all rows.
        seed: Of the half samples.

    Returns:
        The score, with ``mutual_information`` [d, k] in nats, the codes' ``modularity`` [d], both
        plug-in, and with an interval the ``unknown`` codes.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary.
        ArgumentError: ``num_bins`` is less than 1.

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
    levels = as_factors(factors, num_rows=len(z), compared=True)
    histogram = JointHistogram(equal_bins(z, num_bins), num_bins, levels)
    information = histogram.mutual_information()
    of_codes = code_modularity(information)
    details = {"mutual_information": information, "modularity": of_codes}
    if reason := why_no_halves(len(z), num_resamples, least=histogram.fewest_rows()):
        likely = without_interval(reason)
    else:
        halves = half_samples(len(z), num_resamples, seed)
        counted = [histogram.mutual_information(rows) for rows in halves]
        known = _known(histogram, information, seed)
        details["unknown"] = np.flatnonzero(~known)
        likely = _estimate(information, counted, known)
    return Score(
        name="modularity",
        value=float(of_codes.mean()),
        variant={
            "estimator": "histogram",
            "num_bins": num_bins,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details=details,
        **likely._asdict(),
    )


def _estimate(
    information: Float[np.ndarray, "d k"],
    halves: Sequence[Float[np.ndarray, "d k"]],
    known: Bool[np.ndarray, " d"],
) -> Estimate:
    """Modularity of informations that are corrected before they are squared and divided."""
    if not known.any():
        return without_interval("no code knows more of a factor than chance: it would be 0/0")
    bias = np.mean(halves, axis=0) - information  # of all rows; twice that in a half

    def statistic(counted: Float[np.ndarray, "d k"], times: int) -> float:
        of_codes = code_modularity(np.maximum(counted - times * bias, 0.0))
        return float(of_codes[known].sum() / len(of_codes))

    corrected, interval, _ = estimate_from_halves(
        statistic(information, 1), [statistic(half, 2) for half in halves], order=math.inf
    )
    assert corrected is not None
    assert interval is not None
    low, high = np.clip(interval, 0, known.mean())
    return Estimate(corrected, (float(low), float(high + (~known).mean())))


def _known(
    histogram: JointHistogram, information: Float[np.ndarray, "d k"], seed: int
) -> Bool[np.ndarray, " d"]:
    """Which codes know more of the factors than of factors that are shuffled among the rows."""
    generator = np.random.default_rng(int(seed))
    chance = np.array(
        [histogram.shuffled(generator).mutual_information().sum(1) for _ in range(SHUFFLES)]
    )
    return information.sum(1) > chance.mean(0) + DISTANCE * chance.std(0, ddof=1)


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
