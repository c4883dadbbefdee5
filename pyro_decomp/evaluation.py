"""What a trained run is worth: its terms, its overlap, its match to the prior, and its codes."""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from pyro_decomp.aggregate_posterior import StructuredPosterior
from pyro_decomp.components_of_run import components
from pyro_decomp.data.batches import Data
from pyro_decomp.data_support import check_data
from pyro_decomp.decomposition_of_run import PARTS, decomposition, mean
from pyro_decomp.encoded import Encoded, data_counts, encode, encode_set, spread
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.likelihood import importance_weighted_log_prob
from pyro_decomp.metrics.report import SLOW
from pyro_decomp.run import Run
from pyro_decomp.scores_of_run import OF_FACTORS, SCORES, scores
from pyro_decomp.seeds import seeded
from pyro_decomp.threads import few_threads
from pyro_decomp.traces import TracePair
from pyro_decomp.untrained import untrained

__all__ = ["MEASURES", "check_names", "encode", "evaluate", "seeded", "spread", "write_metrics"]

LOG_PX = "importance_weighted_log_px"
COMPONENTS = "components"
MEASURES = ("elbo", *PARTS, LOG_PX, COMPONENTS, *SCORES)

MIN_SAMPLES, MAX_SAMPLES = 1000, 10_000  # samples of q(z), and of p(z), that are scored
PAIR_ELEMENTS = 2**31  # dimensions times pairs of sample and datum, if that leaves enough samples
GUIDE_RUNS = 2**24  # pairs of sample and datum for which a guide of dependent sites is run
MIN_GUIDE_SAMPLES = 200
MIN_IMPORTANCE_DATA, MAX_IMPORTANCE_DATA = 25, 400
IMPORTANCE_ELEMENTS = 2**26  # elements of data decoded for log p(x), if that leaves enough data


def evaluate(
    run: Run,
    *,
    seed: int = 0,
    num_importance_samples: int = 1000,
    only: Collection[str] | None = None,
    trees: bool = False,
) -> dict[str, dict[str, Any]]:
    r"""Measure a run on its training data, and on its test data if it has some.

    In nats per datum over the whole set, each estimate with a standard error over the data (of log
    p(x)) or the samples (of the others) as ``<name>_standard_error``:

    ``elbo``, ``log_likelihood``, ``kl``, ...
        The plain ELBO and its terms.
    ``divergence``
        KL(p || q), its q(z) over the whole set; 10,000 draws from the prior, or fewer
        where the set is large, but no fewer than 1,000 (200 of a guide whose sites depend on one
        another, which is run for every pair of draw and datum).
    ``mutual_information``
        I(x; z) = E[log q(z|x) - log q(z)] under the empirical distribution of the set, at most
        log N; of about as many samples.
    ``effective_sharing``
        exp(log N - I(x; z)): how many of the N data share a code, between 1 and N. No unit.
    ``marginal_kl``, ``total_correlation``, ``dimensionwise_kl``
        KL(q(z) || p(z)) and its two parts; see
        :func:`pyro_decomp.decomposition_of_run.decomposition`. Where the prior is given something
        of the datum there is ``prior_information`` too, and p(z) is the mixture over the set.
    ``importance_weighted_log_px``
        log p(x) by importance weighting, over ``importance_weighted_data`` data spread evenly over
        the set: 400, or fewer where they are large, so it may lie below ``elbo`` by chance.
    ``scores``
        The metrics of :mod:`pyro_decomp.metrics` that the codes and, if the experiment has them,
        the factors allow, by name; see :func:`pyro_decomp.scores_of_run.scores`. Beside each is
        that of the encoder before training, unless the run was trained from Python.
    ``components``
        How much of the data each component of a mixture prior holds, and which are empty or merged:
        see :func:`pyro_decomp.components_of_run.components`. Absent where the prior has none.
    ``left_out``
        Why something cannot be measured, by name.

    Args:
        run: The run.
        seed: Of every draw; the global random generators are left as they were.
        num_importance_samples: K, draws per datum for log p(x).
        only: Names among these (``elbo`` stands for its terms too) and the scores'; all by default.
        trees: Add the score ``dci_trees``, which takes minutes.

    Returns:
        ``{"train": {...}, "test": {...}}``; ``test`` only if there are test data.

    Raises:
        DataError: ``only`` has a name that is none of these.
        ModelError: A datum has no density under the model; it is named.
    """
    names = _names(only, trees=trees)
    before = untrained(run) if names & set(SCORES) else None
    trial = run.experiment
    sets = {"train": (run.data, trial.factors), "test": (trial.test_data, trial.test_factors)}
    metrics = {}
    for name, (x, factors) in sets.items():
        if x is not None:
            check_data(trial, run.state.modules, x, "data" if name == "train" else "test data")
            with seeded(seed), torch.no_grad(), few_threads(trial):
                wanted = names - OF_FACTORS if factors is None and only is None else names
                metrics[name] = _measure(
                    run, Data.of(x), wanted, num_importance_samples, factors, before, seed
                )
                if only is None:  # most priors have none, which is no fault
                    metrics[name]["left_out"].pop(COMPONENTS, None)
    return metrics


def write_metrics(run: Run, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` into the run's folder and return its path."""
    return run.folder.write_metrics(metrics)


def check_names(names: Collection[str]) -> None:
    """Refuse names of nothing that can be measured.

    Raises:
        DataError: One is not among :data:`MEASURES`.
    """
    for name in names:
        if name not in MEASURES:
            raise DataError(f"only: expected names among {', '.join(MEASURES)}, got {name!r}")


def _names(only: Collection[str] | None, *, trees: bool) -> set[str]:
    check_names(only or ())
    names = set(MEASURES) - SLOW if only is None else set(only)
    return names | SLOW if trees else names


def _measure(  # noqa: PLR0917
    run: Run,
    data: Data,
    names: set[str],
    num_importance_samples: int,
    factors: Int[Tensor, "n k"] | None,
    before: Run | None,
    seed: int,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    parts = None
    if names & {"elbo", *PARTS}:
        encoded = encode_set(run, data, lambda pair: _num_samples(pair, len(data)))
        if "elbo" in names:
            terms = encoded.terms
            elbo = terms["log_likelihood"] - terms["kl"] - terms.get("global_kl", 0.0)
            found = {"elbo": elbo, **terms}
        parts = encoded.parts or None
        of_kl, left_out = decomposition(encoded, encoded.num_samples, names & set(PARTS))
        found |= of_kl
        _warn(encoded, left_out)
    if LOG_PX in names:
        try:
            found |= _log_px(run, data, num_importance_samples)
        except ModelError as error:
            left_out[LOG_PX] = str(error)
    if COMPONENTS in names:
        try:
            found[COMPONENTS] = components(run, data, seed=seed)
        except ModelError as error:
            left_out[COMPONENTS] = str(error)
    found["scores"] = {}
    if names & set(SCORES):
        found["scores"], others = scores(
            run, data, factors, parts=parts, before=before, only=names, seed=seed
        )
        left_out |= others
        if before is None and found["scores"]:
            left_out["untrained"] = "the run was trained from Python, so that it cannot be rebuilt"
    return found | {"left_out": left_out}


def _num_samples(pair: TracePair, size: int) -> int:
    """How many samples of q(z) can be scored over a set in a time that a person waits."""
    if pair.is_structured or isinstance(pair.aggregate_prior, StructuredPosterior):
        return min(max(GUIDE_RUNS // size, MIN_GUIDE_SAMPLES), MAX_SAMPLES)
    latents = (pair.guide.nodes[name]["fn"] for name in pair.latents)
    latent_dim = max(1, sum(fn.shape().numel() for fn in latents) // pair.batch_size)
    return min(max(PAIR_ELEMENTS // (size * latent_dim), MIN_SAMPLES), MAX_SAMPLES)


def _warn(encoded: Encoded, left_out: Mapping[str, str]) -> None:
    """Say what is left out because of how model and guide are written."""
    named = list(left_out) if encoded.reason else []
    if named:
        verb = "is" if len(named) == 1 else "are"
        warnings.warn(f"{', '.join(named)} {verb} left out: {left_out[named[0]]}", stacklevel=4)


def _log_px(run: Run, data: Data, num_samples: int) -> dict[str, Any]:
    affordable = IMPORTANCE_ELEMENTS // (num_samples * data.datum_size)
    limit = min(max(affordable, MIN_IMPORTANCE_DATA), MAX_IMPORTANCE_DATA)
    counts = data_counts(run, data)
    rows = torch.arange(len(data)) if counts is None else counts.nonzero()[:, 0]
    kept = min(len(rows), limit)
    some = rows[torch.arange(kept) * len(rows) // kept]
    weights = None if counts is None else counts[some]
    log_px = importance_weighted_log_prob(
        run.experiment.elbo, run.model, run.guide, Data(data[some.to(data.device)]), num_samples
    )
    return mean(LOG_PX, log_px.cpu(), weights) | {"importance_weighted_data": len(log_px)}
