"""The metrics of codes on a set of a run's data, beside those of the encoder before training."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.quantities import REPORT, by_itself
from pyro_decomp.analysis.representations import Representations
from pyro_decomp.metrics import Score
from pyro_decomp.metrics.report import BOUNDS, METRICS, Inputs, beside

# The decomposition of a run has these two, for guides of any kind.
ELSEWHERE = frozenset({"index_code_information", "effective_sharing"})
SCORES = tuple(name for name in METRICS if name not in ELSEWHERE)
OF_CLASSES = frozenset(name for name, (_, needs) in METRICS.items() if "labels" in needs)
OF_FACTORS = OF_CLASSES | {name for name, (_, needs) in METRICS.items() if "factors" in needs}
CLUSTERS = frozenset({"nmi", "ari"})  # that are of the prior's components, where it has some

DENSITIES = 2**30  # of density_mig, if that leaves enough samples
MIN_DENSITY_SAMPLES, MAX_DENSITY_SAMPLES = 300, 10_000

ROUNDING = 1e-6  # of a score that lies on a bound
WEIGHTED = frozenset({"density_mig"})  # takes the weights of data
UNWEIGHTED = "the data have weights, which this metric does not take"


def scores(
    data: EncodedData,
    factors: Int[Tensor, "n k"] | None = None,
    *,
    before: EncodedData | None = None,
    only: Collection[str] = SCORES,
    seed: int = 0,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Score codes of data by the metrics that they allow, see :mod:`pyro_decomp.metrics`.

    The codes are mean codes of up to 10,000 data, chosen at random. Metrics of factors get all
    latent sites; a site whose prior is a product of something other than Normals is mapped to
    Normal first by :func:`pyro_decomp.metrics.normal_scores`, as ``variant["mapped"]`` tells.
    Metrics of class labels, which a single column of factors is taken for, get all sites as they
    are, a discrete one as a column for each of its values; ``nmi`` and ``ari`` compare labels with
    the components of the prior (:func:`.components.assigned`) where it has some, and with k-means
    elsewhere, as ``variant["clusters"]`` tells. The others get the continuous sites as they are;
    ``divergence_from_prior`` gets sampled codes, and ``density_mig`` the encodings of all data.
    Where the data have weights, ``density_mig`` alone takes them, and the others are left out.

    Args:
        data: The data and their encodings.
        factors: Ground truth, a row a datum.
        before: The data and their encodings before training: each score has its value, or None
            where it cannot be had, under ``details["untrained"]``.
        only: The names of the metrics that are wanted.
        seed: The seed of everything random.

    Returns:
        Scores in JSON's types, and why others are left out, by name.

    Raises:
        ModelError: The programs do not take some of the data.
    """
    found: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    mine = Representations(data, seed)
    theirs = None
    with by_itself(left_out, "untrained"):
        theirs = None if before is None else Representations(before, seed)
    for name in SCORES:
        if name not in only:
            continue
        if mine.weights is not None and name not in WEIGHTED:
            left_out[name] = UNWEIGHTED
            continue
        if factors is None and name in OF_FACTORS:
            left_out[name] = "the experiment has no factors of these data"
            continue
        with by_itself(left_out, name):
            found[name] = _score(name, mine, theirs, factors, seed).to_json()
    return found, left_out


def hold_scores(scores: dict[str, dict[str, Any]], left_out: dict[str, str]) -> None:
    """Take out scores that are no number, or outside of the bounds that they have by definition.

    Args:
        scores: As :meth:`.Score.to_json` gives them, in which what is not finite is None.
        left_out: Takes the reason, by name.
    """
    for name, score in list(scores.items()):
        value = score["value"]
        low, high = BOUNDS.get(name, (-math.inf, math.inf))
        if value is None:
            left_out[name] = "it is not a finite number for these codes"
        elif not low - ROUNDING <= value <= high + ROUNDING:
            left_out[name] = f"it is {value:.4g}, not between {low} and {high}, {REPORT}"
        else:
            if score["interval"] is not None and None in score["interval"]:
                score["interval"] = None
            continue
        del scores[name]


def _score(
    name: str,
    mine: Representations,
    theirs: Representations | None,
    factors: Tensor | None,
    seed: int,
) -> Score:
    metric, _ = METRICS[name]
    (arrays, arguments), noted = _inputs(name, mine, factors, seed)
    score = metric(*arrays, **arguments)
    score = dataclasses.replace(score, variant={**score.variant, **noted})
    if theirs is None:
        return score
    return beside(score, lambda: _inputs(name, theirs, factors, seed)[0])


def _inputs(
    name: str, of: Representations, factors: Tensor | None, seed: int
) -> tuple[Inputs, dict[str, Any]]:
    """What a metric takes of a data set, and what its variant is to say of that."""
    arguments: dict[str, Any] = {"seed": seed}
    if name == "divergence_from_prior":
        return ([of.sampled, of.drawn_from_prior], arguments), {}
    if name not in OF_FACTORS:
        return ([of.continuous], arguments), {"codes": "mean"}
    assert factors is not None
    known = factors.cpu()
    if name == "density_mig":
        with torch.no_grad():
            encodings = of.encodings
        arguments |= {"num_samples": _affordable(encodings), "weights": of.weights}
        return ([encodings, known[of.valid]], arguments), {}
    if name not in OF_CLASSES:
        mapped = {"mapped": of.mapped} if of.mapped else {}
        return ([of.codes, known[of.rows]], arguments), {"codes": "mean", **mapped}
    noted = {"codes": "mean"}
    if name in CLUSTERS and of.clusters is not None:
        arguments["clusters"] = of.clusters
        noted["clusters"] = "components of the prior"
    return ([of.plain_codes, known[of.rows]], arguments), noted


def _affordable(encodings: Any) -> int:
    """The samples for ``density_mig``, whose time grows as samples, data and dimensions do."""
    loc = encodings[0] if isinstance(encodings, tuple) else None
    size = encodings.batch_shape.numel() if loc is None else loc.numel()
    return min(max(DENSITIES // size, MIN_DENSITY_SAMPLES), MAX_DENSITY_SAMPLES)
