"""Log p(x) by importance weighting, and whether it can be waited for."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.quantities import LOG_PX, by_itself, mean
from pyro_decomp.errors import DataError, ModelError

ROW_ELEMENTS = 2**22  # elements of repeated data held at once
MIN_DATA, MAX_DATA = 25, 400
ELEMENTS = 2**26  # elements of data decoded, if that leaves enough data

USUAL_SAMPLES = 10_000  # of which nobody asks how long they take
TIMED_SAMPLES = 1000
MOST_SECONDS = 3600.0


def importance_weighted_log_px(
    data: EncodedData, rows: Int[Tensor, " n"] | None = None, *, num_samples: int = 1000
) -> Float[Tensor, " n"]:
    r"""Log (1/K) \sum_k p(x, z_k) / q(z_k|x) with z_k ~ q(z|x), per datum, in nats.

    A lower bound on log p(x) in expectation, tighter as K grows (Burda, Grosse & Salakhutdinov,
    "Importance Weighted Autoencoders", 2016, eq. 8, https://arxiv.org/abs/1509.00519). Latent sites
    outside the data plate are drawn from the guide and not weighted. Each datum is encoded once,
    unless a site of the guide depends on what another one draws.

    Args:
        data: The data and their encodings.
        rows: Which of the data; by default all.
        num_samples: K.

    Returns:
        Log p(x) of each row, ``[n]``.

    Raises:
        ModelError: The guide has no density, as a Delta.
    """
    arguments.whole(num_samples=num_samples)
    num_samples = int(num_samples)
    rows = torch.arange(len(data)) if rows is None else rows
    datum_size = data.data.datum_size
    copies = min(num_samples, max(1, ROW_ELEMENTS // (len(rows) * datum_size)))
    with torch.no_grad():
        found = []
        for some in data.batches(rows, elements=ROW_ELEMENTS // copies):
            data.encode(some)
            most = copies if data.takes_repeated_rows else 1
            times = [min(most, num_samples - done) for done in range(0, num_samples, most)]
            found.append(_log_mean_weight(data, some, times))
        return torch.cat(found)


def log_px_over(data: EncodedData, num_samples: int) -> dict[str, Any]:
    """The mean of log p(x) over data spread evenly over a set, in nats, with its standard error.

    See :func:`importance_weighted_log_px`. Beside it are the number of these data,
    ``importance_weighted_data``, and K, ``importance_weighted_samples``.

    Raises:
        ModelError: The guide has no density, or log p(x) of a datum is infinite.
    """
    kept = min(len(data.valid), _num_data(data, num_samples))
    rows = data.valid[torch.arange(kept) * len(data.valid) // kept]
    log_px = importance_weighted_log_px(data, rows, num_samples=num_samples).cpu()
    if not log_px.isfinite().all():
        spoilt = (~log_px.isfinite()).nonzero()[:, 0]
        raise ModelError(
            f"it is {log_px[spoilt[0]].item()} for {len(spoilt)} of {kept} data, first in row "
            f"{int(rows[spoilt[0]])}: expected draws of the guide at which the model has a density"
        )
    details = {"importance_weighted_data": kept, "importance_weighted_samples": num_samples}
    return mean(LOG_PX, log_px, None if data.counts is None else data.counts[rows]) | details


def check_affordable(
    sets: Sequence[EncodedData], num_samples: int, *, of_all: bool = False
) -> None:
    """Refuse more importance samples than can be drawn in an hour, of some data or of all.

    Where more than 10,000 are asked for, the time that they take is foreseen from 1,000 draws for
    each of 25 data.

    Raises:
        DataError: They would take longer.
    """
    if num_samples <= USUAL_SAMPLES:
        return
    seconds = 0.0
    with by_itself({}, LOG_PX):  # programs that fail are told of when they are measured
        for data in sets:
            few = min(len(data), MIN_DATA)
            kept = len(data) if of_all else min(len(data), _num_data(data, num_samples))
            began = time.monotonic()
            importance_weighted_log_px(data, torch.arange(few), num_samples=TIMED_SAMPLES)
            times = num_samples / TIMED_SAMPLES * kept / few
            seconds += (time.monotonic() - began) * times
    if seconds > MOST_SECONDS:
        most = float(f"{num_samples * MOST_SECONDS / seconds:.0e}")
        raise DataError(
            f"importance samples: expected at most about {most:.0f}, which take an hour, got "
            f"{num_samples}, which would take {seconds / 3600:.0f} hours"
        )


def _log_mean_weight(
    data: EncodedData, rows: Int[Tensor, " n"], times: Sequence[int]
) -> Float[Tensor, " n"]:
    """The logarithm of the mean weight of each row, from so many draws at once."""
    total = torch.tensor(-math.inf, dtype=torch.float64, device=data.data.device)  # blocks add up
    for copies in times:
        pair = data.pair(rows.repeat(copies))
        if reason := pair.why_not_weighted():
            raise ModelError(
                f"{reason}, so that log p(x) cannot be weighted: expected a guide with spread"
            )
        log_weights = pair.log_likelihood() + pair.log_prior() - pair.log_posterior()
        total = total.logaddexp(log_weights.view(copies, -1).logsumexp(0).double())
    return (total - math.log(sum(times))).to(log_weights.dtype)


def _num_data(data: EncodedData, num_samples: int) -> int:
    """The number of data of which log p(x) is taken."""
    return min(max(ELEMENTS // (num_samples * data.data.datum_size), MIN_DATA), MAX_DATA)
