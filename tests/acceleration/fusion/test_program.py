import torch
from torch import Tensor

from pyro_decomp.acceleration.fusion import Program
from tests.acceleration.fusion.random_functions import Invention, inputs
from tests.acceleration.fusion.recorded import (
    assert_same,
    gradients,
    graph_of,
    normal,
    program_of,
)


def test_groups_are_vectors_of_outputs_in_their_order() -> None:
    x, y = normal(3, 5), normal(4)
    graph = graph_of(lambda x, y: [x.T * 2, y.sum(), y + 1, x], [x, y])
    first, second, none, third = Program(graph, [x, y], [1, 2, 0, 1])([x, y])
    torch.testing.assert_close(first, 2 * x.T.flatten())
    torch.testing.assert_close(second, torch.cat([y.sum()[None], y + 1]))
    assert none.shape == (0,)
    assert torch.equal(third, x.flatten())


def test_an_input_a_constant_a_view_and_one_output_twice() -> None:
    x = normal(3, 5)

    def function(x: Tensor) -> list[Tensor]:
        product = x @ x.T
        fixed = torch.arange(6.0, dtype=torch.float64)
        same = torch.ones(2, dtype=torch.float64)
        return [x, x, product, product, product.T, x.T, fixed, fixed, same, same, x[1]]

    assert_same(program_of(function, [x])([x]), function(x), 1e-12)


def test_they_are_new_every_time() -> None:
    x = normal(5)
    program = program_of(lambda x: [x * 3], [x])
    (first,) = program([x])
    kept = first.clone()
    program([x + 1])
    assert torch.equal(first, kept)


def test_the_source_is_the_same_every_time() -> None:  # or it would be compiled in every process
    invention, given = Invention(11), inputs(11)
    graph = graph_of(lambda *g: [*invention(*g), *gradients(invention, g)], given)
    first, second = (Program(graph, given).text for _ in range(2))
    assert first == second
