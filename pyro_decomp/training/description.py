"""What a run records of its experiment in words, and how one is held against it."""

import hashlib
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp.data.checks import blocks
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import RunError
from pyro_decomp.programs.sites import sample_sites
from pyro_decomp.training.experiment import Experiment

ROUNDING = 1e-6  # of the sum of magnitudes of data in single precision
DEEPEST = 4  # objects within objects
_PLAIN = bool | int | float | complex | str | bytes | None


def objective_text(experiment: Experiment) -> str:
    """The objective with its arguments, those at their defaults left out, as at the first step.

    ``AggregateELBO(alpha=3.0, divergence=InclusiveKL())``; it is the same for the same objective in
    every process.
    """
    with experiment.at_first_step():
        return _text(experiment.elbo)


def _text(thing: Any, depth: int = 0) -> str:
    if isinstance(thing, _PLAIN | np.generic):
        return repr(thing.item() if isinstance(thing, np.generic) else thing)
    if isinstance(thing, list | tuple):
        return f"[{', '.join(_text(item, depth) for item in thing)}]"
    if isinstance(thing, Mapping):
        return _text([*thing.items()], depth)
    if isinstance(thing, Tensor):
        return f"tensor({thing.tolist()})"
    if inspect.isroutine(thing) or isinstance(thing, type):
        return str(getattr(thing, "__qualname__", type(thing).__name__))
    is_whole = depth < DEEPEST and not isinstance(thing, nn.Module)
    arguments = _arguments(thing, depth + 1) if is_whole else []
    return f"{type(thing).__name__}({', '.join(arguments)})"


def _arguments(thing: Any, depth: int) -> list[str]:
    """The arguments of its class that it keeps under their names, but for its defaults."""
    found: dict[str, str] = {}
    for kind in type(thing).__mro__:
        if "__init__" not in vars(kind):
            continue
        for name, parameter in inspect.signature(vars(kind)["__init__"]).parameters.items():
            value = getattr(thing, name, inspect.Parameter.empty)
            if (
                value is inspect.Parameter.empty
                or name == "self"
                or callable(getattr(type(thing), name, None))
            ):
                continue
            text = _text(value, depth)
            if parameter.default is parameter.empty or text != _text(parameter.default, depth):
                found.setdefault(name, f"{name}={text}")
    return sorted(found.values())


def digest(experiment: Experiment) -> str:
    """A digest of the training data, by which a run that resumes knows its own.

    It is that of the values of which batches are made, however they are stored.
    """
    data = experiment.data
    found = hashlib.blake2b(digest_size=16)
    for index, tensor in enumerate(data.tensors):
        if index:
            found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        for block in tensor.telling() if isinstance(tensor, Stored) else blocks(tensor):
            found.update(block.detach().cpu().contiguous().numpy().data)
    return found.hexdigest()


class DifferentDataWarning(UserWarning):
    """A run is loaded with data that are nearly those that it was trained on."""


def data_record(experiment: Experiment) -> dict[str, Any]:
    """What ``config.json`` records of the data of a prepared experiment."""
    return {"data_blake2b": digest(experiment), "data_sums": sums(experiment)}


def sums(experiment: Experiment) -> list[list[float]]:
    """Of each tensor of the data: its size, the sum of its values, and of their magnitudes.

    Of one that stays in a file only the size is known, and nothing is near to it.
    """
    found = []
    for tensor in experiment.data.tensors:
        total, magnitude = (math.nan, math.nan) if isinstance(tensor, Stored) else (0.0, 0.0)
        for block in () if isinstance(tensor, Stored) else blocks(tensor):
            values = block.detach().cpu().double()
            total, magnitude = total + values.sum().item(), magnitude + values.abs().sum().item()
        found.append([float(math.prod(tensor.shape)), total, magnitude])
    return found


def _is_close(before: Sequence[float], after: Sequence[float]) -> bool:
    tolerance = ROUNDING * max(before[2], after[2])
    return all(abs(b - a) <= tolerance for b, a in zip(before, after, strict=True))


def sites_text(model: poutine.Trace) -> dict[str, str]:
    """The family and the shape of every site of a model's trace, by name."""
    found = {}
    for site in sample_sites(model):
        fn = site["fn"]
        shape = list(fn.event_shape)
        while hasattr(fn, "base_dist") and not hasattr(fn, "transforms"):
            fn = fn.base_dist
        found[site["name"]] = f"{type(fn).__name__}{shape}"
    return found


def check_sites(folder: Path, config: Mapping[str, Any], model: poutine.Trace) -> None:
    """Hold the sites of a model against those that a run records.

    Raises:
        RunError: They differ.
    """
    trained, now = config.get("sites"), sites_text(model)
    if trained is not None and trained != now:
        raise differs(folder, f"sites {_pairs(trained)}", f"sites {_pairs(now)}")


def _pairs(sites: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ~ {family}" for name, family in sites.items())


def check_recorded(folder: Path, config: Mapping[str, Any], experiment: Experiment) -> None:
    """Hold an experiment against what a run records of the one that it trained.

    Raises:
        RunError: They differ; what differs, and how, is named.
    """
    now: dict[str, Any] = {
        "objective": objective_text(experiment),
        "num_data": len(experiment.data),
    }
    if experiment.total_steps not in config.get("stretches", ()):  # or it went on for longer
        now["total_steps"] = experiment.total_steps
        ranges = experiment.scheduled_ranges()
        now["schedules"] = {name: list(ends) for name, ends in ranges.items()}
    for key, value in now.items():
        if key in config and config[key] != value:
            raise differs(folder, f"{key} {config[key]}", f"{key} {value}")


def check_data(
    folder: Path, config: Mapping[str, Any], experiment: Experiment, *, is_given: bool
) -> None:
    """Hold the data of a prepared experiment against those that a run has trained on.

    Another processor may round data otherwise that are computed: sums that agree get a warning.

    Raises:
        RunError: They differ.
    """
    trained, now = config.get("data_blake2b"), digest(experiment)
    if trained in (None, now) or are_near(folder, config, {"data_sums": sums(experiment)}):
        return
    if is_given:
        raise differs(folder, f"data of digest {trained}", f"data of digest {now}")
    raise RunError(
        f"{folder} was trained on data of digest {trained}: expected its experiment to read the "
        f"same, got data of digest {now} (restore the data, or train on these)"
    )


def are_near(folder: Path, config: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether data have the sums that a run records of those that it trained on; if so, warn.

    Args:
        folder: The run's.
        config: Its ``config.json``.
        now: What :func:`data_record` gives.
    """
    before, after = config.get("data_sums"), now["data_sums"]
    if before is None or len(before) != len(after) or not all(map(_is_close, before, after)):
        return False
    warnings.warn(
        f"{folder} was trained on data that differ from these in their last digits, as data do "
        "that another processor computes, or in few values",
        DifferentDataWarning,
        stacklevel=5,
    )
    return True


def differs(folder: Path, trained: str, given: str) -> RunError:
    """The error of an experiment that is not the one that a run has trained."""
    return RunError(
        f"{folder} was trained with {trained}: expected the same, got {given} (give the experiment "
        "that it was trained with, or train this one into another folder)"
    )
