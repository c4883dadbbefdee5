"""The plain Python state that programs reach: seen, taken back, and kept in checkpoints (internal).

Networks' parameters and buffers, and what Pyro's param store holds, are carried by :class:`.State`.
What else programs keep between runs is here: a counter in an attribute, a list in a closure, a
global, an iterator, a generator of random numbers, a tensor.
"""

from pyro_decomp.programs.program_state.fingerprint import Fingerprint
from pyro_decomp.programs.program_state.program_state import (
    ProgramState,
    preserving_rng_and_buffers,
)
from pyro_decomp.programs.program_state.snapshot import Snapshot

__all__ = ["Fingerprint", "ProgramState", "Snapshot", "preserving_rng_and_buffers"]
