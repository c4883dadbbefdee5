"""How long a run is trained: its first stretch, and those by which it went on after its end.

``config.json`` has under ``stretches`` the steps at the end of each, once there are several.
Schedules run over the first one, and keep their last values in the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.run_files.json_files import is_plain, plain
from pyro_decomp.training.run_files.run_folder import RunFolder


def ends_of(config: Mapping[str, Any]) -> list[int]:
    """The steps at the end of each stretch that a run was to have."""
    return [*config.get("stretches", [config["total_steps"]])]


def lengthen(experiment: Experiment, ends: Sequence[int]) -> None:
    """Have an experiment trained to the end of its last stretch, with schedules over the first."""
    if len(ends) > 1:
        experiment.scheduled_steps = ends[0]
        experiment.epochs = ends[-1] // experiment.steps_per_epoch


def go_on(
    experiment: Experiment, folder: RunFolder, arguments: Mapping[str, Any]
) -> tuple[list[int], dict[str, Any]]:
    """Find to which end a run is to go on, and lengthen the experiment to it.

    A run that has come to its end goes on to as many epochs as it is now asked for. The arguments
    that it was begun with ask for no more than was asked before.

    Returns:
        The ends of all stretches, and the arguments that the run was begun with where the new ones
        differ from those in ``epochs`` alone, else the new ones.

    Raises:
        RunError: The run has been trained for more epochs than it is asked for, or not yet for
            those that it was to have.
    """
    config = folder.read_config()
    ends, begun, asked = ends_of(config), config["arguments"], experiment.total_steps
    now = {name: plain(value) for name, value in arguments.items() if is_plain(value)}
    before = {name: value for name, value in arguments.items() if name != "epochs"}
    before |= {"epochs": begun["epochs"]} if "epochs" in begun else {}
    sizes = {"num_data": len(experiment.data), "steps_per_epoch": experiment.steps_per_epoch}
    is_same = all(config.get(name, size) == size for name, size in sizes.items())
    if not is_same or {**begun, "epochs": None} != {**now, "epochs": None}:
        return ends, dict(arguments)  # of another run, which is told elsewhere
    if asked == ends[-1] or (asked == ends[0] and now == begun):
        lengthen(experiment, ends)
        return ends, before
    if not folder.is_finished(config):
        raise RunError(
            f"{folder.path} has not come to its end, step {ends[-1]}: finish it as it was begun "
            f"before it goes on to epochs={experiment.epochs}"
        )
    if asked < ends[-1]:
        done = ends[-1] // experiment.steps_per_epoch
        raise RunError(
            f"{folder.path}: expected at least the {done} epochs that the run has been trained "
            f"for, got epochs={experiment.epochs}"
        )
    ends.append(asked)
    lengthen(experiment, ends)
    return ends, before
