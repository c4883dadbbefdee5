import pytest
import torch

from pyro_decomp.acceleration.capture import StepGraph, capture
from pyro_decomp.acceleration.capture.step_graph import with_norm
from pyro_decomp.acceleration.fusion import FusionError, Program
from pyro_decomp.elbo import BetaELBO, TermsELBO
from pyro_decomp.training.state import step_source
from tests.acceleration.capture.test_step_graph import OF_ONE_BATCH, ready
from tests.acceleration.fusion.recorded import assert_same
from tests.elbo.objectives import OBJECTIVES
from tests.example_programs import PROGRAMS, B, N, Programs

REFUSED = {
    "AggregateELBO, a sum": "aten.sort.default is not written as C",  # of sliced transport
    "DIPELBO II": "aten.block_diag.default is not written as C",  # of several sites' covariances
}


def assert_fused_as_captured(programs: Programs, elbo: TermsELBO, size: int = N) -> None:
    """Values, gradients and their norm, with parameters and data other than it was made with."""
    experiment, state, x = ready(programs, elbo, size)
    graph = capture(step_source(experiment, state), [x])
    module = with_norm(graph.module, len(graph.slots.trained))
    program = Program(module, inputs(graph, x))
    with torch.no_grad():
        for parameter in state.parameters.values():
            parameter.mul_(1.1).add_(0.03)
    fresh = inputs(graph, experiment.data.x[-B:])
    assert_same(program(fresh), module(*fresh), 1e-12)


def inputs(graph: StepGraph, x: torch.Tensor) -> list[torch.Tensor]:
    return [*graph.slots.inputs(), x, *graph.draw()]


@pytest.mark.full(but=["two sites"])
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in OF_ONE_BATCH])
def test_every_program_is_fused_to_the_same_values_and_gradients(name: str) -> None:
    size = B if name == "VAE, full batch" else N
    assert_fused_as_captured(PROGRAMS[name](), BetaELBO(2.0, num_particles=2), size)


@pytest.mark.full(but=["DIPELBO II", "BetaELBO"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_fused_or_says_why_not(name: str) -> None:
    row = OBJECTIVES[name]
    if name in REFUSED:
        with pytest.raises(FusionError, match=REFUSED[name]):
            assert_fused_as_captured(row.program(size=N), row())
    else:
        assert_fused_as_captured(row.program(size=N), row())
