"""Log p(x) of a run's data by importance weighting, and whether it can be waited for."""

import time
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.analysis.encoded import data_counts
from pyro_decomp.analysis.likelihood import importance_weighted_log_prob
from pyro_decomp.analysis.quantities import by_itself, mean
from pyro_decomp.data.batches import Data
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.training.run import Run

LOG_PX = "importance_weighted_log_px"
MIN_DATA, MAX_DATA = 25, 400
ELEMENTS = 2**26  # elements of data decoded, if that leaves enough data

USUAL_SAMPLES = 10_000  # of which nobody asks how long they take
TIMED_SAMPLES = 1000
MOST_SECONDS = 3600.0


def log_px_over(run: Run, data: Data, num_samples: int) -> dict[str, Any]:
    """The mean of log p(x) over data spread evenly over a set, in nats, with its standard error.

    See :func:`.likelihood.importance_weighted_log_prob`. Beside it are how many data
    these are, ``importance_weighted_data``, and K, ``importance_weighted_samples``.

    Args:
        run: The run.
        data: The set.
        num_samples: K, draws of the guide per datum.

    Raises:
        ModelError: The guide has no density, or log p(x) of a datum is infinite.
    """
    counts = data_counts(run, data)
    rows = torch.arange(len(data)) if counts is None else counts.nonzero()[:, 0]
    kept = min(len(rows), _num_data(data, num_samples))
    some = rows[torch.arange(kept) * len(rows) // kept]
    log_px = _log_px(run, data, some, num_samples)
    if not log_px.isfinite().all():
        spoilt = (~log_px.isfinite()).nonzero()[:, 0]
        raise ModelError(
            f"it is {log_px[spoilt[0]].item()} for {len(spoilt)} of {kept} data, first in row "
            f"{int(some[spoilt[0]])}: expected draws of the guide at which the model has a density"
        )
    details = {"importance_weighted_data": kept, "importance_weighted_samples": num_samples}
    return mean(LOG_PX, log_px, None if counts is None else counts[some]) | details


def check_affordable(run: Run, num_samples: int) -> None:
    """Refuse more importance samples than can be drawn in an hour.

    How long they take is foreseen from 1,000 draws for each of 25 data, where more than 10,000 are
    asked for.

    Args:
        run: The run.
        num_samples: K, draws of the guide per datum.

    Raises:
        DataError: They would take longer.
    """
    if num_samples <= USUAL_SAMPLES:
        return
    seconds = 0.0
    sets = [run.experiment.data, run.experiment.test_data]
    with by_itself({}, LOG_PX):  # programs that fail are told of when they are measured
        for data in (x for x in sets if x is not None):
            few, kept = min(len(data), MIN_DATA), min(len(data), _num_data(data, num_samples))
            began = time.monotonic()
            _log_px(run, data, torch.arange(few), TIMED_SAMPLES)
            times = num_samples / TIMED_SAMPLES * kept / few
            seconds += (time.monotonic() - began) * times
    if seconds > MOST_SECONDS:
        most = float(f"{num_samples * MOST_SECONDS / seconds:.0e}")
        raise DataError(
            f"importance samples: expected at most about {most:.0f}, which take an hour, got "
            f"{num_samples}, which would take {seconds / 3600:.0f} hours"
        )


def _num_data(data: Data, num_samples: int) -> int:
    """Of how many data log p(x) is taken."""
    return min(max(ELEMENTS // (num_samples * data.datum_size), MIN_DATA), MAX_DATA)


def _log_px(run: Run, data: Data, rows: Tensor, num_samples: int) -> Tensor:
    some = Data(data[rows.to(data.device)])
    elbo = run.experiment.elbo
    return importance_weighted_log_prob(elbo, run.model, run.guide, some, num_samples).cpu()
