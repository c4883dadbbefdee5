"""Building an experiment to train or to load, and what a run keeps to build it again."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyro_decomp.descriptions import value_text
from pyro_decomp.errors import ExperimentError, ModelError, RunError
from pyro_decomp.programs.program_state.copies import shared_network
from pyro_decomp.programs.program_state.walk import walk
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.experiment_file import ExperimentFile, is_function
from pyro_decomp.training.run_files.json_files import is_plain
from pyro_decomp.training.run_files.run_folder import RunFolder

Buildable = Experiment | ExperimentFile | Callable[..., Experiment]


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
    others = {name: value for name, value in arguments.items() if not is_plain(value)}
    try:
        source = ExperimentFile.of_function(partial(given, **others) if others else given)
    except ExperimentError as error:
        source = str(error)
    if isinstance(source, ExperimentFile):  # as a run that is loaded will call it
        known = {name: value for name, value in arguments.items() if name not in others}
        arguments = {**arguments, **source.typed(known)}
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
            stacklevel=4,
        )


def is_kept(config: Mapping[str, Any]) -> bool:
    """Whether a run keeps all that its experiment is built from."""
    return config.get("source") is not None and "unrecorded" not in config


def rebuild(
    folder: RunFolder, config: Mapping[str, Any], given: Buildable | None = None
) -> Experiment:
    """The experiment of a run as it was before training, its source executed with the run's seed.

    It is built from what is given, else from what the run keeps; random generators are seeded.

    Raises:
        RunError: The run keeps no source, or another one than that given, or a stranger's.
        ExperimentError: Its experiment no longer runs.
    """
    seed, arguments = int(config["seed"]), config["arguments"]
    if given is None:
        if not is_kept(config):
            why = config.get("unrecorded")
            what = f"a function that it could not keep ({why})" if why else "an Experiment"
            raise RunError(
                f"{folder.path} was trained from {what}: give it, or the function that builds it, "
                "to load(path, experiment=...), or a file whose `experiment` does to evaluate and "
                "plot, with --experiment FILE"
            )
        source = ExperimentFile.from_record(config, folder.path, seed=seed, trust=folder.is_trusted)
        assert source is not None
        set_seed(seed)
        experiment = source.build(arguments)
        try:
            return experiment.own()  # of what it shares with other runs, as a module's network
        except ModelError:
            return experiment
    if isinstance(given, Experiment):
        return built(given, {}, seed)[0]
    _check_defaults(folder, given, config.get("other_arguments", {}))
    experiment, now = built(given, arguments, seed)
    kept = config.get("source")
    if kept is None or not isinstance(now, ExperimentFile):
        return experiment
    if now.is_function == is_function(config["source_file"]) and now.source != kept:
        raise RunError(
            f"{folder.path} was trained from {config['source_file']} as it was then: expected the "
            f"same text, got another of {now.path} (leave `experiment` out: the run keeps the "
            "text that it was trained from)"
        )
    return experiment


def _check_defaults(
    folder: RunFolder,
    given: ExperimentFile | Callable[..., Experiment],
    others: Mapping[str, Any],
) -> None:
    """Hold the defaults of a function against arguments that are no numbers or text, in words.

    Raises:
        RunError: They differ.
    """
    function = given.function if isinstance(given, ExperimentFile) else given
    parameters = inspect.signature(function).parameters
    for name, text in others.items():
        default = parameters[name].default if name in parameters else None
        if (now := value_text(default)) != text:
            raise RunError(
                f"{folder.path} was trained with {name}={text}: expected a function that has this "
                f"as its default, got {name}={now} (give functools.partial(..., {name}=...))"
            )
