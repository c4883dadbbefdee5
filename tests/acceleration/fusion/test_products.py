import random
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.acceleration.fusion.recorded import assert_same, every_type, normal, program_of

SIZES = [1, 2, 3, 4, 5, 16, 17, 64, 65, 100, 400]
MOST = 2**14  # multiplications of one product, here
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}

# How a matrix lies in the memory of what is given: from rows and columns, the shape of that, and
# the view of it.
LAYOUTS: dict[str, Callable[[int, int], tuple[list[int], Callable[[Tensor], Tensor]]]] = {
    "plain": lambda m, n: ([m, n], lambda x: x),
    "transposed": lambda m, n: ([n, m], lambda x: x.T),
    "a row": lambda m, n: ([1, n], lambda x: x.expand(m, n)),
    "a column": lambda m, n: ([m, 1], lambda x: x.expand(m, n)),
    "sliced": lambda m, n: ([m + 2, n + 3], lambda x: x[1:-1, 2:-1]),
    "with steps": lambda m, n: ([2 * m, 3 * n], lambda x: x[::2, 1::3]),
    "one of three": lambda m, n: ([m, 3, n], lambda x: x[:, 1]),
    "split": lambda m, n: ([n, m], lambda x: x.T.reshape(n, m).T),
    "computed": lambda m, n: ([n, m], lambda x: (2 * x).T),
}
CASES = [(first, second) for first in LAYOUTS for second in LAYOUTS]


def sizes(case: int) -> tuple[int, int, int]:
    """M, K and N: over all cases, each of ``SIZES`` in each place."""
    choices = random.Random(case)
    wanted, place = SIZES[case % len(SIZES)], case // len(SIZES) % 3
    while True:
        found = [choices.choice(SIZES) for _ in range(3)]
        found[place] = wanted
        if found[0] * found[1] * found[2] <= MOST:
            return found[0], found[1], found[2]


def given(real: torch.dtype) -> list[Tensor]:
    """Two matrices of each case, in memory as it says."""
    generator, found = torch.Generator().manual_seed(0), []
    for case, (first, second) in enumerate(CASES):
        m, k, n = sizes(case)
        shapes = LAYOUTS[first](m, k)[0], LAYOUTS[second](k, n)[0]
        found += [torch.randn(shape, generator=generator, dtype=real) for shape in shapes]
    return found


def products(*tensors: Tensor) -> list[Tensor]:
    """Of all cases; every other one is not given out as it is computed, but twice that."""
    found = []
    for case, (first, second) in enumerate(CASES):
        m, k, n = sizes(case)
        left = LAYOUTS[first](m, k)[1](tensors[2 * case])
        right = LAYOUTS[second](k, n)[1](tensors[2 * case + 1])
        found.append(left @ right if case % 2 else 2 * (left @ right))
    return found


@cache
def computed(real: torch.dtype) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    inputs = given(real)
    return program_of(products, inputs)(inputs), products(*inputs)


def name_of(case: int) -> str:
    return "x".join(map(str, sizes(case))) + ", {} by {}".format(*CASES[case])


@pytest.mark.full
@pytest.mark.parametrize("case", range(len(CASES)), ids=name_of)
@every_type
def test_matrices_of_all_sizes_however_they_lie_in_memory(real: torch.dtype, case: int) -> None:
    found, wanted = computed(real)
    assert_same(found[case : case + 1], wanted[case : case + 1], TOLERANCES[real])


def test_every_size_is_in_every_place() -> None:
    for place in range(3):
        assert {sizes(case)[place] for case in range(len(CASES))} == set(SIZES)


@every_type
def test_of_few_sizes(real: torch.dtype) -> None:
    x, y = normal(17, 65, dtype=real), normal(65, 16, seed=1, dtype=real)

    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        return [x @ y, x[:, ::2] @ y[::2], y.T @ x.T, x.T @ (x @ y)]

    assert_same(program_of(function, [x, y])([x, y]), function(x, y), TOLERANCES[real])
