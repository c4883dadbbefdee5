from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pyro_decomp.acceleration.fusion import Program
from tests.acceleration.fusion.random_functions import Invention, inputs
from tests.acceleration.fusion.recorded import assert_same, gradients, graph_of, normal, program_of

AT_ONCE = 6  # functions of one program


def several(first: int, given: Sequence[Tensor]) -> list[Tensor]:
    """What some functions give, and their gradients."""
    found: list[Tensor] = []
    for seed in range(first, first + AT_ONCE):
        invention = Invention(seed)
        found += [*invention(*given), *gradients(invention, given)]
    return found


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 30, AT_ONCE))
def test_what_is_computed_at_random_is_what_torch_computes(first: int) -> None:
    graph = graph_of(lambda *given: several(first, given), inputs(first))
    program = Program(graph, inputs(first))
    for data in (inputs(first), inputs(first + 1000)):
        assert_same(program(data), graph(*data), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_rounding_in_32_bits_is_within_a_few_times_that_of_torch(seed: int) -> None:
    invention, exact = Invention(seed), inputs(seed)

    def both(*given: Tensor) -> list[Tensor]:
        return [*invention(*given), *gradients(invention, given)]

    rounded = [each.float() if each.is_floating_point() else each for each in exact]
    torch.set_default_dtype(torch.float32)
    found, by_torch = program_of(both, rounded)(rounded), graph_of(both, rounded)(*rounded)
    for one, other, right in zip(found, by_torch, both(*exact), strict=True):
        scale = max(right.abs().max().item(), 1e-3)
        of_torch = (other.flatten().double() - right.flatten()).abs().max().item()
        assert (one.double() - right.flatten()).abs().max().item() <= 8 * of_torch + 1e-5 * scale


@pytest.mark.full
def test_no_loop_is_left_out_by_the_compiler() -> None:
    invention, given = Invention(296, num_operations=60, num_outputs=12), inputs(296)

    def function(*given: Tensor) -> list[Tensor]:  # gcc 12 dropped a loop of it
        return [*invention(*given), *gradients(invention, given)]

    assert_same(program_of(function, given)(given), function(*given), 1e-10)


@pytest.mark.full(but=["4-3"])
@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("columns", [4, 30])
def test_sums_are_read_after_they_are_complete(rows: int, columns: int) -> None:
    x = normal(rows, columns)

    def function(x: Tensor) -> list[Tensor]:
        by_row, by_column = x.sum(1), x.sum(0)
        centred = x - by_row[:, None] / 30
        products = [centred.T @ centred, x @ by_column[:, None]]
        return [centred, by_column, *products, centred * by_column, centred.T[3], by_row[::7]]

    assert_same(program_of(function, [x])([x]), function(x), 1e-12)
