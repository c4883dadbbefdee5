"""The metric of Higgins et al., known as the beta-VAE score."""

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import Factors, as_codes, as_factors
from pyro_decomp.metrics.bootstrap import estimate_of_accuracy
from pyro_decomp.metrics.pool import ROWS_OF_A_VALUE, Pool
from pyro_decomp.metrics.scikit import scikit
from pyro_decomp.metrics.score import Score
from pyro_decomp.metrics.varying import standardised

BLOCK = 128  # points gathered at a time


def beta_vae_score(
    codes: object,
    factors: object,
    *,
    num_points: int = 10_000,
    num_held_out: int = 5_000,
    pairs_of: int = 64,
    num_resamples: int = 20,
    seed: int = 0,
) -> Score:
    r"""Accuracy of telling which factor was shared within pairs from the codes' mean differences.

    .. math:: x_j = \frac{1}{L} \sum_{l=1}^{L} |z_{lj} - z'_{lj}|

    over L pairs of rows that share the value of one factor, a value for each pair. A logistic
    regression (penalty 1, on standardised x) tells the factor from x; the score is its accuracy on
    points held out. 1/K is chance, 1 is best. It can be perfect without alignment to the axes, and
    with a factor that no code knows: it is then the one that leaves all differences large.

    Args:
        codes: [n, d], one row a datum of the pool.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        num_points: Points that train the classifier.
        num_held_out: Points that score it.
        pairs_of: L, pairs to a point.
        num_resamples: Half pools for the interval (:func:`.interval`), each scored with as many
            points of its own, so that the interval has the noise of the points too; 0 for none.
            It needs eight rows for each value of the factor with most.
        seed: Of the points and the half pools.

    Returns:
        The score, with the held-out ``confusion`` [k, k]: true factor by told factor.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary, or
            scikit-learn is not installed.
        ValueError: An argument is out of its range.

    Reference:
        Higgins et al., beta-VAE: learning basic visual concepts with a constrained variational
        framework, 2017, section 3, https://openreview.net/forum?id=Sy2fzU9gl; sizes as in Locatello
        et al., 2019, appendix B, https://arxiv.org/abs/1811.12359.
    """
    arguments.annotated(beta_vae_score, locals(), num_resamples=0, seed=0)
    for name, number in (
        ("num_points", num_points),
        ("num_held_out", num_held_out),
        ("pairs_of", pairs_of),
    ):
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    sizes, generator = (num_points, num_held_out), np.random.default_rng(seed)

    def counted(rows: Int[np.ndarray, " m"]) -> tuple[int, int]:
        return _right(_confusion(z[rows], levels.take(rows), sizes, pairs_of, generator))

    confusion = _confusion(z, levels, sizes, pairs_of, generator)
    first = _right(confusion)
    return Score(
        name="beta_vae_score",
        value=first[0] / first[1],
        **estimate_of_accuracy(
            counted,
            first,
            len(z),
            num_resamples=num_resamples,
            seed=seed,
            least=ROWS_OF_A_VALUE * max(levels.sizes),
        )._asdict(),
        variant={
            "classifier": "logistic regression",
            "num_points": num_points,
            "num_held_out": num_held_out,
            "pairs_of": pairs_of,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"confusion": confusion},
    )


def _right(confusion: Int[np.ndarray, "k k"]) -> tuple[int, int]:
    return int(np.trace(confusion)), int(confusion.sum())


def _confusion(
    z: Float[np.ndarray, "n d"],
    factors: Factors,
    sizes: tuple[int, int],
    pairs_of: int,
    seed: int | np.random.Generator,
) -> Int[np.ndarray, "k k"]:
    """Counts of true and told factor, of a classifier trained on the first part."""
    generator = np.random.default_rng(seed)  # a generator goes on where it is
    z = standardised(z)
    pool = Pool(factors)
    k, (train, _) = len(factors.columns), sizes
    factor = np.arange(sum(sizes)) % k
    x = np.empty([sum(sizes), z.shape[1]])
    mean = np.full([1, pairs_of], 1 / pairs_of)  # numpy's own is slow along a middle axis
    for one in range(k):
        (points,) = np.nonzero(factor == one)
        for start in range(0, len(points), BLOCK):
            block = points[start : start + BLOCK]
            left = generator.integers(len(z), size=[len(block), pairs_of])
            right = pool.partners(one, left, left.shape, generator)
            distance = z.take(left, axis=0)
            distance -= z.take(right, axis=0)
            x[block] = (mean @ np.abs(distance, out=distance))[:, 0]
    x = standardised(x, of=x[:train])
    classifier = scikit("linear_model").LogisticRegression(max_iter=1000)
    told = classifier.fit(x[:train], factor[:train]).predict(x[train:])
    return np.bincount(factor[train:] * k + told, minlength=k * k).reshape(k, k)
