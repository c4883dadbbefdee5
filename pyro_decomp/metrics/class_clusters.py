"""Class labels against clusters of codes: information, pairs, and distances."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_array, as_codes, as_labels
from pyro_decomp.metrics.bootstrap import estimate, without_interval
from pyro_decomp.metrics.fitting import scikit
from pyro_decomp.metrics.score import Score


def nmi(
    codes: object,
    labels: object,
    *,
    clusters: object = None,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""Normalised mutual information (NMI) of class labels and clusters of the codes.

    .. math:: \frac{2 I(c; y)}{H(c) + H(y)}

    of counts, by scikit-learn. From 0 to 1, where each class is one cluster. Not adjusted for
    chance: many clusters of few rows score above 0 for any labels; see :func:`ari`.

    Args:
        codes: [n, d], one row a datum.
        labels: [n] or [n, 1], whole numbers or strings: the class of each row.
        clusters: [n] or [n, 1], likewise: the cluster of each row, such as the component of a
            mixture prior that is most responsible for its code; None for k-means of the codes as
            they are, with as many clusters as there are classes.
        num_resamples: Half samples for the interval (:class:`.Score`), with the clusters as they
            are; 0 for none. That of NMI needs four rows for each class in each cluster: the bias
            of fewer does not fall as 1/n.
        seed: Of k-means and the half samples.

    Returns:
        The score, with ``counts``: rows by class, in the order of the labels' values, and cluster.

    Raises:
        DataError: The arrays cannot be used (:func:`.as_labels`), or scikit-learn is not installed.

    Reference:
        Strehl & Ghosh, Cluster ensembles: a knowledge reuse framework for combining multiple
        partitions, 2002, https://www.jmlr.org/papers/v3/strehl02a.html; normalised by the
        arithmetic mean as Vinh et al., Information theoretic measures for clusterings comparison,
        2010, table 2, https://www.jmlr.org/papers/v11/vinh10a.html.

    >>> z = np.repeat([[0.0], [9.0]], 50, axis=0)
    >>> round(nmi(z, np.repeat(["b", "a"], 50)).value, 6)
    1.0
    """
    arguments.annotated(nmi, locals(), num_resamples=0, seed=0)
    return _agreement("nmi", codes, labels, clusters, num_resamples, seed)


def ari(
    codes: object,
    labels: object,
    *,
    clusters: object = None,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""Adjusted Rand index (ARI) of class labels and clusters of the codes.

    .. math::
        \frac{R - E[R]}{\max R - E[R]}

    with R the number of pairs of rows that share both class and cluster, E[R] what it is on average
    over clusters of the same sizes drawn by chance, and max R half the number of pairs that share a
    class plus half of those that share a cluster; by scikit-learn. 1 where each class is one
    cluster, 0 on average by chance; it can be negative.

    Takes the arguments of :func:`nmi` and returns and raises the same.

    Returns:
        The score, with ``counts``: rows by class, in the order of the labels' values, and cluster.

    Reference:
        Hubert & Arabie, Comparing partitions, 1985, equation 5, https://doi.org/10.1007/BF01908075.

    >>> z = np.repeat([[0.0], [9.0]], 50, axis=0)
    >>> ari(z, np.repeat([[3], [1]], 50, axis=0)).value
    1.0
    """
    arguments.annotated(ari, locals(), num_resamples=0, seed=0)
    return _agreement("ari", codes, labels, clusters, num_resamples, seed)


def silhouette(
    codes: object,
    labels: object,
    *,
    max_rows: int = 2000,
    num_resamples: int = 50,
    seed: int = 0,
) -> Score:
    r"""Silhouette of class labels: are codes nearer to their own class than to the next one.

    .. math:: \frac{1}{n} \sum_i \frac{b_i - a_i}{\max(a_i, b_i)}

    with a_i the mean Euclidean distance of code i to the others of its class, and b_i that to the
    class whose mean distance is least among the others; 0 for a row alone in its class; by
    scikit-learn. From -1 to 1. Of the labels, not of clusters that are found, and of codes as they
    are, each in the same unit.

    Args:
        codes: [n, d], one row a datum.
        labels: [n] or [n, 1], whole numbers or strings: the class of each row.
        max_rows: Rows chosen at random where there are more, as all pairs are held in memory.
        num_resamples: Half samples for the interval (:class:`.Score`); 0 for none. There is none
            where the correction is more than half of the interval's reach, as with classes that
            overlap wholly: which of several is the next one is then chance, and that bias falls
            more slowly than 1/n.
        seed: Of the choice and the half samples.

    Returns:
        The score, with the mean ``of_classes`` [k], NaN for one without a row among those chosen.

    Raises:
        DataError: The arrays cannot be used (:func:`.as_labels`), or scikit-learn is not installed.
        ArgumentError: ``max_rows`` is less than 4.

    Reference:
        Rousseeuw, Silhouettes: a graphical aid to the interpretation and validation of cluster
        analysis, 1987, https://doi.org/10.1016/0377-0427(87)90125-7.
    """
    arguments.annotated(silhouette, locals(), max_rows=4, num_resamples=0, seed=0)
    z = as_codes(codes)
    classes = as_labels(labels, num_rows=len(z))
    chosen = np.random.default_rng(int(seed)).permutation(len(z))[:max_rows]
    y = classes.levels[chosen, 0]
    distances = scikit("metrics").pairwise_distances(z[chosen])
    np.fill_diagonal(distances, 0.0)

    def of_rows(rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        if not 1 < len(np.unique(y[rows])) < len(rows):  # without another class, or without a pair
            return np.zeros(len(rows))
        found: Float[np.ndarray, " m"] = scikit("metrics").silhouette_samples(
            distances[np.ix_(rows, rows)], y[rows], metric="precomputed"
        )
        return found

    each = of_rows(np.arange(len(y)))
    counts = np.bincount(y, minlength=classes.sizes[0])
    value = float(each.mean())
    likely = estimate(
        lambda rows: float(of_rows(rows).mean()),
        len(y),
        value=value,
        num_resamples=num_resamples,
        seed=seed,
        bounds=(-1, 1),
    )
    if (
        likely.corrected is not None
        and likely.interval is not None
        and (abs(likely.corrected - value) > np.ptp(likely.interval) / 4)
    ):
        likely = without_interval(
            "the classes are about as near as one another, and the bias of taking the nearest is "
            "larger than halves can tell"
        )
    return Score(
        name="silhouette",
        value=value,
        **likely._asdict(),
        variant={
            "distance": "Euclidean",
            "num_rows": len(y),
            "num_classes": classes.sizes[0],
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={
            "of_classes": np.bincount(y, each, len(counts)) / np.where(counts > 0, counts, np.nan)
        },
    )


ROWS_OF_A_CELL = 4  # fewer for each class in each cluster, and halves do not tell NMI's bias
SCIKIT_NAMES = {"nmi": "normalized_mutual_info_score", "ari": "adjusted_rand_score"}


def _agreement(  # noqa: PLR0917
    name: str, codes: object, labels: object, clusters: object, num_resamples: int, seed: int
) -> Score:
    """The score of how far two partitions of the rows agree."""
    z = as_codes(codes)
    classes = as_labels(labels, num_rows=len(z))
    y, (num_classes,) = classes.levels[:, 0], classes.sizes
    found = k_means(z, num_classes, seed) if clusters is None else _levels(clusters, len(z))
    measure: Callable[..., float] = getattr(scikit("metrics"), SCIKIT_NAMES[name])
    value = float(measure(y, found))
    num_clusters = int(found.max()) + 1
    cells = np.bincount(y * num_clusters + found, minlength=num_classes * num_clusters)
    return Score(
        name=name,
        value=value,
        **estimate(
            lambda rows: float(measure(y[rows], found[rows])),
            len(z),
            value=value,
            num_resamples=num_resamples,
            seed=seed,
            bounds=(0 if name == "nmi" else -1, 1),
            least=ROWS_OF_A_CELL * cells.size if name == "nmi" else 4,
        )._asdict(),
        variant={
            "clusters": "k-means" if clusters is None else "given",
            "num_clusters": num_clusters,
            "num_classes": num_classes,
            "num_rows": len(z),
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"counts": cells.reshape(num_classes, num_clusters)},
    )


def k_means(
    codes: Float[np.ndarray, "n d"], num_clusters: int, seed: int = 0
) -> Int[np.ndarray, " n"]:
    """The cluster of each code, the best of ten starts of k-means.

    Args:
        codes: One a row.
        num_clusters: How many clusters; fewer where there are fewer different codes.
        seed: Of the starts.
    """
    different = len(np.unique(codes, axis=0))
    found: Int[np.ndarray, " n"] = (
        scikit("cluster")
        .KMeans(min(num_clusters, different), n_init=10, random_state=int(seed))
        .fit_predict(codes)
    )
    return found.astype(np.int64)


def _levels(clusters: object, num_rows: int) -> Int[np.ndarray, " n"]:
    """Clusters counted from 0; one cluster of all rows will do."""
    array = as_array(clusters, "clusters").reshape(-1)
    if len(array) != num_rows:
        raise DataError(f"clusters: expected {num_rows} rows, one a code, got {len(array)}")
    return np.unique(array, return_inverse=True)[1].reshape(-1)
