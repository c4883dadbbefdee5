"""The same tables in 32 bits, compiled with the flags that ship: what users run.

The other tests compile with less care for speed, which is faster to test and rounds otherwise.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior.native import library
from tests.acceleration.fusion.random_functions import Invention, inputs
from tests.acceleration.fusion.recorded import assert_same, gradients, graph_of, program_of
from tests.acceleration.fusion.rows import ROWS
from tests.acceleration.fusion.test_gradients import FUNCTIONS, given_tensors
from tests.acceleration.fusion.test_operations import by_torch, name_of, table, tensors, with_others

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(library.why_not()), reason="no C compiler"),
]
REAL = torch.float32


@pytest.fixture(autouse=True)
def as_shipped() -> None:
    assert "-O3" in library.STRICT
    torch.set_default_dtype(REAL)


@pytest.mark.parametrize("seed", range(60))
def test_what_is_computed_at_random(seed: int) -> None:
    """Against torch in 64 bits: no further than a few times torch's own rounding in 32 bits."""
    invention = Invention(seed)

    def both(*given: Tensor) -> Sequence[Tensor]:
        return [*invention(*given), *gradients(invention, given)]

    exact = inputs(seed)
    rounded = [each.to(REAL) if each.is_floating_point() else each for each in exact]
    program = program_of(both, rounded)
    wanted, by_32_bits = both(*exact), graph_of(both, rounded)(*rounded)
    for one, other, right in zip(program(rounded), by_32_bits, wanted, strict=True):
        scale = max(right.abs().max().item(), 1e-3)
        of_torch = (other.flatten().double() - right.flatten()).abs().max().item()
        found = (one.double() - right.flatten()).abs().max().item()
        assert found <= 8 * of_torch + 1e-5 * scale


def test_every_operation() -> None:
    made = table.__wrapped__(REAL)
    for change in (dict, with_others):
        found = made.program(list(change(tensors(REAL)).values()))
        for number in range(len(ROWS)):
            wanted = by_torch(number, change(tensors(REAL)), REAL)
            try:
                assert_same(found[made.places[number]], wanted, 2e-6)
            except AssertionError as error:
                raise AssertionError(f"{name_of(number)}: {error}") from error


def test_values_and_gradients() -> None:
    given = given_tensors(REAL)
    names = list(given)

    def every(*tensors: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for function in FUNCTIONS.values():

            def of(*each: Tensor, function: object = function) -> list[Tensor]:
                return [function(dict(zip(names, each, strict=True)))]

            found += [*of(*tensors), *gradients(of, tensors)]
        return found

    tensors = list(given.values())
    assert_same(program_of(every, tensors)(tensors), every(*tensors), 1e-5)
