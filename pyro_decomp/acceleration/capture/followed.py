"""Whether a captured step follows the numbers that schedules change, as the programs do."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo.numbers import full_name
from pyro_decomp.seeds import random_state, set_random_state

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}  # the same operations, but for rounding


def is_followed(
    source: StepSource,
    weights: Sequence[str],
    inputs: Sequence[Tensor],
    *,
    first: int,
    step: Callable[..., Sequence[Tensor]],
    module: GraphModule,
    draw: GraphModule,
) -> bool:
    """Whether a graph gives what the programs give where its numbers are those of later steps.

    A number of which Python or numpy made another, or a new tensor, is a constant of the graph.

    Args:
        source: Whose schedules say what the numbers become.
        weights: The names of the numbers.
        inputs: What the graph was taken down with.
        first: Where the numbers begin among the inputs.
        step: What was taken down.
        module: The graph.
        draw: Its draws.
    """
    for values in _later(source, weights):
        given = list(inputs)
        for index, value in values.items():
            given[first + index] = torch.full_like(inputs[first + index], value)
        generators = random_state()
        found = module(*given, *draw())
        set_random_state(generators)
        wanted = step(*given)
        if not all(map(_is_close, found, wanted)):
            return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what torch and numpy say of tensors where the programs expect numbers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        warnings.filterwarnings("ignore", "__array_wrap__", DeprecationWarning)
        yield


def _later(source: StepSource, weights: Sequence[str]) -> Iterator[dict[int, float]]:
    """Values in the middle and at the end of the run, by the number's place in ``weights``."""
    total = source.programs.total_steps
    schedules = {full_name(name): each for name, each in source.programs.schedules.items()}
    for step in {(total + 1) // 2, total}:
        yield {
            index: schedules[full_name(name)].value(step, total)
            if full_name(name) in schedules
            else 1.5 * float(source.programs.number(name).get())
            for index, name in enumerate(weights)
        }


def _is_close(found: Tensor, wanted: Tensor) -> bool:
    if not wanted.is_floating_point() or not wanted.numel():
        return torch.equal(found, wanted)
    tolerance = TOLERANCES.get(wanted.dtype, 1e-2)
    size = float(wanted.detach().abs().nan_to_num(0.0, 0.0, 0.0).max())
    return torch.allclose(found, wanted, rtol=tolerance, atol=tolerance * size, equal_nan=True)
