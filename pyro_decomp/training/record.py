"""What a run records of its experiment in words, and how one that is given is held against it."""

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyro import poutine
from torch import Tensor, nn

from pyro_decomp.data.checks import blocks
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import ExperimentError, ModelError, RunError
from pyro_decomp.programs.program_state.copies import shared_network
from pyro_decomp.programs.program_state.walk import walk
from pyro_decomp.programs.sites import sample_sites
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.json_files import plain
from pyro_decomp.training.run_folder import RunFolder

Buildable = Experiment | ExperimentFile | Callable[..., Experiment]
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
    if isinstance(thing, _PLAIN):
        return repr(thing)
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


def built(
    given: Buildable, arguments: Mapping[str, Any], seed: int
) -> tuple[Experiment, ExperimentFile | str | None]:
    """Build an experiment, and write down what it is built from; a file or function begins anew.

    Returns:
        The experiment; and its file, or its function as one, or why the function cannot be one.

    Raises:
        ExperimentError: It cannot be built.
    """
    if isinstance(given, Experiment):
        if arguments:
            raise ExperimentError(
                "arguments: expected none with an Experiment, which has been built, got "
                f"{', '.join(arguments)} (give the function that builds it)"
            )
        set_seed(seed)  # of what is drawn when the programs first run
        return given.own(), None
    if isinstance(given, ExperimentFile):
        file = given.fresh(seed)
        set_seed(seed)
        return file.build(arguments), file
    try:
        inspect.signature(given).bind(**arguments)
    except TypeError as error:
        raise ExperimentError(f"arguments: {error}") from None
    source: ExperimentFile | str
    try:
        source = ExperimentFile.of_function(given)
    except ExperimentError as error:
        source = str(error)
    before = list(walk({"": given}))
    set_seed(seed)
    experiment = given(**arguments)
    if not isinstance(experiment, Experiment):
        raise ExperimentError(
            f"experiment: expected a function that returns an Experiment, got one that returns "
            f"{type(experiment).__name__}"
        )
    try:
        return experiment.own(), source
    except ModelError:
        if shared_network(before, walk(experiment.programs)) is not None:
            raise
        return experiment, source  # it was built for this run


class UnrecordedWarning(UserWarning):
    """A run that can be got back only with its experiment given again."""


def warn_unrecorded(config: Mapping[str, Any]) -> None:
    """Say why a run will not be loaded from its folder alone, if it will not."""
    if "unrecorded" in config:
        warnings.warn(
            f"{config['unrecorded']}; as it is the run is loaded by load(path, experiment=...) "
            "alone",
            UnrecordedWarning,
            stacklevel=3,
        )


def keep_tensors(source: ExperimentFile | str | None, folder: Path) -> None:
    """Write the tensors that a source uses into the folder of its run."""
    if isinstance(source, ExperimentFile) and source.tensors is not None:
        source.tensors.write(folder)


def is_kept(config: Mapping[str, Any]) -> bool:
    """Whether a run keeps all that its experiment is built from."""
    return config.get("source") is not None and "unrecorded" not in config


def rebuild(
    folder: RunFolder, config: Mapping[str, Any], given: Buildable | None = None
) -> Experiment:
    """The experiment of a run as it was before training, its source executed with the run's seed.

    The global random generators are seeded.

    Args:
        folder: The run's.
        config: Its ``config.json``.
        given: What to build it from instead of what the run keeps.

    Raises:
        RunError: The run keeps no source, or another one than that given.
        ExperimentError: Its experiment no longer runs.
    """
    seed, arguments = int(config["seed"]), config["arguments"]
    if given is None:
        if not is_kept(config):
            why = config.get("unrecorded")
            what = f"a function that it could not keep: {why}" if why else "an Experiment"
            raise RunError(
                f"{folder.path} was trained from {what}; give load(path, experiment=...) it, or "
                f"the function that builds it, or evaluate and plot --experiment FILE a file whose "
                "`experiment` does"
            )
        source = ExperimentFile.from_record(config, folder.path, seed=seed)
        assert source is not None
        set_seed(seed)
        experiment = source.build(arguments)
        try:
            return experiment.own()  # of what it shares with other runs, as a module's network
        except ModelError:
            return experiment
    if isinstance(given, Experiment):
        return built(given, {}, seed)[0]
    lost = config.get("unrecorded_arguments", ())
    _check_defaults(folder, given, {name: arguments[name] for name in lost})
    kept_arguments = {name: value for name, value in arguments.items() if name not in lost}
    experiment, now = built(given, kept_arguments, seed)
    kept = config.get("source_sha256")
    if isinstance(now, ExperimentFile) and kept is not None and now.sha256 != kept:
        raise RunError(
            f"{folder.path} was trained from {config['source_file']} as it was then: expected the "
            f"same text, got another of {now.path} (leave `experiment` out: the run keeps the "
            "text that it was trained from)"
        )
    return experiment


def _check_defaults(
    folder: RunFolder,
    given: ExperimentFile | Callable[..., Experiment],
    lost: Mapping[str, Any],
) -> None:
    """Hold the defaults of a function against arguments of which a run keeps no more than the text.

    Raises:
        RunError: They differ.
    """
    function = given.function if isinstance(given, ExperimentFile) else given
    parameters = inspect.signature(function).parameters
    for name, text in lost.items():
        default = parameters[name].default if name in parameters else None
        if plain(default) != text:
            raise RunError(
                f"{folder.path} was trained with {name}={text}: expected a function that has this "
                f"as its default, got {name}={default} (give functools.partial(..., {name}=...))"
            )


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
    now = {
        "objective": objective_text(experiment),
        "num_data": len(experiment.data),
        "total_steps": experiment.total_steps,
        "schedules": {name: list(ends) for name, ends in experiment.scheduled_ranges().items()},
    }
    for key, value in now.items():
        if key in config and config[key] != value:
            raise differs(folder, f"{key} {config[key]}", f"{key} {value}")


def check_data(
    folder: Path, config: Mapping[str, Any], experiment: Experiment, *, is_given: bool
) -> None:
    """Hold the data of a prepared experiment against those that a run has trained on.

    Raises:
        RunError: They differ.
    """
    trained, now = config.get("data_blake2b"), digest(experiment)
    if trained is None or trained == now:
        return
    if is_given:
        raise differs(folder, f"data of digest {trained}", f"data of digest {now}")
    raise RunError(
        f"{folder} was trained on data of digest {trained}: expected its experiment to read the "
        f"same, got data of digest {now} (restore the data, or train on these)"
    )


def differs(folder: Path, trained: str, given: str) -> RunError:
    """The error of an experiment that is not the one that a run has trained."""
    return RunError(
        f"{folder} was trained with {trained}: expected the same, got {given} (give the experiment "
        "that it was trained with, or train this one into another folder)"
    )
