"""The file of what was measured on a run, and what of it stands beside what is measured later."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_decomp.analysis.quantities import LOG_PX, STANDARD_ERROR
from pyro_decomp.programs.program_state.fingerprint import content
from pyro_decomp.training.run import Run
from pyro_decomp.training.run_files.writer import BY_ITSELF, writer

GO_WITH = {  # a quantity to what is measured with it and means nothing beside another
    "elbo": ("log_likelihood", "kl", "global_kl", "supervision", "findings"),
    "dimensionwise_kl": ("prior_information",),
    LOG_PX: ("importance_weighted_data", "importance_weighted_samples"),
}
PATIENCE = 60.0  # seconds for another process to add what it measured
BY_NAME = ("scores", "left_out", "seeds", "versions")


def write_metrics(run: Run, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` into the run's folder.

    What was measured on the same checkpoint before and is not among ``metrics`` stays. A number
    that is among its ``left_out`` goes. Nothing of another checkpoint stays, nor of a file that is
    damaged, with a warning.

    Args:
        run: The run.
        metrics: What :func:`pyro_decomp.evaluate` gave.

    Returns:
        The path of the file.
    """
    with writer(run.path, of=BY_ITSELF, patience=PATIENCE):
        before = run.folder.read_metrics()
        if not before and run.folder.metrics_path.exists():
            words = "metrics.json holds no metrics that can be read: written anew"
            warnings.warn(words, stacklevel=2)
        return run.folder.write_metrics(merged(before, metrics))


def checkpoint_of(run: Run) -> dict[str, Any]:
    """Which state of a run this is: its step, and a digest of all that was trained."""
    found = hashlib.blake2b(digest_size=16)
    for tensor in _tensors(run.state.tensors()):
        found.update(content(tensor))
    return {"step": run.step, "blake2b": found.hexdigest()}


def merged(before: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured before, with what is measured now in its place or beside it.

    Every name that is measured now, as ``seeds`` lists them, loses what was known of it before: its
    number, standard error, score, what goes with it, and the reason for which it was left out.

    Args:
        before: The contents of ``metrics.json``; may be anything.
        metrics: What :func:`pyro_decomp.evaluate` gives.

    Returns:
        The contents that it is to have. What was measured on another checkpoint of the run is not
        among them, with a warning.
    """
    now = [part["checkpoint"] for part in metrics.values() if "checkpoint" in part]
    if not now:
        return dict(metrics)
    parts = {name: old for name, old in before.items() if isinstance(old, Mapping)}
    known = {name: old for name, old in parts.items() if old.get("checkpoint") == now[0]}
    if len(known) < len(parts):
        warnings.warn(
            "metrics.json: what had been measured on another checkpoint of the run is not kept "
            f"beside what is measured on that of step {now[0]['step']}",
            stacklevel=3,
        )
    return {
        name: _of_one_set(known.get(name, {}), metrics.get(name, {}))
        for name in dict.fromkeys((*known, *metrics))
    }


def _of_one_set(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    forgotten = {*new.get("seeds", {}), *(["untrained"] if new.get("scores") else [])}
    forgotten |= {each for name in forgotten for each in GO_WITH.get(name, ())}
    stays = {  # in the order that they had
        name: value
        for name, value in old.items()
        if name in new or name.removesuffix(STANDARD_ERROR) not in forgotten
    }
    by_name = {
        key: {n: v for n, v in _mapping(old.get(key)).items() if n not in forgotten}
        | new.get(key, {})
        for key in BY_NAME
    }
    return {**stays, **new, **by_name}


def _mapping(value: Any) -> Mapping[str, Any]:
    """A part of a file that anyone may have written."""
    return value if isinstance(value, Mapping) else {}


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of nested containers, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)
