"""Members of an ensemble, each with its own or the same of an input."""

from functools import cache

import torch
from torch import Tensor

from pyro_decomp.acceleration.fusion import Program
from tests.acceleration.fusion.random_functions import Invention, inputs
from tests.acceleration.fusion.recorded import gradients, program_of

NUMBER = 3
SHARED = (1, 4, 11)  # of the inputs; the last one's numbers are whole


@cache
def program() -> Program:
    invention = Invention(7)
    return program_of(lambda *g: [*invention(*g), *gradients(invention, g)], inputs(0))


def alone(member: int) -> list[Tensor]:
    shared, own = inputs(0), inputs(member)
    return [shared[i] if i in SHARED else each for i, each in enumerate(own)]


def stacked() -> list[Tensor]:
    together = zip(*map(alone, range(NUMBER)), strict=True)
    return [each[0] if i in SHARED else torch.stack(each) for i, each in enumerate(together)]


def test_each_is_computed_to_the_bits_that_it_has_alone() -> None:
    found = program()(stacked(), NUMBER)
    for member in range(NUMBER):
        for one, all_ in zip(program()(alone(member)), found, strict=True):
            assert torch.equal(one, all_[member])


def test_an_expanded_input_is_one_for_all() -> None:
    given = enumerate(stacked())
    expanded = [each.expand(NUMBER, *each.shape) if i in SHARED else each for i, each in given]
    assert all(map(torch.equal, program()(expanded, NUMBER), program()(stacked(), NUMBER)))


def test_inputs_may_lie_in_memory_otherwise() -> None:
    turned = [each.mT.contiguous().mT if each.dim() > 1 else each for each in stacked()]
    assert all(map(torch.equal, program()(turned, NUMBER), program()(stacked(), NUMBER)))


def test_one_member_or_none() -> None:
    one = [each if i in SHARED else each[:1] for i, each in enumerate(stacked())]
    wanted = program()(alone(0))
    assert all(map(torch.equal, program()(one, 1), [each[None] for each in wanted]))
    none = [each if i in SHARED else each[:0] for i, each in enumerate(stacked())]
    assert [each.shape for each in program()(none, 0)] == [(0, *each.shape) for each in wanted]
