"""What a trained run is worth: its terms, its overlap and its match to the prior."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, StructuredPosterior, log_prob_over
from pyro_decomp.data.batches import AnyData, Batch, Data
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.likelihood import importance_weighted_log_prob
from pyro_decomp.run import Run
from pyro_decomp.seeds import random_state, set_random_state, set_seed
from pyro_decomp.traces import TracePair

Encodings = AggregatePosterior | StructuredPosterior

BATCH_ELEMENTS = 2**21  # elements of data encoded at once
MIN_SAMPLES, MAX_SAMPLES = 1000, 10_000  # samples of q(z), and of p(z), that are scored
PAIR_ELEMENTS = 2**32  # dimensions times pairs of sample and datum, if that leaves enough samples
MIN_IMPORTANCE_DATA, MAX_IMPORTANCE_DATA = 25, 400
IMPORTANCE_ELEMENTS = 2**26  # elements of data decoded for log p(x), if that leaves enough data


def evaluate(
    run: Run, *, seed: int = 0, num_importance_samples: int = 1000
) -> dict[str, dict[str, float]]:
    r"""Measure a run on its training data, and on its test data if it has some.

    All in nats per datum, over the whole set, with standard errors over the data (of log p(x)) or
    the samples (of the others). Where q(z) cannot be scored, as of a guide with auxiliary sites, a
    warning says so, and what needs it is left out.

    ``elbo``, ``log_likelihood``, ``kl``, ...
        The plain ELBO and its terms.
    ``divergence``
        KL(p || q), its q(z) over the whole set; 10,000 draws from the prior, or fewer
        where the set is large, but no fewer than 1,000.
    ``mutual_information``
        I(x; z) = E[log q(z|x) - log q(z)] under the empirical distribution of the set, at most
        log N; of about as many samples.
    ``effective_sharing``
        exp(log N - I(x; z)): how many of the N data share a code, between 1 and N. No unit.
    ``importance_weighted_log_px``
        log p(x) by importance weighting, over ``importance_weighted_data`` data spread evenly over
        the set: 400, or fewer where they are large, so it may lie below ``elbo`` by chance.

    Where not all of the set is used, what is used is spread evenly over it.

    Args:
        run: The run.
        seed: Of every draw; the global random generators are left as they were.
        num_importance_samples: K, draws per datum for log p(x).

    Returns:
        ``{"train": {...}, "test": {...}}``; ``test`` only if there are test data.
    """
    metrics = {}
    sets = {"train": run.data, "test": run.experiment.test_data}
    for name, x in sets.items():
        if x is not None:
            with seeded(seed), torch.no_grad():
                metrics[name] = _measure(run, x, num_importance_samples)
    return metrics


def write_metrics(run: Run, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` into the run's folder and return its path."""
    return run.folder.write_metrics(metrics)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global random generator inside, and put them back after."""
    before = random_state()
    set_seed(seed)
    try:
        yield
    finally:
        set_random_state(before)


def encode(run: Run, x: AnyData) -> Iterator[TracePair]:
    """Run guide and model once over data, a batch at a time; see :class:`TracePair`."""
    data = Data.of(x).to(run.data.device)
    rows = max(1, BATCH_ELEMENTS // data.datum_size)
    for batch in data.split(rows):
        yield next(run.experiment.elbo.trace_pairs(run.model, run.guide, *batch))


def spread(x: AnyData, limit: int) -> Tensor | Batch:
    """At most so many data, spread evenly over the set, which may be in some order."""
    data = Data.of(x)
    kept = min(len(data), limit)
    some = data[torch.arange(kept, device=data.device) * len(data) // kept]
    return some if len(some) > 1 else some[0]


def _measure(run: Run, x: AnyData, num_importance_samples: int) -> dict[str, float]:
    data = Data.of(x)
    first = next(encode(run, data))
    affordable = PAIR_ELEMENTS // (len(data) * first.codes().shape[1])
    num_samples = min(max(affordable, MIN_SAMPLES), MAX_SAMPLES)
    terms, encodings, samples = _encodings(run, data, num_samples)
    elbo = terms["log_likelihood"] - terms["kl"] - terms.get("global_kl", 0.0)
    metrics = {"elbo": elbo, **terms}
    if encodings:
        z, log_pz = first.prior.draw(num_samples)
        metrics |= _mean("divergence", log_pz - log_prob_over(encodings, z))
        differences = [log_qz_x - log_prob_over(encodings, z) for z, log_qz_x in samples]
        metrics |= _mean("mutual_information", torch.cat(differences))
        information = max(0.0, metrics["mutual_information"])
        metrics["effective_sharing"] = math.exp(math.log(len(data)) - information)
    affordable = IMPORTANCE_ELEMENTS // (num_importance_samples * data.datum_size)
    some = spread(data, min(max(affordable, MIN_IMPORTANCE_DATA), MAX_IMPORTANCE_DATA))
    log_px = importance_weighted_log_prob(
        run.experiment.elbo, run.model, run.guide, some, num_importance_samples
    )
    metrics |= _mean("importance_weighted_log_px", log_px)
    return metrics | {"importance_weighted_data": len(log_px)}


def _encodings(
    run: Run, x: Data, num_samples: int
) -> tuple[dict[str, float], list[Encodings], list[tuple[dict[str, Tensor], Tensor]]]:
    """In as few passes as give so many samples: the ELBO's terms, q(z|x), and samples.

    No encodings where q(z) cannot be scored.
    The samples are of data spread evenly over the set, each batch's with their log q(z|x).
    """
    scored = _can_be_scored(next(encode(run, x)))
    stride, repeats = -(-len(x) // num_samples), -(-num_samples // len(x))
    terms: dict[str, float] = {}
    encodings: list[Encodings] = []
    samples = []
    for repeat in range(repeats):
        for pair in encode(run, x):
            share = pair.batch_size / len(x) / repeats
            for name, value in TermsELBO.terms(run.experiment.elbo, pair).items():
                terms[name] = terms.get(name, 0.0) + share * value.item()
            if not scored:
                continue
            if repeat == 0:
                encodings.append(pair.aggregate_posterior)
            z = {name: _every(stride, pair, name) for name in pair.latents}
            log_probs = [pair.log_prob(name, guide=True)[::stride] for name in pair.latents]
            samples.append((z, torch.stack(log_probs).sum(0)))
    return terms, encodings, samples


def _can_be_scored(pair: TracePair) -> bool:
    try:
        encodings = pair.aggregate_posterior
        encodings.log_prob({name: _every(len(encodings), pair, name) for name in pair.latents})
    except ModelError as error:
        reason = str(error).partition(":")[0]
        warnings.warn(
            f"{reason}, so q(z) cannot be scored: divergence, mutual_information and "
            "effective_sharing are left out",
            stacklevel=2,
        )
        return False
    return True


def _every(stride: int, pair: TracePair, name: str) -> Tensor:
    """Every so many-th datum's sample of a latent site."""
    site = pair.guide.nodes[name]
    axis = pair.data_plate.dim - len(site["fn"].event_shape)
    value: Tensor = site["value"]
    return value.movedim(axis, 0)[::stride].movedim(0, axis).clone()  # not a view of them all


def _mean(name: str, values: Tensor) -> dict[str, float]:
    standard_error = values.std() / len(values) ** 0.5
    return {name: values.mean().item(), f"{name}_standard_error": standard_error.item()}
