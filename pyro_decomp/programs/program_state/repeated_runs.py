"""Running programs again for the terms of one step, without a counter in them noticing."""

from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import Any, Literal

from torch import nn

from pyro_decomp.programs.program_state.fingerprint import Fingerprint
from pyro_decomp.programs.program_state.modules import find_modules
from pyro_decomp.programs.program_state.program_state import ProgramState
from pyro_decomp.programs.program_state.snapshot import Snapshot

Program = Callable[..., Any]
Role = Literal["model", "guide"]
QUIET_RUNS = 2  # after the first, which may fill caches


class RepeatedRuns:
    """The state in which a model and a guide began a run, for others that must begin in it too.

    Samples of the prior and densities of other data's codes need further runs of the programs in
    the same step. They begin as the step's own run did, and leave the state as that left it. Of
    programs that move nothing in a few runs this costs nothing from then on.

    Args:
        model: The model.
        guide: The guide, which is run first.
    """

    _is_memory_of_programs = True

    def __init__(self, model: Program, guide: Program) -> None:
        self.networks = find_modules([model, guide])
        self.state = ProgramState(self.networks, model=model, guide=guide)
        self._began: dict[Role, Snapshot] = {}
        self._before: Fingerprint | None = None
        self._num_runs = 0
        self._is_moving = False

    def begin(self, role: Role) -> None:
        """Say that the program is about to be run for the step."""
        if not self._is_moving and self._num_runs > QUIET_RUNS:
            self._began.clear()
            return
        self._began[role] = self.state.keep()
        if role == "guide" and not self._is_moving:
            self._before = self.state.fingerprint()

    def settle(self) -> None:
        """Say that runs are known to move nothing, so that none is watched from now on."""
        self._num_runs = QUIET_RUNS + 1

    def end(self) -> None:
        """Say that both were run."""
        if self._before is not None and self._num_runs > 0:
            self._is_moving = self._before != self.state.fingerprint()
        self._before = None
        self._num_runs += 1

    def put_back(self) -> None:
        """Make everything as it was when the last run for the step began."""
        if "guide" in self._began:
            self.state.put_back(self._began["guide"])

    def again(self, program: Program, role: Role) -> Program:
        """The program, for further runs that begin as its last one for the step did.

        Whether networks train or are evaluated is as whoever runs it has it.
        """
        began = self._began.get(role)
        if began is None:
            return program

        @wraps(program, updated=())
        def run(*args: Any, **kwargs: Any) -> Any:
            after, modes = self.state.keep(), self._modes()
            self.state.put_back(began)
            for part, mode in modes:
                part.training = mode
            try:
                return program(*args, **kwargs)
            finally:
                self.state.put_back(after)

        return run

    def _modes(self) -> list[tuple[nn.Module, bool]]:
        parts = chain.from_iterable(network.modules() for network in self.networks)
        return [(part, part.training) for part in parts]
