"""Scores of telling which factor was held fixed: those of the beta-VAE and of FactorVAE."""

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import Factors, as_codes, as_factors, standardised
from pyro_decomp.metrics.bootstrap import estimate_of_accuracy, without_interval
from pyro_decomp.metrics.fitting import scikit
from pyro_decomp.metrics.score import Score

ROWS_OF_A_VALUE = 8  # half as many in a half: of fewer, copies make what is held fixed too alike
BLOCK = 128  # points or votes gathered at a time


class Pool:
    """The rows of a pool by the level of each factor; internal.

    Interventions on a generator, "draw data with factor k as it is here", become draws from the
    rows that have that level, so nothing is encoded again.

    Args:
        factors: Levels, one row a datum of the pool.
    """

    def __init__(self, factors: Factors) -> None:
        levels = factors.levels.T
        self._order = np.argsort(levels, axis=1, kind="stable")
        counts = [np.bincount(column) for column in levels]
        self._count = [count[column] for count, column in zip(counts, levels, strict=True)]
        starts = [np.cumsum(count) - count for count in counts]
        self._start = [start[column] for start, column in zip(starts, levels, strict=True)]

    @property
    def smallest(self) -> int:
        """The fewest rows that any level of any factor has."""
        return int(min(count.min() for count in self._count))

    def partners(
        self,
        factor: int,
        rows: Int[np.ndarray, "..."],
        shape: tuple[int, ...],
        generator: np.random.Generator,
    ) -> Int[np.ndarray, "..."]:
        """Draw rows with the same level of a factor, uniformly, with replacement.

        Args:
            factor: Which factor.
            rows: Rows whose level it is, of a shape that broadcasts to ``shape``.
            shape: Of the result.
            generator: Of the draws.
        """
        count = self._count[factor].take(rows)
        drawn = (generator.random(shape) * count).astype(np.int64)
        return self._order[factor].take(drawn + self._start[factor].take(rows))


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
        num_resamples: Half pools for the interval (:class:`.Score`), each scored with as many
            points of its own, so that the interval has the noise of the points too; 0 for none.
            It needs eight rows for each value of the factor with most.
        seed: Of the points and the half pools.

    Returns:
        The score, with the held-out ``confusion`` [k, k]: true factor by told factor.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary, or
            scikit-learn is not installed.
        ArgumentError: An argument is out of its range.

    Reference:
        Higgins et al., beta-VAE: learning basic visual concepts with a constrained variational
        framework, 2017, section 3, https://openreview.net/forum?id=Sy2fzU9gl; sizes as in Locatello
        et al., 2019, appendix B, https://arxiv.org/abs/1811.12359.
    """
    least = {"num_points": 1, "num_held_out": 1, "pairs_of": 1, "num_resamples": 0, "seed": 0}
    arguments.annotated(beta_vae_score, locals(), **least)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    sizes, generator = (num_points, num_held_out), np.random.default_rng(int(seed))

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


def factor_vae_score(
    codes: object,
    factors: object,
    *,
    num_votes: int = 10_000,
    num_held_out: int = 5_000,
    votes_of: int = 64,
    prune_below: float = 0.05,
    num_resamples: int = 20,
    seed: int = 0,
) -> Score:
    r"""Accuracy of telling which factor was held fixed from the code that varied least.

    A vote: a factor k, and a value of it as some row has it; L rows with that value; the code j
    whose variance over them, divided by its variance over the pool, is least. The classifier maps j
    to the factor with most votes for j. The score is its accuracy on votes held out; 1/K is chance,
    1 is best. Dimensions beyond the factors cost nothing, as votes go to the best code alone.

    Rows come from an encoded pool, with replacement among those with the value: give it some
    hundred rows a value (``smallest_group`` in the details says how many there are).

    Codes that are collapsed vary little everywhere, and a ratio of two such variances is noise.
    Those whose scale is below ``prune_below`` times the largest are left out, in the published
    settings those below 0.05 (the same for the codes of a variational autoencoder, whose largest
    scale is about 1; a ratio does not depend on units). The public code's own default of 0 prunes
    nothing.

    Args:
        codes: [n, d], one row a datum of the pool.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        num_votes: Votes that make the classifier.
        num_held_out: Votes that score it.
        votes_of: L, rows to a vote.
        prune_below: Least standard deviation, as a share of the largest, that a code needs.
        num_resamples: Half pools for the interval (:class:`.Score`), each scored with as many
            votes of its own, so that the interval has the noise of the votes too; 0 for none.
            It needs eight rows for each value of the factor with most.
        seed: Of the votes and the half pools.

    Returns:
        The score, with the held-out ``votes`` [d, k], the ``classifier`` [d] (a column of
        ``factors``, -1 for a pruned code) and ``smallest_group``. Without a code that varies, 0.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary.
        ArgumentError: An argument is out of its range.

    Reference:
        Kim & Mnih, Disentangling by factorising, 2018, section 4,
        https://arxiv.org/abs/1802.05983; sizes as in Locatello et al., 2019, appendix B,
        https://arxiv.org/abs/1811.12359.

    >>> v = np.random.default_rng(0).integers(0, 5, [2000, 3])
    >>> factor_vae_score(v, v, num_resamples=0).value
    1.0
    """
    least = {"num_votes": 1, "num_held_out": 1, "votes_of": 2, "num_resamples": 0, "seed": 0}
    arguments.annotated(factor_vae_score, locals(), **least)
    arguments.number("[0, 1)", prune_below=prune_below)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    scale = z.std(0)
    kept = (scale > 0) & (scale >= prune_below * scale.max())
    z = z[:, kept]
    sizes, generator = (num_votes, num_held_out), np.random.default_rng(int(seed))

    def counted(rows: Int[np.ndarray, " m"]) -> tuple[int, int]:
        return _right_votes(*_votes(z[rows], levels.take(rows), sizes, votes_of, generator))

    value, classifier = 0.0, np.full(len(scale), -1)
    likely = without_interval("no code varies")
    held_out = np.zeros([len(scale), len(levels.columns)], dtype=np.int64)
    if kept.any():
        train, held_out[kept] = _votes(z, levels, sizes, votes_of, generator)
        classifier[kept] = np.array(levels.columns)[train.argmax(1)]
        first = _right_votes(train, held_out[kept])
        value = first[0] / first[1]
        likely = estimate_of_accuracy(
            counted,
            first,
            len(z),
            num_resamples=num_resamples,
            seed=seed,
            least=ROWS_OF_A_VALUE * max(levels.sizes),
        )
    return Score(
        name="factor_vae_score",
        value=value,
        **likely._asdict(),
        variant={
            "num_votes": num_votes,
            "num_held_out": num_held_out,
            "votes_of": votes_of,
            "prune_below": prune_below,
            "pruned": np.flatnonzero(~kept).tolist(),
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={
            "votes": held_out,
            "classifier": classifier,
            "smallest_group": Pool(levels).smallest,
        },
    )


def _right_votes(
    train: Int[np.ndarray, "d k"], held_out: Int[np.ndarray, "d k"]
) -> tuple[int, int]:
    """How many held-out votes the majority of the others gets right, and how many there are."""
    right = held_out[np.arange(len(train)), train.argmax(1)]
    return int(right.sum()), int(held_out.sum())


def _votes(
    z: Float[np.ndarray, "n d"],
    factors: Factors,
    sizes: tuple[int, int],
    votes_of: int,
    seed: int | np.random.Generator,
) -> tuple[Int[np.ndarray, "d k"], Int[np.ndarray, "d k"]]:
    """Votes for (code, factor), in two independent parts; codes are divided by their scale here."""
    generator = np.random.default_rng(seed)  # a generator goes on where it is
    z = standardised(z)
    pool = Pool(factors)
    d, k = z.shape[1], len(factors.columns)
    total = sum(sizes)
    factor = generator.integers(k, size=total)
    row = generator.integers(len(z), size=total)
    code = np.empty(total, dtype=np.int64)
    for one in range(k):
        (votes,) = np.nonzero(factor == one)
        for start in range(0, len(votes), BLOCK):
            block = votes[start : start + BLOCK]
            shape = (len(block), votes_of)
            rows = pool.partners(one, row[block, None], shape, generator)
            code[block] = _sum_of_squares(z.take(rows, axis=0)).argmin(1)
    cells = code * k + factor
    parts = (cells[: sizes[0]], cells[sizes[0] :])
    train, held_out = (np.bincount(part, minlength=d * k).reshape(d, k) for part in parts)
    return train, held_out


def _sum_of_squares(z: Float[np.ndarray, "b l d"]) -> Float[np.ndarray, "b d"]:
    """Squared distances from the mean over the middle axis, along which numpy's var is slow."""
    z -= np.full([1, z.shape[1]], 1 / z.shape[1]) @ z
    return np.einsum("bld,bld->bd", z, z)
