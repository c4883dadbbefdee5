"""Whether a step that does not run the programs comes out as if it did."""

from torch import Tensor

from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.program_state import undisturbed
from pyro_decomp.state import State
from pyro_decomp.steps.eager import EagerStep
from pyro_decomp.steps.graph import GraphStep


def disagreement(
    step: GraphStep, eager: EagerStep, state: State, batch: Batch, tolerance: float
) -> str:
    """Compare values and gradients on a batch, with the same draws; nothing is changed.

    Args:
        step: What is held against the programs.
        eager: The programs.
        state: Whose parameters both read.
        batch: A batch.
        tolerance: Of a value relative to it or to 1 nat, and of the gradient relative to its norm.

    Returns:
        What differs, in a clause; empty if nothing does, or if the objective is not finite, which
        is told of when training begins.
    """
    try:
        wanted, slopes = _computed(eager, state, batch)
        found, others = _computed(step, state, batch)
    except NonFiniteError:
        return ""
    for name, value in wanted.items():
        if abs(found[name] - value) > tolerance * max(1.0, abs(value)):
            return (
                f"{name} of a step comes out as {found[name]:.6g}, by the programs as {value:.6g}"
            )
    squares = sum(float(slope.square().sum()) for slope in slopes.values())
    apart = sum(float((others[name] - slope).square().sum()) for name, slope in slopes.items())
    if slopes.keys() != others.keys() or apart > tolerance**2 * max(squares, tolerance**2):
        return "the gradient of a step comes out otherwise than by the programs"
    return ""


def _computed(
    compute: EagerStep | GraphStep, state: State, batch: Batch
) -> tuple[dict[str, float], dict[str, Tensor]]:
    buffers = [buffer for module in state.modules for buffer in module.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        with undisturbed([]):
            values = compute(batch, 1).values
        return values, {name: slope.clone() for name, slope in compute.gradients().items()}
    finally:
        for buffer, before in zip(buffers, kept, strict=True):
            buffer.data.copy_(before)
        for parameter in (*state.parameters.values(), *compute.trained):
            parameter.grad = None
