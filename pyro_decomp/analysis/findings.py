"""What the numbers of a run say in sentences: whether it had converged, collapsed or overfitted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.aggregate_posterior.families import data_rows, marginals
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.kl_decomposition import information_of_dimensions
from pyro_decomp.analysis.posterior_samples import terms_over
from pyro_decomp.analysis.quantities import HALF_WIDTH, STANDARD_ERROR, by_itself
from pyro_decomp.data.batches import Data
from pyro_decomp.distributions.closed_form_kl import analytic_kl
from pyro_decomp.distributions.densities import is_factorised, unmasked, why_no_density
from pyro_decomp.programs.automatic_guides import has_local_parameters
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import seeded
from pyro_decomp.training.experiment import few_threads
from pyro_decomp.training.run import Run
from pyro_decomp.training.user_code import sentence

PART = 10  # the last tenth of a run is held against the tenth before
FEWEST_STEPS = 10  # of such a part
NOISE = 4.0  # standard errors of a change of the objective
SMALLEST = 0.01  # nats that are worth a sentence, and that a dimension has which is not collapsed
MOST_DIMENSIONS = 10  # that are named
FEWEST_CODES, CODES = 20, 500  # data whose codes are looked at

PASS_SHARE = 50  # a pass at the end has at most this part of the rows that training had
FEWEST_ROWS = 1000  # which it may have anyhow
MOST_ELEMENTS = 2**25  # of the data that are chosen for a pass


def final_terms(run: Run, *, most: int | None = None) -> dict[str, dict[str, Any]]:
    """The plain ELBO and its terms at the end of training, over the data and the held-out data.

    In one pass without gradients that leaves the run as it was: over all data, or, where these are
    more than 2 % of the rows that training went over, and than 1,000, over so many, spread evenly
    over the set. Never over more than make 2^25 elements, or one batch.

    Args:
        run: The run.
        most: Of each set never more data than these either.

    Returns:
        By ``train`` and ``test``, as :func:`pyro_decomp.evaluate` gives them: nats per datum, with
        standard errors over the data and ``left_out``; and how many ``data`` these were (rows that
        are masked are none), of how many ``rows``, and whether they were ``sampled``.
    """
    trial = run.experiment
    sets = {"train": trial.data, "test": trial.test_data}
    found: dict[str, dict[str, Any]] = {}
    with _looking_at(run):
        for name, x in sets.items():
            if x is not None:
                found[name] = _final_terms_of(run, x, most)
    return found


@contextmanager
def _looking_at(run: Run) -> Iterator[None]:
    """Run programs without gradients, and leave the run and the random generators as they were."""
    unchanged = run.state.program.preserving_rng_and_buffers()
    with unchanged, seeded(0), torch.no_grad(), few_threads(run.experiment):
        yield


def _final_terms_of(run: Run, data: Data, most: int | None) -> dict[str, Any]:
    limit = _affordable_rows(run)
    rows = _some(run, data, limit if most is None else min(limit, most))
    found: dict[str, Any] = {"data": len(rows), "rows": len(data), "left_out": {}}
    found["sampled"] = len(rows) < len(data)
    with by_itself(found["left_out"], "elbo"):
        sums = terms_over(EncodedData.of(run, data), rows)
        numbers, found["left_out"] = sums.numbers()
        found |= numbers | {"data": int((sums.counts > 0).sum())}
    return found


def findings(
    run: Run,
    metrics: Mapping[str, Mapping[str, Any]],
    *,
    data: EncodedData | None = None,
    most: int = CODES,
) -> dict[str, str]:
    """Sentences on a run, each with its number, where there is something to say.

    ``convergence``
        The mean of the objective over the last tenth of the logged steps differs from that over
        the tenth before by more than 4 standard errors and 0.01 nats. Nothing is said where a
        schedule still moves a number of the objective meanwhile.
    ``collapse``
        Dimensions whose KL(q(z_d|x) || p(z_d)), over up to 500 data, is below 0.01 nats: of them
        the code says nothing about the datum. Where the prior is no product over the dimensions of
        a site, or is given something of the datum, the information I(x; z_d) is in its place.
    ``overfit``
        The ELBO of the test data is below that of the training data by more than half of the 95 %
        interval of their difference, and 0.01 nats.

    Args:
        run: The run.
        metrics: The ELBO of the sets with its standard error, as :func:`pyro_decomp.evaluate` or
            :func:`final_terms` gives it.
        data: The training data and their encodings, where these are known already.
        most: Data whose codes are looked at for ``collapse``.

    Returns:
        The sentences, by what they are about.
    """
    found: dict[str, str] = {}
    looks = {
        "convergence": lambda: convergence(run),
        "collapse": lambda: collapse(run, data, most=most),
        "overfit": lambda: overfit(metrics),
    }
    for name, look in looks.items():
        try:
            found[name] = look()
        except Exception as error:  # what a run is worth does not hang on a sentence about it
            found[name] = f"{name} could not be looked for: {sentence(error)}"
    return {name: said for name, said in found.items() if said}


def convergence(run: Run) -> str:
    """A sentence if the objective still moved; empty if it did not, or if it cannot be told."""
    column = run.history.get("objective", np.zeros(0))
    size = len(column) // PART
    if size < FEWEST_STEPS or _is_scheduled(run, int(run.history["step"][-2 * size])):
        return ""
    last, before = column[-size:], column[-2 * size : -size]
    change = float(last.mean() - before.mean())
    error = float(np.sqrt((last.var(ddof=1) + before.var(ddof=1)) / size))
    if not abs(change) > max(NOISE * error, SMALLEST):
        return ""
    by = f"by {_with_error(abs(change), error)} nats over the last tenth of the run"
    if change > 0:
        return f"the objective still rose {by}: train longer"
    return f"the objective fell {by}: try a smaller learning rate"


def collapse(run: Run, data: EncodedData | None = None, *, most: int = CODES) -> str:
    """A sentence on the dimensions of the codes that tell nothing about the data; else empty."""
    with _looking_at(run):
        data = data or EncodedData.of(run)
        limit = min(most, max(FEWEST_CODES, _rows_in_memory(data.data) // 2))
        pairs = list(data.pairs(_some(run, data.data, limit)))
        by_kl = _kl_of_dimensions(pairs)
        others = {} if by_kl.keys() >= {*pairs[0].latents} else information_of_dimensions(pairs)
    informed = {name: values for name, values in (others or {}).items() if name not in by_kl}
    said = [
        *(_collapsed(name, values, "a KL to the prior") for name, values in by_kl.items()),
        *(_collapsed(name, values, "an information on x") for name, values in informed.items()),
    ]
    return "; ".join(filter(None, said))


def overfit(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence if held-out data have a lower ELBO than training data; empty if they have not."""
    sets = [metrics.get(name, {}) for name in ("train", "test")]
    error_name = f"elbo{STANDARD_ERROR}"
    if not all({"elbo", error_name} <= each.keys() for each in sets):
        return ""
    train, test = (float(each["elbo"]) for each in sets)
    error = sum(each[error_name] ** 2 for each in sets) ** 0.5
    if not train - test > max(HALF_WIDTH * error, SMALLEST):
        return ""
    return (
        f"the ELBO of the held-out data is {_with_error(train - test, error)} nats below that of "
        f"the training data ({test:.4g} and {train:.4g}): the run overfits, or "
        "they are data of another kind"
    )


def _is_scheduled(run: Run, since: int) -> bool:
    trial = run.experiment
    return any(
        schedule.value(since, trial.total_steps) != schedule.value(run.step, trial.total_steps)
        for schedule in trial.schedules.values()
    )


def _some(run: Run, data: Data, limit: int) -> Int[Tensor, " n"]:
    """At most so many rows, evenly spaced; the first ones if the guide knows data by their row."""
    kept = min(len(data), limit)
    rows = torch.arange(kept)
    return rows if has_local_parameters(run.guide) else rows * len(data) // kept


def _affordable_rows(run: Run) -> int:
    data = run.experiment.data
    batch = min(run.experiment.batch_size or len(data), len(data))
    rows = max(FEWEST_ROWS, batch * run.step // PASS_SHARE)
    return max(batch, min(rows, _rows_in_memory(data)))


def _rows_in_memory(data: Data) -> int:
    return MOST_ELEMENTS // max(1, data.datum_size)


def _kl_of_dimensions(pairs: list[TracePair]) -> dict[str, Float[Tensor, " _"]]:
    """KL(q(z_d|x) || p(z_d)) of every dimension, of sites with one product as prior of all data."""
    totals: dict[str, Tensor] = {}
    for pair in pairs:
        for name, kl in _kl_of_one(pair):
            totals[name] = totals.get(name, 0.0) + kl.cpu() * pair.batch_size
    return {name: total / sum(pair.batch_size for pair in pairs) for name, total in totals.items()}


def _kl_of_one(pair: TracePair) -> Iterator[tuple[str, Tensor]]:
    if pair.prior_inputs.given or pair.prior_inputs.labels:
        return  # such a prior may tell as much of the datum as the guide
    for name in pair.latents:
        q, p = (unmasked(trace.nodes[name]["fn"]) for trace in (pair.guide, pair.model))
        if name in pair.depends_on_marginalized or not is_factorised(p):
            continue
        if why_no_density({name: q}):
            continue
        value = pair.guide.nodes[name]["value"]
        inner, prior = marginals(name, q), marginals(name, p)
        kl = analytic_kl(inner, prior)
        if kl is None:
            kl = inner.log_prob(value) - prior.log_prob(value)
        axis = int(pair.data_plate.dim) - len(q.event_shape)
        yield name, pair.mean(data_rows(kl.expand(value.shape), axis).mT)


def _collapsed(site: str, values: Float[Tensor, " d"], what: str) -> str:
    few = (values < SMALLEST).nonzero()[:, 0].tolist()
    if not few:
        return ""
    if len(values) == 1:
        return f"{site} is collapsed, with {what} of {float(values[0]):.2g} nats"
    named = ", ".join(f"{d} ({float(values[d]):.2g})" for d in few[:MOST_DIMENSIONS])
    others = f" and {len(few) - MOST_DIMENSIONS} others" if len(few) > MOST_DIMENSIONS else ""
    verb = "is" if len(few) == 1 else "are"
    return (
        f"{len(few)} of {len(values)} dimensions of {site} {verb} collapsed, with {what} below "
        f"{SMALLEST} nats: {named}{others}, counted from 0"
    )


def _with_error(value: float, standard_error: float) -> str:
    """A value and half of its 95 % interval, as text."""
    return f"{value:.3g} \N{PLUS-MINUS SIGN} {HALF_WIDTH * standard_error:.2g}"
