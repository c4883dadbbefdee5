"""What the programs of an experiment keep in Python."""

from pyro_decomp.experiment import Experiment
from pyro_decomp.program_state import ProgramState
from pyro_decomp.state import State


def programs_of(experiment: Experiment, state: State) -> ProgramState:
    """What an experiment's programs keep in Python."""
    return ProgramState(
        networks=state.modules,
        tensors=[*state.parameters.values(), *state.store._params.values()],
        model=experiment.model,
        guide=experiment.guide,
        elbo=experiment.elbo,
    )
