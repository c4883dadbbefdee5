"""Every metric that the given arrays allow, in one call."""

import dataclasses
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from pyro_decomp.arguments import annotated, refuse
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.class_accuracy import knn_accuracy, linear_accuracy
from pyro_decomp.metrics.class_clusters import ari, nmi, silhouette
from pyro_decomp.metrics.dci import dci_lasso, dci_trees
from pyro_decomp.metrics.density_mig import density_mig
from pyro_decomp.metrics.dependence import gaussian_total_correlation, wasserstein_dependence
from pyro_decomp.metrics.divergence_from_prior import divergence_from_prior
from pyro_decomp.metrics.explicitness import explicitness
from pyro_decomp.metrics.fixed_factor import beta_vae_score, factor_vae_score
from pyro_decomp.metrics.irs import irs
from pyro_decomp.metrics.mig import mean_maximal_mutual_information, mig
from pyro_decomp.metrics.modularity import modularity
from pyro_decomp.metrics.overlap import (
    as_sharing,
    effective_sharing,
    gaussian_parameters,
    index_code_information,
    sampled,
)
from pyro_decomp.metrics.sap import sap
from pyro_decomp.metrics.score import Score
from pyro_decomp.metrics.sparsity import active_units, hoyer_sparsity

# What each takes, in the order of the report.
METRICS: Mapping[str, tuple[Callable[..., Score], tuple[str, ...]]] = {
    "density_mig": (density_mig, ("encodings", "factors")),
    "mig": (mig, ("codes", "factors")),
    "mean_maximal_mutual_information": (mean_maximal_mutual_information, ("codes", "factors")),
    "factor_vae_score": (factor_vae_score, ("codes", "factors")),
    "beta_vae_score": (beta_vae_score, ("codes", "factors")),
    "sap": (sap, ("codes", "factors")),
    "dci_lasso": (dci_lasso, ("codes", "factors")),
    "dci_trees": (dci_trees, ("codes", "factors")),
    "modularity": (modularity, ("codes", "factors")),
    "explicitness": (explicitness, ("codes", "factors")),
    "irs": (irs, ("codes", "factors")),
    "linear_accuracy": (linear_accuracy, ("codes", "labels")),
    "knn_accuracy": (knn_accuracy, ("codes", "labels")),
    "nmi": (nmi, ("codes", "labels")),
    "ari": (ari, ("codes", "labels")),
    "silhouette": (silhouette, ("codes", "labels")),
    "index_code_information": (index_code_information, ("encodings",)),
    "effective_sharing": (effective_sharing, ("encodings",)),
    "divergence_from_prior": (divergence_from_prior, ("sampled codes", "prior")),
    "gaussian_total_correlation": (gaussian_total_correlation, ("codes",)),
    "wasserstein_dependence": (wasserstein_dependence, ("codes",)),
    "hoyer_sparsity": (hoyer_sparsity, ("codes",)),
    "active_units": (active_units, ("codes",)),
}
# The least and the largest that there can be, for those that are held to both.
BOUNDS: Mapping[str, tuple[int, int]] = dict.fromkeys(
    (
        *("density_mig", "mig", "mean_maximal_mutual_information"),
        *("factor_vae_score", "beta_vae_score", "sap", "dci_lasso", "dci_trees"),
        *("modularity", "explicitness", "irs", "linear_accuracy", "knn_accuracy", "nmi"),
        "hoyer_sparsity",
    ),
    (0, 1),
) | dict.fromkeys(("ari", "silhouette"), (-1, 1))
SLOW = frozenset({"dci_trees"})  # minutes: only by name
WITHOUT_RESAMPLES = frozenset({"dci_trees", "linear_accuracy", "knn_accuracy"})

Inputs = tuple[Sequence[Any], Mapping[str, Any]]
"""What a metric takes: arrays by place, and arguments by name."""


def report(
    codes: object,
    factors: object = None,
    *,
    encodings: Any = None,
    prior: Any = None,
    untrained: object = None,
    untrained_encodings: Any = None,
    only: Collection[str] | None = None,
    num_resamples: int | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Score codes by every metric that the given arrays allow.

    Without ``only``, what cannot be scored on these arrays (sparsity in one dimension, or what
    compares factors where there is one) or fails is left out with a warning, and silently
    ``dci_trees``, which takes minutes, and the metrics of class labels where several factors vary.

    Args:
        codes: [n, d], the mean of each encoding; with sampled codes, ``active_units`` says nothing.
        factors: [n, k] whole numbers, for the metrics of disentanglement; or one column of class
            labels, for those of classes.
        encodings: q(z|x), for those of overlap and ``density_mig``: ``(loc, scale)`` or a
            distribution, as :func:`.index_code_information` takes it.
        prior: p(z), for ``divergence_from_prior``: a distribution, a sampler or draws, as that
            takes it. The distance is that of draws of ``encodings``, or of ``codes`` where there
            are none: then give sampled ones.
        untrained: [n, d'], codes of the same data by an encoder that was never trained. Each score
            of codes gets the value of these beside it, ``details["untrained"]``: what the metric
            gives for the architecture and the data alone; None where it cannot be had.
        untrained_encodings: The encodings of that encoder, for the scores of encodings.
        only: Names of the metrics wanted.
        num_resamples: Resamples behind each interval; 0 for none, None for each one's default.
        seed: The seed of all metrics.

    Returns:
        Scores by name; ``to_json()`` of each gives plain values.

    Raises:
        DataError: An array cannot be used; ``only`` names no metric, or one that these arrays do
            not allow.

    Example:
        >>> import numpy as np
        >>> v = np.random.default_rng(0).integers(0, 5, [500, 3])
        >>> scores = report(v, v, only=["mig", "irs"], num_resamples=0)
        >>> {name: round(score.value, 2) for name, score in scores.items()}
        {'mig': 0.99, 'irs': 1.0}
    """
    annotated(report, locals(), num_resamples=0, seed=0)
    if num_resamples == 1:
        refuse("num_resamples", "0 or at least 2", num_resamples)
    num_factors = _checked(codes, factors, untrained, encodings, untrained_encodings)
    given = {"codes": codes, "factors": factors, "encodings": encodings, "prior": prior}
    before = {**given, "codes": untrained, "encodings": untrained_encodings}
    alike = (encodings is None) == (untrained_encodings is None)
    if only is not None:
        _check_names(only, given)
    scores: dict[str, Score] = {}
    left_out: dict[str, list[str]] = {}  # by reason
    for name, (metric, needs) in METRICS.items():
        allowed = _allows(given, needs) and not ("labels" in needs and num_factors > 1)
        if name not in only if only is not None else name in SLOW or not allowed:
            continue
        is_told = num_resamples is not None and name not in WITHOUT_RESAMPLES
        told = {"num_resamples": num_resamples} if is_told else {}
        try:
            if name == "effective_sharing" and "index_code_information" in scores:
                score = as_sharing(scores["index_code_information"])  # the same pairs
            else:
                arrays, arguments = _inputs(given, needs, seed)
                score = metric(*arrays, **arguments, **told)
            if _allows(before, needs) and ("sampled codes" not in needs or alike):
                score = beside(score, partial(_inputs, before, needs, seed))
            scores[name] = score
        except Warning:  # which Python was told to raise
            raise
        except Exception as error:
            is_of_data = isinstance(error, DataError)
            if only is not None or (is_of_data and "prior" in needs):
                raise
            kind = "" if is_of_data else f"{type(error).__name__}: "
            left_out.setdefault(f"{kind}{error}", []).append(name)
    for reason, names in left_out.items():
        are = "is" if len(names) == 1 else "are"
        warnings.warn(f"{', '.join(names)} {are} left out: {reason}", stacklevel=2)
    return scores


def beside(score: Score, untrained: Callable[[], Inputs]) -> Score:
    """A score with that of untrained codes beside it. Internal.

    Args:
        score: The score of the codes.
        untrained: Gives what the metric takes of the untrained codes.

    Returns:
        The score with the other's value as ``details["untrained"]``, which is None where the metric
        cannot be had of these codes. No interval is found of it, nor more than one draw of a null.
    """
    metric, _ = METRICS[score.name]
    quick = {} if score.name in WITHOUT_RESAMPLES else {"num_resamples": 0}
    quick |= {"num_null": 1} if score.name == "divergence_from_prior" else {}
    value = None
    try:
        arrays, arguments = untrained()
        value = metric(*arrays, **arguments, **quick).value
    except Warning:  # which Python was told to raise
        raise
    except Exception:  # these may not have what the metric asks of codes
        value = None
    return dataclasses.replace(score, details={**score.details, "untrained": value})


def _checked(codes: object, factors: object, untrained: object, *encodings: Any) -> int:
    """The number of factors that vary, of arrays that are in order."""
    num_rows = len(as_codes(codes))
    num_factors = 0
    if factors is not None:
        num_factors = len(as_factors(factors, num_rows=num_rows).columns)
    if untrained is not None:
        as_codes(untrained, "untrained", num_rows=num_rows)
    for each in encodings:
        if each is not None and not callable(each) and not hasattr(each, "log_prob"):
            gaussian_parameters(each)
    return num_factors


def _allows(given: Mapping[str, Any], needs: tuple[str, ...]) -> bool:
    return all(_given(given, need) is not None for need in needs)


def _given(given: Mapping[str, Any], need: str) -> Any:
    return given[{"sampled codes": "codes", "labels": "factors"}.get(need, need)]


def _inputs(given: Mapping[str, Any], needs: tuple[str, ...], seed: int) -> Inputs:
    arrays = [
        sampled(given["encodings"], seed)
        if need == "sampled codes" and given["encodings"] is not None
        else _given(given, need)
        for need in needs
    ]
    return arrays, {"seed": seed}


def _check_names(only: Collection[str], given: Mapping[str, Any]) -> None:
    if not only:
        raise DataError(f"only: expected names among {', '.join(METRICS)}, got none")
    for name in only:
        if name not in METRICS:
            raise DataError(f"only: expected names among {', '.join(METRICS)}, got {name!r}")
        _, needs = METRICS[name]
        missing = [need for need in needs if _given(given, need) is None]
        if missing:
            raise DataError(f"{name}: expected {' and '.join(missing)}, got none")
