"""A run as it was before training: what the architecture and the data give by themselves."""

from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training.run import Run, finish, rebuild
from pyro_decomp.training.state import prepare


def untrained(run: Run) -> Run | None:
    """The run with the parameters that it began with: its file, executed with its seed.

    Random generators are left as they were.

    Returns:
        None for a run that was trained from Python, whose experiment is in no file.
    """
    config = run.config if run.folder.config_path.exists() else {}
    if config.get("source") is None:
        return None
    generators = random_state()
    try:
        experiment = rebuild(run.folder, config)
        state = prepare(experiment, run.data.device)
    finally:
        set_random_state(generators)
    return finish(run.folder, experiment, state, {}, 0)
