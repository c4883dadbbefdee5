"""Class labels told from codes: by a linear classifier, and by nearest neighbours."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes, as_labels, standardised
from pyro_decomp.metrics.fitting import held_out_split, scikit
from pyro_decomp.metrics.score import Score


def linear_accuracy(
    codes: object, labels: object, *, held_out: float = 1 / 3, seed: int = 0
) -> Score:
    """How often a linear classifier of the codes names the class of a row held out.

    A multinomial logistic regression (squared penalty, C = 1) on codes standardised by the rows
    that train it. 1 is best; ``most_frequent`` in the details is what naming one class always gives
    at best.

    Args:
        codes: [n, d], one row a datum.
        labels: [n] or [n, 1], whole numbers or strings: the class of each row.
        held_out: Share of rows that score.
        seed: Of the split.

    Returns:
        The score. Its interval is Wilson's for a share of the held-out rows: it is for the accuracy
        on new rows of the classifier that these rows trained, which more rows would improve. In the
        details are ``most_frequent``, the share of the held-out rows in their largest class, and
        ``recall`` [k], the share of each class that is named right, NaN for one without held-out
        rows.

    Raises:
        DataError: The arrays cannot be used (:func:`.as_labels`), there are too few rows, or
            scikit-learn is not installed.
        ArgumentError: ``held_out`` is not between 0 and 1.

    Reference:
        Alain & Bengio, Understanding intermediate layers using linear classifier probes, 2016,
        https://arxiv.org/abs/1610.01644; Wilson, Probable inference, the law of succession, and
        statistical inference, 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    arguments.annotated(linear_accuracy, locals(), seed=0)
    z = as_codes(codes)
    train, _ = held_out_split(len(z), held_out, seed)
    z = standardised(z, of=z[train])
    classifier = scikit("linear_model").LogisticRegression(max_iter=1000)
    variant = {"classifier": "logistic regression, C = 1"}
    return _accuracy("linear_accuracy", classifier, z, labels, held_out, seed, variant)


def knn_accuracy(
    codes: object,
    labels: object,
    *,
    num_neighbors: int = 10,
    held_out: float = 1 / 3,
    seed: int = 0,
) -> Score:
    """How often the nearest neighbours of a row held out name its class.

    The nearest codes among the rows that train vote, each with the inverse of its distance, which
    is Euclidean between codes as they are: a dimension counts by how far it spreads, so that one
    that the encoder does not use counts for nothing.

    Args:
        codes: [n, d], one row a datum.
        labels: [n] or [n, 1], whole numbers or strings: the class of each row.
        num_neighbors: How many neighbours vote.
        held_out: Share of rows that score.
        seed: Of the split.

    Returns:
        The score, with the interval and the details of :func:`linear_accuracy`.

    Raises:
        DataError: The arrays cannot be used (:func:`.as_labels`), there are too few rows, or
            scikit-learn is not installed.
        ArgumentError: ``held_out`` is not between 0 and 1, or ``num_neighbors`` less than 1.

    Reference:
        Cover & Hart, Nearest neighbor pattern classification, 1967,
        https://doi.org/10.1109/TIT.1967.1053964.
    """
    arguments.annotated(knn_accuracy, locals(), num_neighbors=1, seed=0)
    z = as_codes(codes)
    train, _ = held_out_split(len(z), held_out, seed)
    if len(train) < num_neighbors:
        raise DataError(
            f"codes: expected at least {num_neighbors} rows to train, one a neighbour, got "
            f"{len(train)} of {len(z)}"
        )
    classifier = scikit("neighbors").KNeighborsClassifier(int(num_neighbors), weights="distance")
    variant = {"classifier": f"{num_neighbors} nearest neighbours, inverse distance"}
    return _accuracy("knn_accuracy", classifier, z, labels, held_out, seed, variant)


def _accuracy(  # noqa: PLR0917
    name: str,
    classifier: Any,
    z: Float[np.ndarray, "n d"],
    labels: object,
    held_out: float,
    seed: int,
    variant: dict[str, Any],
) -> Score:
    """The accuracy of a classifier on the rows of :func:`.held_out_split` that do not train it."""
    from scipy.stats import binomtest  # noqa: PLC0415 - half a second, for those who need it

    classes = as_labels(labels, num_rows=len(z))
    y, (size,) = classes.levels[:, 0], classes.sizes
    train, test = held_out_split(len(z), held_out, seed)
    told: Int[np.ndarray, " m"] = np.full(len(test), y[train[0]])
    if len(np.unique(y[train])) > 1:
        told = classifier.fit(z[train], y[train]).predict(z[test])
    right = told == y[test]
    known = np.bincount(y[test], minlength=size)
    recall = np.bincount(y[test], right, size) / np.where(known > 0, known, np.nan)
    share = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, "wilson")
    return Score(
        name=name,
        value=float(right.mean()),
        interval=(float(share.low), float(share.high)),
        corrected=float(right.mean()),
        variant={
            **variant,
            "held_out": held_out,
            "num_rows": len(z),
            "num_classes": size,
            "seed": seed,
        },
        details={"most_frequent": known.max() / len(test), "recall": recall},
    )
